"""From the numbers of other cases to the deviations from which on a case is to be looked at: pure functions.

Each case is compared with all others of the calibration as a new case will be with all of them, and its largest
deviation is its score. Of n such scores the k-th smallest, ``k = ceil((1 - rate) (n + 1))``, is exceeded by a new good
case with a probability of `rate` about (split conformal prediction; a new case has one more case beside it, so it
rather deviates less). With fewer cases than 1 / rate - 1 no rank says that much: the limit is then that of t statistics
(normal numbers), shared among the columns (Bonferroni), or the largest of the scores, if that is larger.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy import stats

from auto_config.bundle_scripts.inference.verdict.columns import column
from auto_config.bundle_scripts.inference.verdict.judging import Reference, deviations
from auto_config.calibration.conformal import conformal_rank

RATE = 0.05
"""Of good cases, the share that is to be looked at nevertheless."""

FEWEST = 3
"""With fewer cases nothing is known of what is usual."""

_FREE_OF_OUTLIERS = 7
"""From so many cases on, the limit is above all of them: then it is exceeded by 1 in n + 1 at most, normal or not."""

_KNOWN = 0.9  # share of the cases that must have a number, for it to be compared
_WENT_WRONG = 4.0  # times the median error: such a case is no good case, and an alarm about it is none that is false
_TIMES = 2.0  # the limit of failures over that of checks, where no failure was seen
_NEAREST = 1.5  # the same at least


def good_cases(errors: np.ndarray) -> np.ndarray:
    """(N,) bool: which cases went well, of their mean errors (N,) in mm, NaN where not known.

    What is far worse than the others is what a verdict is there to find.
    """
    if not np.isfinite(errors).any():
        return np.zeros(len(errors), dtype=bool)
    return np.asarray(np.nan_to_num(errors, nan=math.inf) <= _WENT_WRONG * np.nanmedian(errors))


def usable(values: np.ndarray, names: Sequence[str]) -> tuple[np.ndarray, list[str]]:
    """The columns of (N, S) numbers that nearly every case has."""
    keep = np.isfinite(values).mean(axis=0) >= _KNOWN
    keep &= np.isfinite(values).sum(axis=0) >= FEWEST
    return values[:, keep], [name for name, kept in zip(names, keep, strict=True) if kept]


def left_out_deviations(values: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """(N, S) deviations of each case from all others; see `judging.deviations`."""
    middle = np.nanmean(values, axis=0)
    known = np.isfinite(values)
    centred = np.where(known, values - middle, 0.0)
    count = known.sum(axis=0) - known
    mean = (centred.sum(axis=0) - centred) / count
    squares = (centred**2).sum(axis=0) - centred**2 - count * mean**2
    sd = np.sqrt(np.maximum(squares, 0.0) / (count - 1))
    return deviations(values, middle + mean, sd, len(values) - 1, names)


def check_limit(values: np.ndarray, names: Sequence[str], rate: float = RATE) -> tuple[float, bool]:
    """The deviation from which on a case is to be looked at.

    Args:
        values: (N, S) numbers of good cases, N at least `FEWEST`.
        names: (S,) columns.
        rate: Of false alarms.

    Returns:
        The limit, and whether ranks alone give it: if not, it rests on normal numbers.
    """
    rank = conformal_rank(len(values), 1.0 - rate)
    largest = np.sort(left_out_deviations(values, names).max(axis=1)) * (1 + 1e-9)
    if rank is not None:
        # A new case as far off as that one is none to look at.
        return max(float(largest[rank - 1]), 1.0), True
    sides = sum(2 if column(name).both else 1 for name in names)
    limit = float(stats.t.isf(rate / max(sides, 1), len(values) - 1))
    return max(limit, float(largest[-1]) if len(values) >= _FREE_OF_OUTLIERS else 0.0), False


def failed_limit(check: float, good: np.ndarray, harmed: np.ndarray) -> float:
    """The deviation from which on a case has failed.

    Args:
        check: Limit of the cases to look at.
        good: Largest deviation of each good case; empty where ranks say nothing of them.
        harmed: Largest deviation of each case that went wrong or was spoiled so that its points are wrong.

    Returns:
        Halfway, in its logarithm, between the limit of checks and the median of what went wrong; above all good cases.
    """
    if not len(harmed):
        return max([_TIMES * check, *(good * (1 + 1e-9)).tolist()])
    middle = math.sqrt(check * max(float(np.median(harmed)), check))
    return max([_NEAREST * check, middle, *(good * (1 + 1e-9)).tolist()])


def reference_of(
    values: np.ndarray, names: Sequence[str], *, others: str, rate: float = RATE, fits: bool, coarse_fits: bool
) -> tuple[Reference, bool]:
    """What good cases say of the next one, with a limit of failures that no failure was seen for.

    Args:
        values: (N, S) their numbers, NaN where a case has none; N at least `FEWEST`.
        names: (S,) columns.
        others: Who they are, in words.
        rate: Of false alarms.
        fits: Their shapes could be fitted.
        coarse_fits: The same of their coarse points.

    Returns:
        The reference, and whether its rate needs no distribution.
    """
    kept, columns = usable(values, names)
    check, exact = check_limit(kept, columns, rate) if columns else (1.0, False)
    found = Reference(
        others=others,
        cases=len(values),
        columns={name: summary(row) for name, row in zip(columns, kept.T, strict=True)},
        check=check,
        failed=failed_limit(check, np.zeros(0), np.zeros(0)),
        rate=rate,
        fits=fits,
        coarse_fits=coarse_fits,
    )
    return found, exact


def summary(values: np.ndarray) -> dict[str, float]:
    """``mean``, ``sd``, ``low`` and ``high`` of numbers (N,), NaN left out."""
    known = values[np.isfinite(values)]
    return {
        "mean": float(known.mean()),
        "sd": float(known.std(ddof=1)),
        "low": float(known.min()),
        "high": float(known.max()),
    }
