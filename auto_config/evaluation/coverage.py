"""How often the regions of predictions hold the true points, beside how often they promise to."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from auto_config.calibration.conformal import (
    ball_volume,
    coverage,
    ellipsoid_scores,
    ellipsoid_volume,
)


def region_coverage(
    predicted: np.ndarray,
    truth: np.ndarray,
    covariance: np.ndarray,
    names: Sequence[str] | np.ndarray,
    calibration: Mapping[str, Any],
) -> dict[str, dict[str, Any]]:
    """Coverage and size of balls and ellipsoids at each level of a calibration.

    Args:
        predicted: (..., D) world mm.
        truth: (..., D) world mm, NaN where not present.
        covariance: (..., D, D) mm² of the heatmaps, NaN where not known.
        names: Landmark of each point, of a shape that broadcasts to theirs: the one that the prediction calls it, whose
            regions it has.
        calibration: ``calibration`` of ``run.json``.

    Returns:
        ``{"ball": {level: {"share", "count", "median_size", "mean_size", "infinite"}}, "ellipsoid": {...}}``, sizes in
        mm³ (mm² in 2D); levels as text, as in JSON.
    """
    dims = predicted.shape[-1]
    distance = np.linalg.norm(predicted - truth, axis=-1)
    known = np.isfinite(covariance).all(axis=(-1, -2))
    safe = np.where(known[..., None, None], covariance, np.eye(dims))
    scores = {"ball": distance, "ellipsoid": np.where(known, ellipsoid_scores(predicted, truth, safe), np.nan)}
    found: dict[str, dict[str, Any]] = {"ball": {}, "ellipsoid": {}}
    kinds, which = np.unique(np.array(names, dtype=str), return_inverse=True)
    which = np.broadcast_to(which.reshape(np.shape(names)), distance.shape)
    for position, level in enumerate(calibration["levels"]):
        for kind, key in (("ball", "ball_mm"), ("ellipsoid", "ellipsoid")):
            rows = calibration[key]
            bounds = [_bound(rows[name][position]) if name in rows else math.nan for name in kinds.tolist()]
            bound = np.array(bounds, dtype=np.float64)[which]
            there = np.isfinite(scores[kind]) & ~np.isnan(bound)
            inside = np.where(there, scores[kind] <= bound, np.nan)
            size = ball_volume(bound, dims) if kind == "ball" else ellipsoid_volume(bound, safe)
            row = vars(coverage(inside, np.broadcast_to(size, inside.shape), level)).copy()
            row.pop("nominal")
            found[kind][f"{level:g}"] = {name: _json(value) for name, value in row.items()}
    return found


def _bound(value: float | None) -> float:
    return math.inf if value is None else float(value)


def _json(value: float) -> float | int | None:
    return value if not isinstance(value, float) or math.isfinite(value) else None
