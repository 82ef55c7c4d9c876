"""Losses on a CPU, one large channel after the other: what is made of one lies in the cache, of a batch it does not.

A loss that is a mean over channels needs of each one its value and its gradient. Made of whole batches, each operation
reads and writes all maps from and to main memory, and several maps of the size of the logits are held at a time. Here
the gradient is the only one. On a GPU the same would be many small kernels, and of small channels
(`scripts.methods.large_channels.size`) many short operations; there losses work on whole batches
(`scripts.methods.losses`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch.nn import functional

Row = Callable[[torch.Tensor, torch.Tensor, int], float]
"""``(logits, gradient, number)`` of a channel, both ``(*size)`` float32 and contiguous, and its number among those that
count: writes the gradient and returns the loss."""

_NOTHING = 1e-12
"""A factor of a target below this is nothing beside the others' sum of 1 in float32."""


def channels_first(maps: torch.Tensor) -> torch.Tensor:
    """Maps ``(B, L, *size)`` in float32, channel after channel in memory; as they are if that is how they lie."""
    maps = maps.float()
    if maps.is_contiguous() or maps.ndim < 3:
        return maps.contiguous()
    # Torch copies a transposed matrix twice as fast as the same numbers with more axes.
    last = maps.movedim(1, -1).flatten(1, -2)
    return torch.stack([one.t() for one in last]).unflatten(2, maps.shape[2:])


class MeanOverRows(torch.autograd.Function):
    """Mean of a loss over channels of logits, with its gradient made in the same pass."""

    @staticmethod
    def forward(ctx: Any, logits: torch.Tensor, chosen: torch.Tensor, row: Row) -> torch.Tensor:
        """The mean over the channels that count, of which there is one at least.

        Args:
            ctx: keeps the gradient.
            logits: ``(B, L, *size)`` on a CPU, as `channels_first` gives them.
            chosen: ``(B, L)`` bool.
            row: gradient and loss of a channel.
        """
        gradient = torch.empty_like(logits)
        values: list[float] = []
        channels = zip(logits.flatten(0, 1), gradient.flatten(0, 1), chosen.flatten().tolist(), strict=True)
        for of_channel, made, counts in channels:
            if counts:
                values.append(row(of_channel, made, len(values)))
            else:
                made.zero_()
        # Not among the saved tensors, which torch would keep beside what is made of it on the way back.
        ctx.gradient, ctx.share = gradient, 1 / len(values)
        return logits.new_tensor(math.fsum(values) / len(values))

    @staticmethod
    def backward(ctx: Any, scale: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        """Gradient of the logits, in the place where it was kept.

        Raises:
            RuntimeError: on a second way back.
        """
        gradient, ctx.gradient = ctx.gradient, None
        if gradient is None:
            raise RuntimeError("the gradient of this loss was given away on the first way back; compute the loss anew")
        return gradient.mul_(float(scale) * ctx.share), None, None


def hardest_row(
    target: Callable[[torch.Tensor, Sequence[int]], torch.Tensor],
    points: torch.Tensor,
    size: Sequence[int],
    fraction: float,
) -> Row:
    """Binary cross-entropy, mean over the hardest voxels; those that tie for the last place share it.

    Args:
        target: makes heatmaps in [0, 1], as `EDTHeatmap` does.
        points: ``(rows, K, D)`` voxels, NaN where a channel has fewer than K. The highest of its heatmaps counts.
        size: of the patch in voxels.
        fraction: share of the voxels that counts.
    """
    some = torch.isfinite(points).all(-1).any(-1).tolist()
    keep = max(1, round(fraction * math.prod(size)))

    def row(logits: torch.Tensor, gradient: torch.Tensor, number: int) -> float:
        loss = functional.softplus(logits)
        torch.sigmoid(logits, out=gradient)
        if some[number]:
            heatmaps = target(points[number, None], size)[0]
            heatmap = heatmaps[0] if len(heatmaps) == 1 else heatmaps.amax(0)
            loss.addcmul_(logits, heatmap, value=-1)
            gradient.sub_(heatmap)
        voxels, slopes = loss.numpy().reshape(-1), gradient.numpy().reshape(-1)
        first = voxels.size - keep
        # NumPy partitions fifteen times faster than `torch.topk` selects.
        hardest = np.partition(voxels, first)[first:]
        if first > 0:
            threshold = hardest[0]
            np.multiply(slopes, voxels >= threshold, out=slopes)
            places, tied = np.count_nonzero(hardest == threshold), np.count_nonzero(voxels == threshold)
            if tied > places:
                slopes[voxels == threshold] *= places / tied
        np.multiply(slopes, np.float32(1 / keep), out=slopes)
        return float(hardest.mean(dtype=np.float64))

    return row


def cross_entropy_row(factors: Sequence[torch.Tensor]) -> Row:
    """``logsumexp(logits) - <target, logits>`` for a target that is a sum of outer products.

    Args:
        factors: of each axis ``(rows, K, n)``; together they are 1.
    """

    def row(logits: torch.Tensor, gradient: torch.Tensor, number: int) -> float:
        flat, share = logits.view(-1), gradient.view(-1)
        torch.softmax(flat, dim=0, out=share)
        # The logarithm of the sum, from the one softmax: logit - log softmax at the highest voxel.
        highest = int(flat.argmax())
        log_sum = float(flat[highest]) - math.log(float(share[highest]))
        mine = [factor[number] for factor in factors]
        box = tuple(_reached(factor) for factor in mine)
        target = torch.ones(len(mine[0]))
        for factor, along in zip(mine, box, strict=True):
            part = factor[:, along]
            target = target.unsqueeze(-1) * part.reshape(len(part), *[1] * (target.ndim - 1), -1)
        heatmap = target.sum(0)
        gradient[box] -= heatmap
        return log_sum - float((heatmap * logits[box]).sum())

    return row


def _reached(factor: torch.Tensor) -> slice:
    """Where a factor ``(K, n)`` of a target is more than nothing."""
    there = (factor.amax(0) > _NOTHING).nonzero()[:, 0]
    return slice(int(there[0]), int(there[-1]) + 1) if len(there) else slice(0, 0)
