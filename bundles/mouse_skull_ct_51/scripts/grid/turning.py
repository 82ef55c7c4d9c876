"""Images on turned grids: one linear interpolation on any device, and the map back in closed form."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch.nn import functional

from .grids import apply_affine


def turning(rotation: np.ndarray, spacing: Sequence[float] | np.ndarray) -> np.ndarray:
    """Offsets in voxels of a turned grid to offsets in voxels of the image, which have the same sizes.

    Args:
        rotation: ``(D, D)`` from directions of the turned grid to those of the image, both in mm.
        spacing: ``(D,)`` mm of a voxel of either.

    Returns:
        ``(D, D)``. Its determinant is that of the rotation, so densities of a voxel stay what they are.
    """
    step = np.asarray(spacing, dtype=np.float64)
    return np.asarray(rotation * step / step[:, None])


def turned_about(
    rotation: np.ndarray, spacing: Sequence[float] | np.ndarray, centre: np.ndarray, at: np.ndarray | float = 0.0
) -> np.ndarray:
    """The map ``(D+1, D+1)`` of `turning` that puts the voxel `at` of the turned grid on a voxel of the image."""
    linear = turning(rotation, spacing)
    out = np.eye(len(linear) + 1)
    out[:-1, :-1] = linear
    out[:-1, -1] = centre - linear @ np.broadcast_to(at, len(linear))
    return out


def turned_box(
    rotation: np.ndarray, spacing: Sequence[float] | np.ndarray, shape: Sequence[int]
) -> tuple[np.ndarray, tuple[int, ...]]:
    """The turned grid that holds a whole image, about the image's middle.

    Args:
        rotation: see `turning`.
        spacing: ``(D,)`` mm of a voxel.
        shape: ``(D,)`` voxels of the image.

    Returns:
        ``(D+1, D+1)`` map from its voxels to those of the image, and its shape. A quarter turn of a grid of cubes puts
        voxels on voxels.
    """
    half = (np.asarray(shape, dtype=np.float64) - 1) / 2
    linear = turning(rotation, spacing)
    corners = np.stack(np.meshgrid(*[[-h, h] for h in half], indexing="ij"), -1).reshape(-1, len(half))
    reach = np.abs(corners @ np.linalg.inv(linear).T).max(0)
    size = np.maximum(np.ceil(2 * reach - 1e-6).astype(int) + 1, 1)
    return turned_about(rotation, spacing, half, (size - 1) / 2), tuple(int(n) for n in size)


def sampled(image: torch.Tensor, affine: np.ndarray, size: Sequence[int], pad_value: float) -> torch.Tensor:
    """Linear interpolation of an image on another grid; outside of the image is ``pad_value``.

    Args:
        image: ``(C, *image size)`` on any device.
        affine: ``(D+1, D+1)`` from voxels of the other grid to voxels of the image.
        size: shape of the other grid.
        pad_value: value of air.

    Returns:
        ``(C, *size)``.
    """
    dims, shape = len(size), np.asarray(image.shape[1:])
    corners = np.stack(np.meshgrid(*[[0, n - 1] for n in size], indexing="ij"), -1).reshape(-1, dims)
    reach = apply_affine(affine, corners)
    low = np.clip(np.floor(reach.min(0)), 0, shape).astype(int)
    high = np.clip(np.ceil(reach.max(0)) + 1, 0, shape).astype(int)
    if (high <= low).any():
        return image.new_full((image.shape[0], *size), pad_value)
    part = image[(slice(None), *(slice(a, b) for a, b in zip(low, high, strict=True)))].float() - pad_value
    # float64 until the numbers are small: voxels of large images have no digits to lose.
    where = torch.full((*size, dims), 0.0, device=image.device)
    origin = affine[:-1, -1] - low
    for axis in range(dims):
        total = torch.full([1] * dims, float(origin[axis]), dtype=torch.float64)
        for along, n in enumerate(size):
            steps = torch.arange(n, dtype=torch.float64) * float(affine[axis, along])
            total = total + steps.reshape([-1 if a == along else 1 for a in range(dims)])
        where[..., dims - 1 - axis] = ((2 * total + 1) / float(high[axis] - low[axis]) - 1).float().to(image.device)
    found = functional.grid_sample(part[None], where[None], padding_mode="zeros", align_corners=False)
    return found[0] + pad_value
