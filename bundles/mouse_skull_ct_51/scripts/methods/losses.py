"""Losses on logits against heatmaps that are made here, in closed form, from sub-voxel points.

Every loss is a `scripts.methods.interfaces.Loss` on the head ``logits (B, L, *size)``. An absent landmark has an empty
heatmap as target, an unknown one is masked out. Of several points of a channel, the target is the maximum of the cones,
or the mixture of the Gaussians.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from ..points.instances import Instances
from .heatmap import EDTHeatmap, GaussianTarget
from .interfaces import LOGITS, Output, PointBatch, share_of_process
from .large_channels.rows_on_cpu import MeanOverRows, channels_first, cross_entropy_row, hardest_row
from .large_channels.size import LARGE_CHANNEL
from .on_device import Rows, constants, sent


class _TopKBCE(torch.autograd.Function):
    """Mean binary cross-entropy of the hardest voxels of each row, with its gradient made in the same pass.

    Large channels on a CPU go through `scripts.methods.large_channels.rows_on_cpu`. Autograd would keep five maps of
    the size of the logits and scatter through the selection. Here, with the logits, four are held at most: 16 bytes for
    each voxel. Voxels that tie for the last place share it.
    """

    @staticmethod
    def forward(ctx: Any, logits: torch.Tensor, target: torch.Tensor, keep: int) -> torch.Tensor:
        """``logits`` and ``target`` (rows, voxels); ``target`` is used up."""
        loss = functional.softplus(logits).addcmul_(logits, target, value=-1)
        rows, voxels = loss.shape
        if keep == voxels:
            ctx.save_for_backward(torch.sigmoid(logits).sub_(target).mul_(1 / loss.numel()))
            return loss.mean()
        hardest = torch.topk(loss, keep, dim=1, sorted=False).values
        threshold = hardest.amin(dim=1, keepdim=True)
        above = (hardest > threshold).sum(dim=1, keepdim=True)
        mean = hardest.mean()
        del hardest
        share = (keep - above) / (loss == threshold).sum(dim=1, keepdim=True)
        # 1 above the threshold, the share at it, 0 below; in place of the loss, so that no mask is held.
        counted = loss.sub_(threshold).heaviside_(share.to(loss))
        ctx.save_for_backward(torch.sigmoid(logits).sub_(target).mul_(counted).mul_(1 / (rows * keep)))
        return mean

    @staticmethod
    def backward(ctx: Any, scale: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        """Gradient of the logits."""
        (gradient,) = ctx.saved_tensors
        return gradient * scale, None, None


class _CrossEntropy(torch.autograd.Function):
    """Mean of ``logsumexp(row) - <target, row>`` for a target that is a sum of outer products, with its gradient."""

    @staticmethod
    def forward(ctx: Any, logits: torch.Tensor, *factors: torch.Tensor) -> torch.Tensor:
        """``logits`` (rows, *size) and one factor (rows, K, n) for each axis, of K outer products."""
        *first, last = factors
        partial = first[0]
        for factor in first[1:]:
            partial = (partial.unsqueeze(-1) * factor.unsqueeze(-2)).flatten(2)
        # One product after the other, so that memory holds one target and not K.
        target = partial[:, 0, :, None] * last[:, 0, None, :]
        for number in range(1, last.shape[1]):
            target.addcmul_(partial[:, number, :, None], last[:, number, None, :])
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


def by_channels(logits: torch.Tensor) -> bool:
    """Whether losses go through the channels ``(B, L, *size)`` one after the other: large ones on a CPU."""
    return logits.device.type == "cpu" and logits[0, 0].numel() >= LARGE_CHANNEL


def inside_patch(points: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    """Which points ``(..., D)`` lie on the patch, its half-voxel border included: ``(...)`` bool. NaN is outside."""
    upper = constants([edge - 0.5 for edge in size], points)
    return ((points >= -0.5) & (points <= upper)).all(dim=-1)


class TopKBCELoss(nn.Module):
    """Binary cross-entropy on cones, mean over the hardest ``fraction`` of the voxels of each channel.

    Source: nnLandmark (Ertl et al., MIDL 2026), ``fraction`` 0.2. Absent landmarks have an empty target and
    unknown ones do not count. A landmark outside of the patch whose cone reaches in has its part of the cone as target
    (the reference has an empty channel there).

    Args:
        target: makes the heatmap in [0, 1].
        fraction: share of the voxels that counts, in (0, 1].

    Raises:
        ValueError: if the fraction is not in (0, 1].
    """

    def __init__(self, target: EDTHeatmap, fraction: float = 0.2) -> None:
        super().__init__()
        if not 0 < fraction <= 1:
            raise ValueError(f"the fraction of hardest voxels is {fraction}; it must be above 0 and at most 1")
        self.target, self.fraction = target, float(fraction)

    def forward(self, output: Output, truth: PointBatch, size: Sequence[int]) -> torch.Tensor:
        """Mean over all channels whose landmark is known; 0 (with a gradient of 0) when there is none."""
        logits, host = output[LOGITS], truth.on_host()
        known = host.status >= 0
        rows = Rows.where(known, logits.device)
        share = share_of_process(constants([rows.count], logits, torch.float32)[0])
        if rows.count == 0:
            return logits.sum() * 0.0
        # (rows, K, D)
        several = host.points[known].float()
        several = torch.where((host.status == 1)[known][:, None, None], several, torch.nan)
        if by_channels(logits):
            hardest = hardest_row(self.target, several, size, self.fraction)
            return MeanOverRows.apply(channels_first(logits), known, hardest) * share
        there = torch.isfinite(several).all(-1)
        several = sent(several, logits.device)
        heatmap = self.target(several[None, :, 0], size)[0]
        for number in range(1, several.shape[1]):
            more = there[:, number].nonzero()[:, 0]
            if len(more):
                more = sent(more, logits.device)
                heatmap[more] = torch.maximum(heatmap[more], self.target(several[None, more, number], size)[0])
        heatmap = heatmap.flatten(1)
        keep = max(1, round(self.fraction * heatmap.shape[1]))
        return _TopKBCE.apply(rows.of(logits).flatten(1), heatmap, keep) * share


class SpatialCrossEntropyLoss(nn.Module):
    """Cross-entropy of the softmax over all voxels of a channel against a sub-voxel Gaussian.

    Only for landmarks that are present and inside the patch: ``CE = logsumexp(logits) - <target, logits>``.

    Source: the one-hot softmax of McCouat and Voiculescu (contour-hugging, 2022), with a Gaussian in place of the
        voxel.

    Args:
        target: makes the factors of the target; None for a Gaussian.
        sigma: standard deviation of the Gaussian in voxels.
    """

    def __init__(self, target: GaussianTarget | None = None, sigma: float = 1.0) -> None:
        super().__init__()
        self.target = GaussianTarget(sigma) if target is None else target

    def forward(self, output: Output, truth: PointBatch, size: Sequence[int]) -> torch.Tensor:
        """Mean over landmarks that are present and inside; 0 (with a gradient of 0) when there is none."""
        logits, host = output[LOGITS], truth.on_host()
        points, inside = host.points, inside_patch(host.points, size)
        used = (host.status == 1) & inside.any(-1)
        rows = Rows.where(used, logits.device)
        share_of_all = share_of_process(constants([rows.count], logits, torch.float32)[0])
        if rows.count == 0:
            return logits.sum() * 0.0
        inside = inside[used]
        width = int(inside.sum(-1).max())
        # Those inside first, so that no more products are made than the fullest channel has.
        order = torch.argsort(inside.int(), dim=-1, descending=True, stable=True)[:, :width]
        inside = inside.gather(1, order)
        several = points[used].gather(1, order[..., None].expand(-1, -1, points.shape[-1])).float()
        several = sent(several.where(inside[..., None], torch.zeros_like(several)), logits.device)
        share = sent(inside / inside.sum(-1, keepdim=True), logits.device)
        factors = self.target.factors(several, size)
        if by_channels(logits):
            entropy = cross_entropy_row([factors[0] * share[..., None], *factors[1:]])
            return MeanOverRows.apply(channels_first(logits), used, entropy) * share_of_all
        return _CrossEntropy.apply(rows.of(logits), factors[0] * share[..., None], *factors[1:]) * share_of_all


class WeightedLoss(nn.Module):
    """Sum of losses with weights, all on the same output and points.

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

    def forward(self, output: Output, truth: PointBatch, size: Sequence[int]) -> torch.Tensor:
        """Weighted sum; shapes as the parts have them."""
        return torch.stack(
            [w * part(output, truth, size) for w, part in zip(self.weights, self.losses, strict=True)]
        ).sum()


class StagesLoss(nn.Module):
    """Sum of one loss for each stage of a bundle.

    Args:
        stages: the loss of each stage, by the stage's name (``coarse``, ``fine``).
        instances: where there are many of a landmark, or exchangeable pairs: which rows of points a channel shows.
    """

    def __init__(self, stages: Mapping[str, nn.Module], instances: Instances | None = None) -> None:
        super().__init__()
        self.stages, self.instances = nn.ModuleDict(dict(stages)), instances

    def forward(self, outputs: Mapping[str, Output], targets: Mapping[str, Mapping[str, Any]]) -> torch.Tensor:
        """Sum over stages.

        Args:
            outputs: the output of each stage.
            targets: for each stage ``{"points": (B, L, D), "status": (B, L), "size": shape of the patch}``, or with
                rows R in the place of L; on a GPU also ``"host"``, points and status in the memory of the host, by
                which the losses choose rows without waiting for the device.
        """
        parts = []
        for name, loss in self.stages.items():
            target, device = targets[name], targets[name]["points"].device
            truth = host = self._truth(target.get("host", target))
            if "host" in target:
                truth = replace(host, points=sent(host.points, device), status=sent(host.status, device), host=host)
            parts.append(loss(outputs[name], truth, target["size"]))
        return torch.stack(parts).sum()

    def _truth(self, target: Mapping[str, Any]) -> PointBatch:
        """What the channels have to show."""
        if self.instances is not None:
            return PointBatch(*self.instances.reduce(target["points"], target["status"]))
        return PointBatch(target["points"].unsqueeze(2), target["status"])
