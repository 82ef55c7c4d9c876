"""Losses on heatmaps of a fixed form, made from sub-voxel points by any target of height 1.

A target is called with points ``(B, L, D)`` and a size and gives ``(B, L, *size)`` in [0, 1], NaN an empty map:
`scripts.methods.gaussians.maps.GaussianHeatmap`, `LaplacianHeatmap` beside it, or `scripts.methods.heatmap.EDTHeatmap`.
An absent landmark has an empty target, one outside of the patch the part that reaches in, an unknown one no part.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from ..interfaces import LOGITS, Output, PointBatch, mean_over_batch

Target = Callable[[torch.Tensor, Sequence[int]], torch.Tensor]

_FOREGROUND = 0.2
"""Height above which, one voxel wider, a target is foreground for adaptive wing loss."""


class HeatmapMSELoss(nn.Module):
    """Mean squared difference between the sigmoid of each channel and its target.

    Source: nnLandmark's first version (Ertl et al., arXiv 2504.06742), with a Gaussian of 4 voxels.

    Args:
        target: makes the heatmaps.
    """

    def __init__(self, target: Target) -> None:
        super().__init__()
        self.target = target

    def forward(self, output: Output, truth: PointBatch, size: Sequence[int]) -> torch.Tensor:
        """See `scripts.methods.interfaces.Loss`; the head is ``logits (B, L, *size)``."""
        error = torch.sigmoid(output[LOGITS].float()) - heatmaps_of(self.target, truth, size)
        return mean_of_known(error.square(), truth)


class AdaptiveWingLoss(nn.Module):
    """A loss of linear heatmaps that is steep for small errors near peaks and mild for those of the background.

    ``omega ln(1 + |d / epsilon|^(alpha - y))`` where the error d is below theta, else the straight line that goes on
    from there; y is the target. Voxels of the foreground, those whose target or a neighbour's is 0.2 or more, count
    ``1 + foreground`` times.

    Source: Wang et al., "Adaptive Wing Loss for Robust Face Alignment via Heatmap Regression", ICCV 2019. It works
        voxel by voxel, so in 3D as in 2D.

    Args:
        target: makes the heatmaps.
        omega: height of the loss.
        epsilon: error at which the loss bends.
        alpha: above 2, so that the exponent is above 1 at a peak.
        theta: error from which the loss is a straight line.
        foreground: how many times more such voxels count.
    """

    def __init__(
        self,
        target: Target,
        *,
        omega: float = 14.0,
        epsilon: float = 1.0,
        alpha: float = 2.1,
        theta: float = 0.5,
        foreground: float = 10.0,
    ) -> None:
        super().__init__()
        self.target, self.omega, self.epsilon = target, float(omega), float(epsilon)
        self.alpha, self.theta, self.foreground = float(alpha), float(theta), float(foreground)

    def forward(self, output: Output, truth: PointBatch, size: Sequence[int]) -> torch.Tensor:
        """See `scripts.methods.interfaces.Loss`; the head is ``logits (B, L, *size)``, read as heights."""
        target = heatmaps_of(self.target, truth, size)
        loss = self.of(output[LOGITS].float() - target, target)
        return mean_of_known(loss * (1 + self.foreground * _wider(target >= _FOREGROUND)), truth)

    def of(self, error: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """The loss of each voxel, for errors and targets of one shape."""
        found: torch.Tensor = _Wing.apply(error, target, self.omega, self.epsilon, self.alpha, self.theta)
        return found


def _wider(mask: torch.Tensor) -> torch.Tensor:
    """A mask ``(B, L, *size)`` that holds the neighbours of its voxels too, across corners."""
    for axis in range(2, mask.ndim):
        grown, edge = mask.clone(), mask.shape[axis] - 1
        grown.narrow(axis, 0, edge).logical_or_(mask.narrow(axis, 1, edge))
        grown.narrow(axis, 1, edge).logical_or_(mask.narrow(axis, 0, edge))
        mask = grown
    return mask


class _Wing(torch.autograd.Function):
    """Adaptive wing loss of each voxel, with its slope made in the same pass: autograd would keep a dozen maps."""

    @staticmethod
    def forward(  # noqa: PLR0917
        ctx: Any, error: torch.Tensor, target: torch.Tensor, omega: float, epsilon: float, alpha: float, theta: float
    ) -> torch.Tensor:
        """``error`` and ``target`` of one shape."""
        exponent, distance = alpha - target, error.abs()
        power = (distance / epsilon) ** exponent
        loss = torch.log1p(power).mul_(omega)
        # The slope is omega p r^(p - 1) / (epsilon (1 + r^p)), and r^(p - 1) / epsilon is r^p over the distance.
        slope = power.div_(1 + power).mul_(exponent).mul_(omega).div_(distance.clamp(min=1e-12))
        power = (theta / epsilon) ** exponent
        far = distance >= theta
        edge = exponent.mul_(omega / theta).mul_(power).div_(1 + power)
        loss = torch.where(far, distance.sub_(theta).mul_(edge).add_(power.log1p_(), alpha=omega), loss)
        ctx.save_for_backward(torch.where(far, edge, slope).mul_(error.sign()))
        return loss

    @staticmethod
    def backward(ctx: Any, scale: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Gradient of the error; the target has none."""
        (slope,) = ctx.saved_tensors
        return scale * slope, None, None, None, None, None


def heatmaps_of(target: Target, truth: PointBatch, size: Sequence[int]) -> torch.Tensor:
    """Targets ``(B, L, *size)``; empty where a landmark is not present."""
    points = truth.points[:, :, 0].float()
    return target(torch.where((truth.status == 1)[..., None], points, torch.nan), size)


def mean_of_known(loss: torch.Tensor, truth: PointBatch) -> torch.Tensor:
    """Mean over voxels ``(B, L, *size)``, then over the channels whose landmark is known; 0 where none is."""
    known = truth.status >= 0
    return mean_over_batch(torch.where(known, loss.flatten(2).mean(2), 0.0).sum(), known.sum())
