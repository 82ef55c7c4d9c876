"""`evaluate`: predicted points against true ones, beside the mean-shape baseline."""

from auto_config.commands.evaluate import evaluate

__all__ = ["evaluate"]
