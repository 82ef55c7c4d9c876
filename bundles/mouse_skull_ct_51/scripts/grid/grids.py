"""Arithmetic between grids: voxel, world, planned grid, coarse grid. Points only, no images, closed forms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


def apply_affine(affine: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Map points through an affine.

    Args:
        affine: ``(D+1, D+1)`` homogeneous matrix.
        points: ``(..., D)``; rows with NaN stay NaN.

    Returns:
        ``(..., D)`` float64.
    """
    affine = np.asarray(affine, dtype=np.float64)
    points = np.asarray(points, dtype=np.float64)
    dims = points.shape[-1]
    return points @ affine[:dims, :dims].T + affine[:dims, -1]


def world_to_voxel(affine: np.ndarray, points: np.ndarray) -> np.ndarray:
    """World millimetres to voxels of the grid with this (voxel to world) affine; shapes as `apply_affine`."""
    return apply_affine(np.linalg.inv(np.asarray(affine, dtype=np.float64)), points)


def embed_affine(affine: np.ndarray, dims: int) -> np.ndarray:
    """The ``(dims+1, dims+1)`` part of an affine: MONAI gives 2D images a 3D (4 x 4) affine.

    Args:
        affine: ``(3, 3)`` or ``(4, 4)``.
        dims: 2 or 3.
    """
    affine = np.asarray(affine, dtype=np.float64)
    out = np.eye(dims + 1)
    out[:dims, :dims] = affine[:dims, :dims]
    out[:dims, -1] = affine[:dims, -1]
    return out


def coarse_to_planned(points: np.ndarray, factor: Sequence[int]) -> np.ndarray:
    """Voxel coordinates on the coarse grid to those on the planned grid.

    A coarse voxel is the mean of a block of ``factor`` planned voxels, so its centre ``c`` is ``(c + 0.5) * factor -
    0.5``.

    Args:
        points: ``(..., D)`` voxels.
        factor: ``(D,)`` block size in voxels.
    """
    scale = np.asarray(factor, dtype=np.float64)
    return (np.asarray(points, dtype=np.float64) + 0.5) * scale - 0.5


def planned_to_coarse(points: np.ndarray, factor: Sequence[int]) -> np.ndarray:
    """The inverse of `coarse_to_planned`."""
    scale = np.asarray(factor, dtype=np.float64)
    return (np.asarray(points, dtype=np.float64) + 0.5) / scale - 0.5


def to_cells(points: Any, stride: int) -> Any:
    """Voxels ``(..., D)`` of a grid, an array or a tensor, in cells of `stride` voxels."""
    return (points - (stride - 1) / 2) / stride


def coarse_affine(affine: np.ndarray, factor: Sequence[int]) -> np.ndarray:
    """Affine of the coarse grid of a planned grid with this affine; see `coarse_to_planned`."""
    scale = np.asarray(factor, dtype=np.float64)
    step = np.diag(np.append(scale, 1.0))
    step[:-1, -1] = 0.5 * scale - 0.5
    return np.asarray(affine, dtype=np.float64) @ step
