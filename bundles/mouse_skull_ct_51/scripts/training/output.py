"""What a training step leaves for the handlers that come after it."""

from __future__ import annotations

from ignite.engine import Engine
from monai.engines import IterationEvents
from monai.utils.enums import CommonKeys


class KeepLoss:
    """Handler that makes the output of a step ``[{"loss": scalar}]``, the form that MONAI's handlers read.

    Patches of several stages cannot be taken apart case by case, so the trainer does not do it, and MONAI's own MLflow
    handler (``--tracking mlflow``) fails on what is then left. Images and logits are dropped, which also frees their
    memory.
    """

    def attach(self, engine: Engine) -> None:
        """Work after every step of this trainer."""
        engine.add_event_handler(IterationEvents.MODEL_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Replace the output now."""
        engine.state.output = [{CommonKeys.LOSS: engine.state.output[CommonKeys.LOSS].detach()}]
