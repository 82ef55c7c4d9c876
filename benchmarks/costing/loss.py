"""Target and top-20 binary cross-entropy with its gradient: fused, and in plain torch."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional

from auto_config.bundle_scripts.methods.heatmap import EDTHeatmap
from auto_config.bundle_scripts.methods.interfaces import LOGITS, PointBatch
from auto_config.bundle_scripts.methods.losses import TopKBCELoss
from costing.measuring import Work

_RADIUS, _SHARE = 15.0, 0.2


def _batch(options: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits ``(2, L, *size)`` and points ``(2, L, 3)``."""
    torch.manual_seed(0)
    size = options["size"]
    logits = torch.randn(2, options["landmarks"], *[size] * 3).sub_(4).requires_grad_()
    return logits, torch.rand(2, options["landmarks"], 3) * size


def ours(options: dict[str, Any]) -> Work:
    """The loss that bundles train with."""
    logits, points = _batch(options)
    loss = TopKBCELoss(EDTHeatmap([_RADIUS] * 3), _SHARE)
    truth = PointBatch(points[:, :, None], torch.ones(points.shape[:2]))

    def step() -> float:
        logits.grad = None
        value = loss({LOGITS: logits}, truth, tuple(logits.shape[2:]))
        value.backward()
        return float(value.detach())

    return step


def usual(options: dict[str, Any]) -> Work:
    """A dense target of distances, the loss of each voxel, `topk`, and autograd."""
    logits, points = _batch(options)

    def step() -> float:
        logits.grad = None
        axes = [torch.arange(n, dtype=torch.float32) for n in logits.shape[2:]]
        grid = torch.stack(torch.meshgrid(*axes, indexing="ij"))
        target = torch.zeros_like(logits)
        for image in range(2):
            for channel, point in enumerate(points[image]):
                distance = (grid - point[:, None, None, None]).square().sum(0).sqrt()
                target[image, channel] = (1 - distance / (_RADIUS**2 + 1) ** 0.5).clamp(min=0)
        voxels = functional.binary_cross_entropy_with_logits(logits, target, reduction="none").flatten(2)
        value = voxels.topk(round(_SHARE * voxels.shape[2]), dim=2).values.mean()
        value.backward()
        return float(value.detach())

    return step
