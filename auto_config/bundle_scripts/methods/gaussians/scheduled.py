"""Heatmap regression to Gaussians whose widths a schedule sets."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from ..interfaces import LOGITS, Output, PointBatch, mean_over_batch
from .maps import precision_of, squared_distance


class ScheduledSigmaLoss(nn.Module):
    """Mean squared difference between heatmaps, as heights, and Gaussians of height 1, each with a width of its own.

    Source: Teixeira et al., Adaloss, arXiv 1908.01070, 2019; the widths are set by `scripts.training.run.adaloss`.

    Args:
        aspect: length of a voxel along each axis over that of the finest one.
    """

    def __init__(self, aspect: Sequence[float]) -> None:
        super().__init__()
        self.aspect = [float(ratio) for ratio in aspect]

    def forward(self, output: Output, truth: PointBatch, size: Sequence[int]) -> torch.Tensor:
        """See `scripts.methods.interfaces.Loss`; heads ``logits (B, L, *size)``, ``sigma (L,)``."""
        lost, known = self.each(output, truth, size)
        return mean_over_batch(torch.where(known, lost, 0.0).sum(), known.sum())

    def each(self, output: Output, truth: PointBatch, size: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """The loss of each landmark ``(B, L)``, the mean over its voxels, and whether it is known ``(B, L)``."""
        points, status = truth.points[:, :, 0].float(), truth.status
        present = (status == 1) & torch.isfinite(points).all(-1)
        sigma = output["sigma"].detach()[:, None].expand(-1, len(size))
        points = torch.where(present[..., None], points, 0.0)
        target = torch.exp(-0.5 * squared_distance(points, precision_of(sigma, None, self.aspect), size))
        target = target * present.reshape(*present.shape, *[1] * len(size))
        return (output[LOGITS].float() - target).square().flatten(2).mean(2), status >= 0
