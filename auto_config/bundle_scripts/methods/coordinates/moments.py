"""Mean and covariance of weights on a grid."""

from __future__ import annotations

import itertools

import torch


def moments(weights: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and covariance of where weights lie.

    Args:
        weights: ``(B, L, *size)``, not negative, each channel with a sum of 1.

    Returns:
        ``(B, L, D)`` voxels and ``(B, L, D, D)`` voxel^2; gradients reach the weights.
    """
    dims = weights.ndim - 2
    axes = [torch.arange(n, device=weights.device, dtype=weights.dtype) for n in weights.shape[2:]]
    # Sums over the other axes first: what is left is small.
    along = [_left(weights, (axis,)) for axis in range(dims)]
    mean = torch.stack([one @ axis for one, axis in zip(along, axes, strict=True)], dim=-1)
    offsets = [axis - mean[..., number, None] for number, axis in enumerate(axes)]
    entries = {}
    for one, other in itertools.combinations_with_replacement(range(dims), 2):
        if one == other:
            entries[one, one] = (along[one] * offsets[one].square()).sum(-1)
        else:
            product = torch.einsum("bli,blij,blj->bl", offsets[one], _left(weights, (one, other)), offsets[other])
            entries[one, other] = entries[other, one] = product
    rows = [torch.stack([entries[one, other] for other in range(dims)], dim=-1) for one in range(dims)]
    return mean, torch.stack(rows, dim=-2)


def _left(weights: torch.Tensor, axes: tuple[int, ...]) -> torch.Tensor:
    """Sums of ``(B, L, *size)`` over all spatial axes but these."""
    gone = [2 + axis for axis in range(weights.ndim - 2) if axis not in axes]
    return weights.sum(gone) if gone else weights
