"""From the numbers of a case to `ok`, `check` or `failed`: pure functions.

Each number is compared with those of other cases: how many standard deviations it lies beyond their mean, as the
prediction interval of a new case has it. The largest of these decides; its limits are calibrated as one, so the stated
rate of false alarms is that of the verdict and not of each number.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .columns import column, sentence

OK, CHECK, FAILED = "ok", "check", "failed"
LARGEST_MISFIT = 0.4
"""Share of points that may stray from the fitted shape before the shape does not fit, as `ShapeModel` has it."""


@dataclass(frozen=True)
class CaseScores:
    """What is known of a case.

    Args:
        values: Number by column, finite ones only.
        misfit: Share of the points that do not fit the training shapes; NaN where no shape can be fitted.
        strayed: Names of these points.
        too_few: The points are too few for a fit although the bundle has enough landmarks.
        coarse_fits: Whether the points of the coarse stage fitted the training shapes; None where nobody looked.
    """

    values: Mapping[str, float]
    misfit: float = math.nan
    strayed: tuple[str, ...] = ()
    too_few: bool = False
    coarse_fits: bool | None = None


@dataclass(frozen=True)
class Reference:
    """What other cases had, and how far a case may be from it.

    Args:
        others: Who they are, in words.
        cases: How many.
        columns: By name ``mean``, ``sd``, ``low`` and ``high``.
        check: Deviation from which on a case is to be looked at.
        failed: Deviation from which on it has failed.
        rate: Share of good cases that are to be looked at nevertheless; None where nothing is promised.
        fits: Their shapes could be fitted, so one that cannot has failed.
        coarse_fits: The same of their coarse points.
    """

    others: str
    cases: int
    columns: Mapping[str, Mapping[str, float]]
    check: float
    failed: float
    rate: float | None = None
    fits: bool = True
    coarse_fits: bool = False

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "others": self.others,
            "cases": self.cases,
            "rate": self.rate,
            "check": self.check,
            "failed": self.failed,
            "fits": self.fits,
            "coarse_fits": self.coarse_fits,
            "columns": {name: dict(numbers) for name, numbers in self.columns.items()},
        }

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Reference:
        """What `document` gave."""
        return cls(
            others=str(document["others"]),
            cases=int(document["cases"]),
            columns={
                str(name): {key: float(numbers[key]) for key in ("mean", "sd", "low", "high")}
                for name, numbers in document["columns"].items()
            },
            check=float(document["check"]),
            failed=float(document["failed"]),
            rate=None if document["rate"] is None else float(document["rate"]),
            fits=bool(document["fits"]),
            coarse_fits=bool(document["coarse_fits"]),
        )


@dataclass(frozen=True)
class Verdict:
    """What is said of a case.

    Args:
        verdict: ``ok``, ``check`` or ``failed``.
        reasons: A sentence each, the most important one first; empty where it is ok.
        not_judged: What could not be looked at.
        deviation: The largest deviation from other cases; None where there are none.
    """

    verdict: str
    reasons: tuple[str, ...]
    not_judged: tuple[str, ...] = ()
    deviation: float | None = None

    def document(self) -> dict[str, Any]:
        """As JSON."""
        judged = {"not_judged": list(self.not_judged)} if self.not_judged else {}
        return {"verdict": self.verdict, "reasons": list(self.reasons), **judged}


def deviations(values: np.ndarray, mean: np.ndarray, sd: np.ndarray, cases: int, names: Sequence[str]) -> np.ndarray:
    """How far numbers lie beyond those of other cases.

    For normal numbers each is the t statistic of a prediction interval: ``(x - mean) / (sd sqrt(1 + 1/n))``.

    Args:
        values: (..., S), NaN where there is none.
        mean: (..., S) of the other cases.
        sd: (..., S) of the other cases; that of a column is at least its floor.
        cases: Number n of other cases.
        names: (S,) columns.

    Returns:
        (..., S) at least 0; 0 where a number is missing.
    """
    floors = np.array([column(name).floor for name in names])
    both = np.array([column(name).both for name in names], dtype=bool)
    found = (values - mean) / (np.fmax(sd, floors) * math.sqrt(1.0 + 1.0 / cases))
    return np.nan_to_num(np.maximum(np.where(both, np.abs(found), found), 0.0), nan=0.0)


def case_deviations(scores: CaseScores, reference: Reference) -> dict[str, float]:
    """The deviation of each number that both the case and the others have."""
    names = [name for name in reference.columns if name in scores.values]
    if not names:
        return {}
    rows = [reference.columns[name] for name in names]
    found = deviations(
        np.array([scores.values[name] for name in names]),
        np.array([row["mean"] for row in rows]),
        np.array([row["sd"] for row in rows]),
        reference.cases,
        names,
    )
    return dict(zip(names, found.tolist(), strict=True))


def judge(scores: CaseScores, reference: Reference | None, *, unit: str = "mm") -> Verdict:
    """The verdict on a case.

    A case has failed where its shape cannot be fitted although those of the others could, where its points deviate from
    the others by more than `Reference.failed`, and where the image deviates as much and its points are unusual too. An
    image that is unusual on its own is to be looked at: the points may be right.

    Args:
        scores: Of the case.
        reference: What others had; None where nobody knows.
        unit: Of lengths, ``mm`` or ``px``.
    """
    if reference is None:
        return _without_others(scores)
    found = case_deviations(scores, reference)
    points = max([value for name, value in found.items() if not column(name).image], default=0.0)
    image = max([value for name, value in found.items() if column(name).image], default=0.0)
    failures, warnings = _shape_reasons(scores, reference)
    alarms = sorted((name for name in found if found[name] >= reference.check), key=lambda name: -found[name])
    words = [
        sentence(
            name,
            scores.values[name],
            reference.columns[name]["low"],
            reference.columns[name]["high"],
            others=reference.others,
            unit=unit,
        )
        for name in _one_of_each(alarms)
    ]
    has_failed = bool(failures) or points >= reference.failed
    has_failed |= image >= reference.failed and (points >= reference.check or bool(warnings))
    reasons = (*failures, *warnings, *words)
    return Verdict(
        FAILED if has_failed else CHECK if reasons else OK, reasons, _not_judged(scores, reference), max(points, image)
    )


def distrusted(verdict: Verdict, useless: str | None) -> Verdict:
    """The verdict on a case of a model that has learnt nothing: failed, however much it looks like the others.

    Args:
        verdict: By the numbers of the case.
        useless: Why no case of the model can be trusted; None where it has learnt something.
    """
    return verdict if useless is None else replace(verdict, verdict=FAILED, reasons=(useless, *verdict.reasons))


def _one_of_each(alarms: Sequence[str]) -> list[str]:
    """The first of the alarms of each kind: one quantile of grey values says it."""
    first: dict[str, str] = {}
    for name in alarms:
        first.setdefault(name.partition(".")[0], name)
    return list(first.values())


def _shape_reasons(scores: CaseScores, reference: Reference) -> tuple[list[str], list[str]]:
    """Why the shape says that the case has failed, and why it says that somebody should look."""
    failures, warnings = [], []
    if scores.too_few and reference.fits:
        failures.append("so few landmarks were found that the training shapes cannot be fitted to them")
    if scores.misfit > LARGEST_MISFIT and reference.fits:
        failures.append(f"{100 * scores.misfit:.0f} % of the points do not fit the training shapes")
    if scores.coarse_fits is False and reference.coarse_fits:
        warnings.append("the training shapes could not be fitted to the points of the coarse stage")
    return failures, warnings


def _without_others(scores: CaseScores) -> Verdict:
    """Of a bundle that knows nothing of other cases: only what no case should have."""
    reasons = []
    if scores.misfit > LARGEST_MISFIT:
        reasons.append(f"{100 * scores.misfit:.0f} % of the points do not fit the training shapes")
    elif scores.values.get("border", 0.0) > 0:
        share = 100 * scores.values["border"]
        reasons.append(f"{share:.0f} % of the points lie at the border of the image or beyond")
    return Verdict(
        (FAILED if scores.misfit > LARGEST_MISFIT else CHECK) if reasons else OK,
        tuple(reasons),
        ("everything that is compared with other cases: the bundle has none of them",),
    )


def _not_judged(scores: CaseScores, reference: Reference) -> tuple[str, ...]:
    """What the case or the others have no number of, each once; what neither has is no matter for the bundle."""
    either = dict.fromkeys([*scores.values, *reference.columns])
    missing = [name for name in either if (name in scores.values) != (name in reference.columns)]
    return tuple(dict.fromkeys(column(name).what for name in missing))
