"""Losses of outputs that are the heatmaps themselves, and not logits of them.

An absent landmark has the heatmap of a point that is nowhere as target, an unknown one does not count. One point for
each landmark: of several points of a channel the first counts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import nn
from torch.nn import functional

from ..interfaces import LOGITS, Output, PointBatch, mean_over_batch

Target = Callable[[torch.Tensor, Sequence[int]], torch.Tensor]


def heatmaps(target: Target, truth: PointBatch, size: Sequence[int]) -> torch.Tensor:
    """``(B, L, *size)``: of landmarks that are not present, those of a point that is nowhere."""
    points = truth.points[:, :, 0].float()
    return target(points.where((truth.status == 1)[..., None], torch.nan), size)


def mean_of_known(values: torch.Tensor, status: torch.Tensor) -> torch.Tensor:
    """Mean of ``(B, L)`` over known landmarks; 0 (with a gradient of 0) when there is none."""
    known = status >= 0
    return mean_over_batch(torch.where(known, values, 0.0).sum(), known.sum())


class MeanSquaredLoss(nn.Module):
    """Mean squared error of heatmaps, over the voxels of each channel, then over known landmarks.

    Args:
        target: makes heatmaps.
        heads: weight of each head that is compared; all have a channel for each landmark, on the patch's own voxels.
            The mean of the heads' errors is weighted, so that weights of one head and of several mean the same.

    Raises:
        ValueError: no head, or a weight that is not positive.
    """

    def __init__(self, target: Target, heads: Mapping[str, float] | None = None) -> None:
        super().__init__()
        self.target, self.weights = target, dict(heads or {LOGITS: 1.0})
        if min(self.weights.values()) <= 0:
            raise ValueError(f"weights of heads are {self.weights}; each must be positive")

    def forward(self, output: Output, truth: PointBatch, size: Sequence[int]) -> torch.Tensor:
        """See `scripts.methods.interfaces.Loss`."""
        made, total = heatmaps(self.target, truth, size), sum(self.weights.values())
        parts = [
            weight * mean_of_known((output[head].float() - made).square().flatten(2).mean(2), truth.status)
            for head, weight in self.weights.items()
        ]
        return torch.stack(parts).sum() / total


class HardNegativeL1Loss(nn.Module):
    """Smooth L1 on the voxels of the ball, and on as many of the highest ones outside of it.

    Source: H3DE-Net (Huang et al., 2025), with heatmaps of `BallHeatmap`: for each channel the mean over the voxels
    where the target is 0 or more, plus the mean over the same number of the hardest others, which are those with the
    largest values. Published it counts voxels of the ball, so that a landmark that is absent or far outside has no
    voxel, no negatives and nothing to learn. Here such a channel has as many negatives as the largest ball of the batch
    has voxels, and at least a tenth of the patch.

    Args:
        target: makes heatmaps from -1 to 2.
    """

    def __init__(self, target: Target) -> None:
        super().__init__()
        self.target = target

    def forward(self, output: Output, truth: PointBatch, size: Sequence[int]) -> torch.Tensor:
        """See `scripts.methods.interfaces.Loss`; the head is ``logits (B, L, *size)``."""
        made = heatmaps(self.target, truth, size).flatten(2)
        found = output[LOGITS].float().flatten(2)
        inside = made >= 0
        count = inside.sum(2)
        error = functional.smooth_l1_loss(found, made, reduction="none")
        positive = torch.where(inside, error, 0.0).sum(2) / count.clamp(min=1)
        voxels = made.shape[2]
        wanted = torch.where(count > 0, count, count.max().clamp(min=-(-voxels // 10)))
        wanted = torch.minimum(wanted, voxels - count)
        most = int(wanted.max())
        if most == 0:
            return mean_of_known(positive, truth.status)
        # The order of the highest outside; the gradient goes through the errors of those alone.
        hardest = found.detach().masked_fill(inside, -torch.inf).topk(most, dim=2).indices
        counted = torch.arange(most, device=found.device) < wanted[..., None]
        negative = torch.where(counted, error.gather(2, hardest), 0.0).sum(2) / wanted.clamp(min=1)
        return mean_of_known(positive + negative, truth.status)
