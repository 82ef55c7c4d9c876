"""Numbers of an evaluation: pure functions from errors in mm to ``metrics.json``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from auto_config.calibration.reliability import auroc, expected_calibration_error, f1_score, reliability, roc_curve
from auto_config.evaluation.comparison import Comparison
from auto_config.evaluation.coverage import region_coverage
from auto_config.evaluation.measures import agreement, measured, unit_of
from auto_config.evaluation.statistics import mean_interval

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


def presence_metrics(comparison: Comparison) -> dict[str, Any]:
    """Counts of `presence_counts`, and where some landmarks are absent, how well presence is told.

    Returns:
        The counts, ``f1_present`` and ``f1_absent`` of the decision, ``auroc``, ``expected_calibration_error``,
        ``reliability`` and ``roc`` (lists of both rates) of the confidence; None where there is nothing to tell apart.
    """
    counts: dict[str, Any] = dict(presence_counts(comparison.status, comparison.predicted_present))
    known = comparison.status >= 0
    truth, said = comparison.status[known] == 1, comparison.predicted_present[known]
    judged: dict[str, Any] = dict.fromkeys(
        ("f1_present", "f1_absent", "auroc", "expected_calibration_error", "reliability", "roc")
    )
    if counts["absent"] and counts["present"]:
        judged |= {"f1_present": f1_score(said, truth), "f1_absent": f1_score(~said, ~truth)}
        score = comparison.confidence[known] if comparison.confidence.size else np.full(truth.shape, np.nan)
        if np.isfinite(score).all():
            judged |= {
                "auroc": auroc(score, truth),
                "expected_calibration_error": expected_calibration_error(score, truth),
                "reliability": reliability(score, truth),
                "roc": [rate.tolist() for rate in roc_curve(score, truth)],
            }
    return counts | {key: _number_or_none(value) for key, value in judged.items()}


def measure_metrics(comparison: Comparison) -> dict[str, Any]:
    """For each declared measure its unit and how predictions agree with the truth; see `measures.agreement`."""
    return {
        measure.name: {
            "kind": measure.kind,
            "landmarks": list(measure.landmarks),
            "unit": unit_of(measure, comparison.unit),
            **agreement(
                measured(comparison.predicted, comparison.names, measure),
                measured(comparison.truth, comparison.names, measure),
            ),
        }
        for measure in comparison.measures
    }


def metrics(comparison: Comparison, thresholds: Sequence[float]) -> dict[str, Any]:
    """Everything of ``metrics.json``, JSON-able.

    Errors count for all landmarks that the truth calls present, also those that the model calls absent.

    Args:
        comparison: predictions and truth.
        thresholds: mm for the success rates.

    Returns:
        ``unit`` (``"px"`` where the pixel size is not known), ``mre_mm`` (``mre_px`` then), ``sdr``,
        ``per_landmark``, ``per_case``, ``mean_shape_baseline`` (None where it is not known),
        ``mre_interval`` (bootstrap over cases, or None; of each landmark too), ``inter_rater`` (None where no case has
        two raters),
        ``presence``, ``regions`` (None where the bundle is not calibrated), ``measures``, ``implausible`` (how many
        points the shape rules out, and the mean error of these) and ``cases``, which says what was left out and which
        of the evaluated cases the bundle was trained on.
    """
    errors, baseline, unit = comparison.errors, comparison.baseline_errors, comparison.unit
    knows_baseline = bool(np.isfinite(baseline).any())
    return {
        "unit": unit,
        **_block(errors, thresholds, unit),
        "per_landmark": {
            name: {**_block(errors[:, k], thresholds, unit), "mre_interval": _interval(errors[:, [k]])}
            for k, name in enumerate(comparison.names)
        },
        "per_case": {case: _block(errors[n], thresholds, unit) for n, case in enumerate(comparison.cases)},
        "mean_shape_baseline": _block(baseline, thresholds, unit) if knows_baseline else None,
        "mre_interval": _interval(errors),
        "inter_rater": _raters(comparison, thresholds, unit),
        "presence": presence_metrics(comparison),
        "regions": _regions(comparison),
        "measures": measure_metrics(comparison),
        "implausible": _implausible(comparison),
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


def mean_with_interval(errors: np.ndarray, thresholds: Sequence[float], unit: str) -> dict[str, Any]:
    """``mre_mm`` (``mre_px``), ``sdr`` and ``mre_interval`` of some cases.

    Args:
        errors: (N, L) in `unit`, NaN where the truth has no point.
        thresholds: For the success rates.
        unit: ``"mm"`` or ``"px"``.
    """
    return {**_block(errors, thresholds, unit), "mre_interval": _interval(errors)}


def _interval(errors: np.ndarray) -> list[float] | None:
    interval = mean_interval(errors)
    return None if interval is None else list(interval)


def _raters(comparison: Comparison, thresholds: Sequence[float], unit: str) -> dict[str, Any] | None:
    """Errors between raters, beside which those of a model stand."""
    between = comparison.rater_errors
    return _block(between, thresholds, unit) if np.isfinite(between).any() else None


def _regions(comparison: Comparison) -> dict[str, Any] | None:
    matched, dims = comparison.matched, comparison.predicted.shape[-1]
    several = matched is not None and bool(matched.names)
    if comparison.calibration is None or not (comparison.covariance.size or several):
        return None
    names = np.array(comparison.names, dtype=str)
    called = names[comparison.columns] if comparison.columns.size else np.tile(names, (len(comparison.cases), 1))
    predicted, truth = comparison.predicted.reshape(-1, dims), comparison.truth.reshape(-1, dims)
    covariance, called = comparison.covariance.reshape(-1, dims, dims), called.ravel()
    if matched is not None and several:
        predicted, truth = np.concatenate([predicted, matched.predicted]), np.concatenate([truth, matched.truth])
        covariance = np.concatenate([covariance, matched.covariance])
        called = np.concatenate([called, np.array(matched.names, dtype=str)])
    return region_coverage(predicted, truth, covariance, called, comparison.calibration)


def _implausible(comparison: Comparison) -> dict[str, Any]:
    flagged = comparison.implausible if comparison.implausible.size else np.zeros(comparison.status.shape, dtype=bool)
    errors = comparison.errors[flagged & np.isfinite(comparison.errors)]
    return {"count": int(flagged.sum()), f"mre_{comparison.unit}": float(errors.mean()) if errors.size else None}


def _number_or_none(value: Any) -> Any:
    return None if isinstance(value, float) and not np.isfinite(value) else value
