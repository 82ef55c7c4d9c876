"""Losses on logits against heatmaps that are made here, in closed form, from sub-voxel points.

Every loss takes ``logits (B, L, *size)``, ``points (B, L, D)`` in voxels of the patch and ``status (B, L)``:
1 present, 0 absent (an empty heatmap is the target), -1 unknown (masked out).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from .targets import ConeTarget, GaussianTarget


class _TopKBCE(torch.autograd.Function):
    """Mean binary cross-entropy of the hardest voxels of each row, with its gradient made in the same pass.

    Autograd would keep five maps of the size of the logits and scatter through the selection; on a CPU that takes
    longer than the network. Voxels that tie for the last place share it.
    """

    @staticmethod
    def forward(ctx: Any, logits: torch.Tensor, target: torch.Tensor, keep: int) -> torch.Tensor:
        """``logits`` and ``target`` (rows, voxels); ``target`` is used up."""
        loss = functional.softplus(logits).addcmul_(logits, target, value=-1)
        gradient = torch.sigmoid(logits).sub_(target)
        rows, voxels = loss.shape
        if keep == voxels:
            ctx.save_for_backward(gradient.mul_(1 / loss.numel()))
            return loss.mean()
        hardest = torch.topk(loss, keep, dim=1, sorted=False).values
        threshold = hardest.amin(dim=1, keepdim=True)
        above = (hardest > threshold).sum(dim=1, keepdim=True)
        tied = loss == threshold
        share = (keep - above) / tied.sum(dim=1, keepdim=True)
        gradient.mul_((loss > threshold).to(gradient).addcmul_(tied.to(gradient), share.to(gradient)))
        ctx.save_for_backward(gradient.mul_(1 / (rows * keep)))
        return hardest.mean()

    @staticmethod
    def backward(ctx: Any, scale: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        """Gradient of the logits."""
        (gradient,) = ctx.saved_tensors
        return gradient * scale, None, None


class _CrossEntropy(torch.autograd.Function):
    """Mean of ``logsumexp(row) - <target, row>`` for a target that is an outer product, with its gradient."""

    @staticmethod
    def forward(ctx: Any, logits: torch.Tensor, *factors: torch.Tensor) -> torch.Tensor:
        """``logits`` (rows, *size) and one factor (rows, n) for each axis."""
        target = factors[0]
        for factor in factors[1:]:
            target = target.unsqueeze(-1) * factor.reshape(len(factor), *[1] * (target.ndim - 1), -1)
        target, flat = target.flatten(1), logits.flatten(1)
        gradient = torch.softmax(flat, dim=1)
        # The logarithm of the sum, from the one softmax: logit - log softmax at the highest voxel of each row.
        highest, where = flat.max(dim=1)
        log_sum = highest - gradient.gather(1, where[:, None])[:, 0].log()
        loss = log_sum - torch.linalg.vecdot(target, flat)
        ctx.save_for_backward(gradient.sub_(target).mul_(1 / len(flat)).reshape(logits.shape))
        return loss.mean()

    @staticmethod
    def backward(ctx: Any, scale: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Gradient of the logits; the target has none."""
        (gradient,) = ctx.saved_tensors
        return gradient * scale, *[None] * (len(ctx.needs_input_grad) - 1)


def _rows(logits: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
    """``(rows, *size)`` float logits of the chosen channels ``(B, L)``; not copied when all are chosen."""
    return (logits.flatten(0, 1) if bool(chosen.all()) else logits[chosen]).float()


def inside_patch(points: torch.Tensor, size: tuple[int, ...] | torch.Size) -> torch.Tensor:
    """Which points lie on the patch, its half-voxel border included: ``(B, L)`` bool. NaN is outside."""
    upper = torch.as_tensor(size, device=points.device, dtype=points.dtype) - 0.5
    return ((points >= -0.5) & (points <= upper)).all(dim=-1)


class TopKBCELoss(nn.Module):
    """Binary cross-entropy on cones, mean over the hardest ``fraction`` of the voxels of each channel.

    Source: nnLandmark (Ertl et al., MIDL 2026), ``fraction`` 0.2. Absent landmarks have an empty target and unknown
        ones do
    not count. A landmark outside of the patch whose cone reaches in has its part of the cone as target (the reference
    has an empty channel there).

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
        if not known.any():
            return logits.sum() * 0.0
        heatmap = self.target(points[known].unsqueeze(0).float(), size)[0].flatten(1)
        keep = max(1, round(self.fraction * heatmap.shape[1]))
        return _TopKBCE.apply(_rows(logits, known).flatten(1), heatmap, keep)


class SpatialCrossEntropyLoss(nn.Module):
    """Cross-entropy of the softmax over all voxels of a channel against a sub-voxel Gaussian.

    Only for landmarks that are present and inside the patch: ``CE = logsumexp(logits) - <target, logits>``.

    Source: the one-hot softmax of McCouat and Voiculescu (contour-hugging, 2022), with a Gaussian in place of the
        voxel.

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
        if not used.any():
            return logits.sum() * 0.0
        factors = self.target.factors(points[used].unsqueeze(0).float(), size)
        return _CrossEntropy.apply(_rows(logits, used), *[factor[0] for factor in factors])


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

    def forward(
        self, logits: Mapping[str, torch.Tensor], targets: Mapping[str, dict[str, torch.Tensor]]
    ) -> torch.Tensor:
        """Sum over stages.

        Args:
            logits: ``(B, L, *size)`` for each stage.
            targets: for each stage ``{"points": (B, L, D), "status": (B, L)}``.
        """
        parts = [loss(logits[name], **targets[name]) for name, loss in self.stages.items()]
        return torch.stack(parts).sum()
