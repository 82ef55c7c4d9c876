"""Numbers that describe a scan: its predicted or labelled shape and its grey values. Pure functions."""

from __future__ import annotations

import numpy as np

from auto_config.bundle_scripts.grid.grids import apply_affine
from auto_config.bundle_scripts.points.procrustes import similarity
from auto_config.datasets.checks.shape_outliers import MIN_LANDMARKS, align_all, median_shape

_QUANTILES = (0.02, 0.25, 0.5, 0.75, 0.98)
_AXES = 5
_FEWEST_SHAPES = 3


def grey_look(array: np.ndarray) -> np.ndarray:
    """Five quantiles of the grey values of an image (C, *shape), and how large the steps between voxels are."""
    steps_apart = tuple(slice(None, None, max(1, size // 64)) for size in array.shape[1:])
    voxels = array[0][steps_apart].astype(np.float64)
    low, *middle, high = np.quantile(voxels, _QUANTILES)
    width = max(high - low, 1e-12)
    steps = np.mean(
        [np.abs(np.diff(voxels, axis=axis)).mean() for axis in range(voxels.ndim) if voxels.shape[axis] > 1]
    )
    return np.array([low, high, *((value - low) / width for value in middle), steps / width])


def shape_looks(shapes: np.ndarray, labelled: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Shapes as numbers: size, the first five axes of variation of the labelled shapes, what these leave over.

    Args:
        shapes: (M, L, D) predicted points, NaN where there is none.
        labelled: (N, L, D) labels.

    Returns:
        (M, F) and (N, F); NaN for shapes with too few points. No columns with fewer than three labelled shapes.
    """
    usable = labelled[np.isfinite(labelled).all(-1).sum(1) >= MIN_LANDMARKS]
    if len(usable) < _FEWEST_SHAPES:
        return np.zeros((len(shapes), 0)), np.zeros((len(labelled), 0))
    mean = median_shape(align_all(usable))
    own = [_on_mean(shape, mean) for shape in labelled]
    residuals = np.array([one for one, size in own if np.isfinite(size)])
    axes = np.linalg.svd(residuals - residuals.mean(0), full_matrices=False)[2][:_AXES]

    def look(residual: np.ndarray, size: float) -> np.ndarray:
        along = axes @ residual
        rest = np.sqrt(max(float(residual @ residual - along @ along), 0.0))
        return np.array([size, *along, rest])

    def looks(found: list[tuple[np.ndarray, float]]) -> np.ndarray:
        rows = [look(*one) for one in found]
        return np.array(rows).reshape(len(found), len(axes) + 2)

    return looks([_on_mean(shape, mean) for shape in shapes]), looks(own)


def _on_mean(shape: np.ndarray, mean: np.ndarray) -> tuple[np.ndarray, float]:
    """Differences (L * D,) of a shape laid on the mean, 0 where a point is missing, and the logarithm of its size."""
    both = np.isfinite(shape).all(-1) & np.isfinite(mean).all(-1)
    if both.sum() < MIN_LANDMARKS:
        return np.zeros(mean.size), np.nan
    matrix = similarity(shape[both], mean[both], np.ones(int(both.sum())))
    residual = np.zeros_like(mean)
    residual[both] = apply_affine(matrix, shape[both]) - mean[both]
    return residual.ravel(), -float(np.log(np.abs(np.linalg.det(matrix[:-1, :-1])))) / mean.shape[1]
