"""Points through affines, in float64: voxel columns to world millimetres and back."""

from __future__ import annotations

from typing import Any

import numpy as np


def affine_of(value: Any, spatial_dims: int) -> np.ndarray:
    """The affine of an image with ``spatial_dims`` axes.

    MONAI gives 2D pictures a 4 x 4 affine; of a larger affine the first ``spatial_dims`` rows and columns and the
    translation are kept.

    Args:
        value: affine (D + 1, D + 1) or (4, 4), a tensor or an array, voxel to world mm.
        spatial_dims: D, 2 or 3.

    Returns:
        Affine (D + 1, D + 1), float64.

    Raises:
        ValueError: the affine is smaller than D + 1.
    """
    affine = np.asarray(value, dtype=np.float64)
    if affine.ndim != 2 or min(affine.shape) < spatial_dims + 1:
        raise ValueError(
            f"the affine has shape {affine.shape}, {spatial_dims}D points need {spatial_dims + 1} rows and columns or more"
        )
    kept = np.eye(spatial_dims + 1)
    kept[:spatial_dims, :spatial_dims] = affine[:spatial_dims, :spatial_dims]
    kept[:spatial_dims, -1] = affine[:spatial_dims, -1]
    return kept


def apply_affine(affine: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Points (N, D) through an affine (D + 1, D + 1); NaN rows stay NaN. Float64."""
    points = np.asarray(points, dtype=np.float64)
    return points @ affine[:-1, :-1].T + affine[:-1, -1]


def image_center(shape: tuple[int, ...], affine: np.ndarray) -> np.ndarray:
    """World position (D,) in mm of the middle of an image array of ``shape``: the mean of its first and last voxel."""
    middle = (np.asarray(shape, dtype=np.float64) - 1.0) / 2.0
    return apply_affine(affine, middle[None])[0]
