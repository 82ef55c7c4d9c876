"""Intervals and tests over cases: the case is what was sampled, its landmarks are not independent of each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import stats

RESAMPLES = 5000
CONFIDENCE = 0.95


def mean_interval(
    values: np.ndarray, *, confidence: float = CONFIDENCE, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[float, float] | None:
    """Bootstrap interval of the mean over all landmarks of all cases (percentiles; Efron and Tibshirani, 1993).

    Args:
        values: (N, L), NaN is left out. Whole cases are drawn with replacement.
        confidence: Share of the intervals that hold the true mean.
        resamples: Number of draws.
        seed: The same seed gives the same interval.

    Returns:
        Low and high end; None where fewer than two cases have a value.
    """
    known = np.isfinite(values)
    filled = known.any(axis=1)
    total, count = np.where(known, values, 0.0).sum(axis=1)[filled], known.sum(axis=1)[filled]
    if len(total) < 2:
        return None
    drawn = np.random.default_rng(seed).integers(len(total), size=(resamples, len(total)))
    means = total[drawn].sum(axis=1) / count[drawn].sum(axis=1)
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction (1979): adjusted p-values that hold for all tests together.

    Args:
        p_values: NaN stays NaN and is not counted.
    """
    p = np.asarray(p_values, dtype=np.float64)
    out = np.full(len(p), np.nan)
    order = [i for i in np.argsort(p, kind="stable") if not np.isnan(p[i])]
    highest = 0.0
    for rank, i in enumerate(order):
        highest = max(highest, min(1.0, float((len(order) - rank) * p[i])))
        out[i] = highest
    return out.tolist()


def signed_rank(first: np.ndarray, second: np.ndarray) -> float:
    """P-value of Wilcoxon's signed-rank test of paired values; NaN where no pair differs."""
    both = np.isfinite(first) & np.isfinite(second)
    difference = (first - second)[both]
    if not np.any(difference):
        return float("nan")
    return float(stats.wilcoxon(difference).pvalue)


def paired_difference(first: np.ndarray, second: np.ndarray) -> dict[str, Any]:
    """Compare two models on the same cases and landmarks.

    Args:
        first: (N, L) errors, NaN where there is none.
        second: (N, L) errors of the other model.

    Returns:
        ``difference`` (mean of first minus second over what both have), ``interval`` (bootstrap over cases),
        ``p_value`` (signed-rank test of the cases' mean errors) and ``cases``.
    """
    both = np.isfinite(first) & np.isfinite(second)
    filled = both.any(axis=1)
    if not filled.any():
        return {"difference": None, "interval": None, "p_value": None, "cases": 0}
    difference = np.where(both, first - second, np.nan)
    interval = mean_interval(difference)
    rows = [np.where(both, values, np.nan)[filled] for values in (first, second)]
    p_value = signed_rank(*(np.nanmean(row, axis=1) for row in rows))
    return {
        "difference": float(np.nanmean(difference)),
        "interval": None if interval is None else list(interval),
        "p_value": None if np.isnan(p_value) else p_value,
        "cases": int(filled.sum()),
    }
