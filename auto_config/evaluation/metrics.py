"""Numbers of an evaluation: pure functions from errors in mm to ``metrics.json``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from auto_config.evaluation.comparison import Comparison

STATISTICS = ("mean", "std", "median", "iqr", "p95", "max", "n")


def summary(errors: np.ndarray) -> dict[str, float | int | None]:
    """Statistics of errors.

    Args:
        errors: mm, of any shape; NaN is left out.

    Returns:
        ``mean``, ``std`` (of the population), ``median``, ``iqr`` (75th minus 25th percentile), ``p95``, ``max`` in mm
        and ``n``; None instead of a number where nothing is left.
    """
    known = errors[np.isfinite(errors)]
    if not known.size:
        return {**dict.fromkeys(STATISTICS[:-1]), "n": 0}
    low, middle, high, p95 = np.percentile(known, [25, 50, 75, 95])
    values = (known.mean(), known.std(), middle, high - low, p95, known.max())
    return {**{key: float(value) for key, value in zip(STATISTICS, values, strict=False)}, "n": int(known.size)}


def success_rates(errors: np.ndarray, thresholds: Sequence[float]) -> dict[str, float | None]:
    """Success detection rates: percent of the errors that are at most each threshold.

    Args:
        errors: mm, of any shape; NaN is left out.
        thresholds: mm.

    Returns:
        Percent for each threshold, which is written as short text (``"2.5"``); None where no error is known.
    """
    known = errors[np.isfinite(errors)]
    return {
        f"{threshold:g}": float(100.0 * np.mean(known <= threshold)) if known.size else None for threshold in thresholds
    }


def presence_counts(status: np.ndarray, predicted_present: np.ndarray) -> dict[str, int]:
    """How often truth and model call landmarks present.

    Args:
        status: (N, L) of the truth: 1 present, 0 absent, -1 unknown.
        predicted_present: (N, L) bool.

    Returns:
        Numbers of landmarks that the truth calls present, absent and unknown, and of the first two by prediction.
    """
    counts = {"present": 1, "absent": 0, "unknown": -1}
    totals = {word: int((status == value).sum()) for word, value in counts.items()}
    crossed = {
        f"{word}_predicted_{said}": int(((status == counts[word]) & (predicted_present == (said == "present"))).sum())
        for word in ("present", "absent")
        for said in ("present", "absent")
    }
    return totals | crossed


def metrics(comparison: Comparison, thresholds: Sequence[float]) -> dict[str, Any]:
    """Everything of ``metrics.json``, JSON-able.

    Errors count for all landmarks that the truth calls present, also those that the model calls absent.

    Args:
        comparison: predictions and truth.
        thresholds: mm for the success rates.

    Returns:
        ``unit`` (``"px"`` where the pixel size is not known), ``mre_mm`` (``mre_px`` then), ``sdr``,
        ``per_landmark``, ``per_case``, ``mean_shape_baseline`` (None where it is not known),
        ``presence``, ``measures`` (empty: none is defined) and ``cases``, which says what was left out and which of the
        evaluated cases the bundle was trained on.
    """
    errors, baseline, unit = comparison.errors, comparison.baseline_errors, comparison.unit
    knows_baseline = bool(np.isfinite(baseline).any())
    return {
        "unit": unit,
        **_block(errors, thresholds, unit),
        "per_landmark": {name: _block(errors[:, k], thresholds, unit) for k, name in enumerate(comparison.names)},
        "per_case": {case: _block(errors[n], thresholds, unit) for n, case in enumerate(comparison.cases)},
        "mean_shape_baseline": _block(baseline, thresholds, unit) if knows_baseline else None,
        "presence": presence_counts(comparison.status, comparison.predicted_present),
        "measures": {},
        "cases": {
            "evaluated": len(comparison.cases),
            "training": list(comparison.training_cases),
            "without_prediction": list(comparison.without_prediction),
            "without_truth": list(comparison.without_truth),
            "failed": dict(comparison.failed),
        },
    }


def _block(errors: np.ndarray, thresholds: Sequence[float], unit: str) -> dict[str, Any]:
    return {f"mre_{unit}": summary(errors), "sdr": success_rates(errors, thresholds)}
