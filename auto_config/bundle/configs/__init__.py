"""The config files of a bundle, as plain JSON made from a plan."""

from auto_config.bundle.configs.inference import evaluate_config, inference_config
from auto_config.bundle.configs.training import multi_gpu_config, train_config

__all__ = ["evaluate_config", "inference_config", "multi_gpu_config", "train_config"]
