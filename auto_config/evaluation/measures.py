"""Measures between landmarks (biometry), and how well predicted ones agree with true ones (Bland and Altman, 1986)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from auto_config.datasets.model.properties import Measure

LIMITS = 1.96
"""Standard deviations between which 95 % of normal differences lie."""


def measured(points: np.ndarray, names: Sequence[str], measure: Measure) -> np.ndarray:
    """A measure of each case.

    Args:
        points: (N, L, D) world mm (or pixels), NaN where a landmark is not present.
        names: (L,) of the points.
        measure: What to measure; see `Measure`.

    Returns:
        (N,) mm (pixels), degrees, or a ratio; NaN where a landmark is missing.
    """
    rows = points[:, [names.index(name) for name in measure.landmarks]]
    if measure.kind == "distance":
        return np.linalg.norm(rows[:, 0] - rows[:, 1], axis=-1)
    if measure.kind == "ratio":
        lengths = np.linalg.norm(rows[:, [0, 2]] - rows[:, [1, 3]], axis=-1)
        return lengths[:, 0] / np.where(lengths[:, 1] > 0, lengths[:, 1], np.nan)
    if len(measure.landmarks) == 3:
        first, second = rows[:, 0] - rows[:, 1], rows[:, 2] - rows[:, 1]
    else:
        first, second = rows[:, 1] - rows[:, 0], rows[:, 3] - rows[:, 2]
    length = np.linalg.norm(first, axis=-1) * np.linalg.norm(second, axis=-1)
    cosine = (first * second).sum(axis=-1) / np.where(length > 0, length, np.nan)
    angle = np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0)))
    # Two lines have no direction: the angle between them is at most 90 degrees.
    return angle if len(measure.landmarks) == 3 else np.minimum(angle, 180.0 - angle)


def unit_of(measure: Measure, length_unit: str) -> str:
    """Unit of a measure: that of lengths, degrees, or none."""
    return {"distance": length_unit, "angle": "°", "ratio": ""}[measure.kind]


def agreement(predicted: np.ndarray, true: np.ndarray) -> dict[str, Any]:
    """How predicted measures agree with true ones.

    Args:
        predicted: (N,), NaN where not known.
        true: (N,).

    Returns:
        ``cases``, ``mean_absolute_error``, ``bias`` (mean of predicted minus true), ``deviation`` of the differences,
        and the ``limits`` of agreement, bias ± 1.96 deviations; None where too few cases have both.
    """
    difference = (predicted - true)[np.isfinite(predicted) & np.isfinite(true)]
    if not difference.size:
        return {"cases": 0, "mean_absolute_error": None, "bias": None, "deviation": None, "limits": None}
    bias = float(difference.mean())
    deviation = float(difference.std(ddof=1)) if difference.size > 1 else None
    return {
        "cases": int(difference.size),
        "mean_absolute_error": float(np.abs(difference).mean()),
        "bias": bias,
        "deviation": deviation,
        "limits": None if deviation is None else [bias - LIMITS * deviation, bias + LIMITS * deviation],
    }
