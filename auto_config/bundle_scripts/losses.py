"""Losses on logits against heatmaps that are made here, in closed form, from sub-voxel points.

Every loss takes ``logits (B, L, *size)``, ``points (B, L, D)`` in voxels of the patch and ``status (B, L)``:
1 present, 0 absent (an empty heatmap is the target), -1 unknown (masked out).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn
from torch.nn import functional

from .targets import ConeTarget, GaussianTarget


def inside_patch(points: torch.Tensor, size: tuple[int, ...] | torch.Size) -> torch.Tensor:
    """Which points lie on the patch, its half-voxel border included: ``(B, L)`` bool. NaN is outside."""
    upper = torch.as_tensor(size, device=points.device, dtype=points.dtype) - 0.5
    return ((points >= -0.5) & (points <= upper)).all(dim=-1)


class TopKBCELoss(nn.Module):
    """Binary cross-entropy on cones, mean over the hardest ``fraction`` of the voxels of each channel.

    Source: nnLandmark (Ertl et al., MIDL 2026), ``fraction`` 0.2. Absent landmarks have an empty target and unknown ones do
    not count. A landmark outside of the patch whose cone reaches in has its part of the cone as target (the reference has an
    empty channel there).

    Args:
        target: makes the heatmap in [0, 1].
        fraction: share of the voxels that counts, in (0, 1].

    Raises:
        ValueError: if the fraction is not in (0, 1].
    """

    def __init__(self, target: ConeTarget, fraction: float = 0.2) -> None:
        super().__init__()
        if not 0 < fraction <= 1:
            raise ValueError(f"the fraction of hardest voxels is {fraction}; it must be above 0 and at most 1")
        self.target, self.fraction = target, float(fraction)

    def forward(self, logits: torch.Tensor, points: torch.Tensor, status: torch.Tensor) -> torch.Tensor:
        """Mean over all channels whose landmark is known; 0 (with a gradient of 0) when there is none."""
        size = logits.shape[2:]
        known = status >= 0
        points = torch.where((status == 1).unsqueeze(-1), points, torch.full_like(points, float("nan")))
        chosen = logits[known].unsqueeze(0).float()
        if chosen.shape[1] == 0:
            return logits.sum() * 0.0
        heatmap = self.target(points[known].unsqueeze(0).float(), size)
        loss = functional.binary_cross_entropy_with_logits(chosen, heatmap, reduction="none").flatten(2)
        keep = max(1, round(self.fraction * loss.shape[-1]))
        if keep < loss.shape[-1]:
            loss = torch.topk(loss, keep, dim=-1, sorted=False).values
        return loss.mean()


class SpatialCrossEntropyLoss(nn.Module):
    """Cross-entropy of the softmax over all voxels of a channel against a sub-voxel Gaussian.

    Only for landmarks that are present and inside the patch. The Gaussian stays a product of one vector for each axis, so no
    dense target is made: ``CE = logsumexp(logits) - <target, logits>``.

    Source: the one-hot softmax of McCouat and Voiculescu (contour-hugging, 2022), with a Gaussian in place of the voxel.

    Args:
        target: the Gaussian.
    """

    def __init__(self, target: GaussianTarget) -> None:
        super().__init__()
        self.target = target

    def forward(self, logits: torch.Tensor, points: torch.Tensor, status: torch.Tensor) -> torch.Tensor:
        """Mean over landmarks that are present and inside; 0 (with a gradient of 0) when there is none."""
        size = logits.shape[2:]
        used = (status == 1) & inside_patch(points, size)
        chosen = logits[used].unsqueeze(0).float()
        if chosen.shape[1] == 0:
            return logits.sum() * 0.0
        expected = chosen
        for factor in reversed(self.target.factors(points[used].unsqueeze(0).float(), size)):
            shape = [*factor.shape[:2], *[1] * (expected.ndim - 3), factor.shape[-1]]
            expected = (expected * factor.reshape(shape)).sum(-1)
        return (torch.logsumexp(chosen.flatten(2), dim=-1) - expected).mean()


class WeightedLoss(nn.Module):
    """Sum of losses with weights, all on the same logits and points.

    Args:
        losses: the parts.
        weights: one for each part.

    Raises:
        ValueError: if the two differ in length.
    """

    def __init__(self, losses: list[nn.Module], weights: list[float]) -> None:
        super().__init__()
        if len(losses) != len(weights):
            raise ValueError(f"{len(losses)} losses need as many weights, {len(weights)} were given")
        self.losses, self.weights = nn.ModuleList(losses), [float(w) for w in weights]

    def forward(self, logits: torch.Tensor, points: torch.Tensor, status: torch.Tensor) -> torch.Tensor:
        """Weighted sum; shapes as the parts have them."""
        return torch.stack(
            [w * part(logits, points, status) for w, part in zip(self.weights, self.losses, strict=True)]
        ).sum()


class StagesLoss(nn.Module):
    """Sum of one loss for each stage of a bundle.

    Args:
        stages: the loss of each stage, by the stage's name (``coarse``, ``fine``).
    """

    def __init__(self, stages: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.stages = nn.ModuleDict(dict(stages))

    def forward(self, logits: Mapping[str, torch.Tensor], targets: Mapping[str, dict[str, torch.Tensor]]) -> torch.Tensor:
        """Sum over stages.

        Args:
            logits: ``(B, L, *size)`` for each stage.
            targets: for each stage ``{"points": (B, L, D), "status": (B, L)}``.
        """
        parts = [loss(logits[name], **targets[name]) for name, loss in self.stages.items()]
        return torch.stack(parts).sum()
