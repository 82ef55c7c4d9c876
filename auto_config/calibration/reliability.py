"""How good probabilities are: ranking (AUROC), honesty (expected calibration error), decisions (F1)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy.stats import rankdata

BINS = 10


def auroc(score: np.ndarray, positive: np.ndarray) -> float:
    """Area under the ROC curve: the chance that a positive scores above a negative, ties count half.

    Args:
        score: (n,) larger is more positive.
        positive: (n,) bool.

    Returns:
        NaN where there is no positive or no negative.
    """
    count, rest = int(positive.sum()), int((~positive).sum())
    if not count or not rest:
        return math.nan
    return float((rankdata(score)[positive].sum() - count * (count + 1) / 2) / (count * rest))


def roc_curve(score: np.ndarray, positive: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """False and true positive rate at every threshold, from (0, 0) to (1, 1), for a chart."""
    order = np.argsort(-score, kind="stable")
    last = np.append(np.diff(score[order]) != 0, True)  # one step for all of one score
    hits, alarms = np.cumsum(positive[order])[last], np.cumsum(~positive[order])[last]
    return np.append(0, alarms) / max(alarms[-1], 1), np.append(0, hits) / max(hits[-1], 1)


def reliability(probability: np.ndarray, positive: np.ndarray, bins: int = BINS) -> list[dict[str, Any]]:
    """Reliability curve over bins of equal width: how often it is true where so much is said.

    Returns:
        For each bin that is not empty ``{"probability": mean, "share": of positives, "count"}``.
    """
    index = np.minimum((probability * bins).astype(int), bins - 1)
    return [
        {
            "probability": float(probability[index == b].mean()),
            "share": float(positive[index == b].mean()),
            "count": int((index == b).sum()),
        }
        for b in range(bins)
        if (index == b).any()
    ]


def expected_calibration_error(probability: np.ndarray, positive: np.ndarray, bins: int = BINS) -> float:
    """Mean distance between what is said and how often it is true, over bins weighted by their size (Naeini, 2015)."""
    curve = reliability(probability, positive, bins)
    total = sum(row["count"] for row in curve)
    return sum(row["count"] * abs(row["probability"] - row["share"]) for row in curve) / total if total else math.nan


def f1_score(said: np.ndarray, true: np.ndarray) -> float:
    """F1 of a yes-or-no decision: ``2 TP / (2 TP + FP + FN)``; NaN where there is neither a yes nor a truth."""
    hits, wrong = int((said & true).sum()), int((said != true).sum())
    return 2 * hits / (2 * hits + wrong) if hits or wrong else math.nan


def mean_f1(said: np.ndarray, true: np.ndarray) -> float:
    """Mean of the F1 of "present" and the F1 of "absent", so that the rarer of the two counts as much."""
    return float(np.nanmean([f1_score(said, true), f1_score(~said, ~true)]))
