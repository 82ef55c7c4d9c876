"""How the cases of a data set lie: turns of their points against the mean shape, in the frame of the planned grid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import nibabel as nib
import numpy as np

from auto_config.bundle_scripts.points.pose.rotations import angle_deg, mean_rotation, rotations_of
from auto_config.bundle_scripts.points.procrustes import procrustes

FREE_DEG = 40.0
"""Beyond this turn from the mean pose a network does not see what its training showed (docs/pose.md)."""

MIN_CASES = 3


def grid_frame(affine: np.ndarray) -> np.ndarray:
    """Directions ``(D, D)`` of the planned grid of an image, in RAS order, in the world: columns of length 1."""
    linear = np.asarray(affine, dtype=np.float64)[:3, :3]
    order = nib.io_orientation(np.block([[linear, np.zeros((3, 1))], [np.zeros((1, 3)), np.ones((1, 1))]]))
    directions = linear / np.linalg.norm(linear, axis=0)
    out = np.zeros((3, 3))
    for axis, (onto, sign) in enumerate(order):
        out[:, int(onto)] = directions[:, axis] * sign
    return out


def how_cases_lie(points: np.ndarray, frames: Sequence[np.ndarray | None]) -> dict[str, Any]:
    """Turns of the cases against their mean pose.

    Args:
        points: ``(N, L, D)`` world mm, NaN where a landmark is not present or has no fixed place.
        frames: directions of each case's planned grid, of `grid_frame`; None where those are the axes of the world.

    Returns:
        ``cases`` that tell how they lie. Where there are `MIN_CASES` of them also ``median_deg``, ``largest_deg``,
        ``beyond`` (how many lie more than ``beyond_deg`` from the mean pose), ``doubt_deg`` (what the shape's own
        variation makes of the angle of a case) and ``diameter_mm`` (95th percentile of the largest distance of two
        landmarks of a case).
    """
    on_grid = np.stack(
        [case if frame is None else case @ frame for case, frame in zip(points, frames, strict=True)]
        if len(points)
        else [np.zeros(points.shape[1:])]
    )
    mean, spread, _ = procrustes(on_grid)
    rotations = rotations_of(mean, on_grid) if np.isfinite(mean).any() else []
    if len(rotations) < MIN_CASES:
        return {"cases": len(rotations)}
    centre = mean_rotation(rotations)
    angles = np.array([angle_deg(centre.T @ rotation) for rotation in rotations])
    known = np.isfinite(mean).all(1)
    thin = np.linalg.svd(mean[known] - mean[known].mean(0), compute_uv=False)[mean.shape[1] - 2]
    doubt = np.degrees(np.arctan2(float(np.sqrt(np.nanmean(spread**2))), float(thin)))
    return {
        "cases": len(rotations),
        "median_deg": round(float(np.median(angles)), 1),
        "largest_deg": round(float(angles.max()), 1),
        "beyond_deg": FREE_DEG,
        "beyond": int((angles > FREE_DEG).sum()),
        "doubt_deg": round(float(doubt), 1),
        "diameter_mm": round(float(np.percentile([_diameter(case) for case in on_grid], 95)), 4),
    }


def _diameter(points: np.ndarray) -> float:
    here = points[np.isfinite(points).all(1)]
    return float(np.linalg.norm(here[:, None] - here[None], axis=-1).max()) if len(here) else 0.0
