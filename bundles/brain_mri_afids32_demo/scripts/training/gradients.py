"""Gradient clipping as a handler: MONAI's trainer has none."""

from __future__ import annotations

import torch
from ignite.engine import Engine
from monai.engines import IterationEvents
from torch import nn


class GradientClip:
    """Scales the gradient down to a largest norm before each step; one of a scaled loss is scaled back first.

    Args:
        network: whose parameters' gradients are clipped together.
        max_norm: largest 2-norm of the whole gradient.

    Raises:
        ValueError: if the norm is not positive.
    """

    def __init__(self, network: nn.Module, max_norm: float) -> None:
        if max_norm <= 0:
            raise ValueError(f"the largest gradient norm is {max_norm}; it must be positive")
        self.network, self.max_norm = network, float(max_norm)

    def attach(self, engine: Engine) -> None:
        """Clip after every backward pass of this trainer."""
        engine.add_event_handler(IterationEvents.BACKWARD_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Clip now."""
        if engine.scaler is not None:
            engine.scaler.unscale_(engine.optimizer)
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.max_norm)
