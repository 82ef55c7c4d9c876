"""From predictions of unseen cases to the ``verdict`` of ``models/calibration.json``."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from auto_config.bundle_scripts.inference.calibration import Calibration
from auto_config.bundle_scripts.inference.verdict.columns import column
from auto_config.bundle_scripts.inference.verdict.image import ImageNumbers
from auto_config.bundle_scripts.inference.verdict.judging import (
    LARGEST_MISFIT,
    CaseScores,
    Reference,
    case_deviations,
    judge,
)
from auto_config.bundle_scripts.inference.verdict.scores import Ranges, case_scores
from auto_config.bundle_scripts.inference.verdict.shape import TrainingShape
from auto_config.bundle_scripts.inference.verdict.step import called_present
from auto_config.bundle_scripts.points.instances import Instances
from auto_config.bundle_scripts.points.landmarks import PRESENT
from auto_config.calibration.document import peaks_of
from auto_config.calibration.instances import with_fixed_names
from auto_config.calibration.out_of_fold import OutOfFold
from auto_config.calibration.verdict.limits import (
    FEWEST,
    failed_limit,
    good_cases,
    left_out_deviations,
    reference_of,
    usable,
)

UNSEEN = "unseen cases"
MOSTLY = 0.9
"""Share of the good cases whose shape must fit, for one that does not to have failed."""


@dataclass(frozen=True)
class Spoiled:
    """Predictions of cases that were spoiled on purpose.

    Args:
        kinds: (N,) what was done to each, in a word or two.
        found: The predictions; the truth is where the landmarks went, absent for an image that has none any more.
    """

    kinds: tuple[str, ...]
    found: OutOfFold


def verdict_section(
    found: OutOfFold,
    presence: Mapping[str, Any] | None,
    shapes: np.ndarray,
    *,
    instances: Instances,
    offsets: np.ndarray | None = None,
    ranges: Ranges | None = None,
    spoiled: Spoiled | None = None,
) -> dict[str, Any] | None:
    """What unseen cases say of the verdict on the next one.

    Args:
        found: Predictions of unseen cases, with the numbers of their images.
        presence: Section of the calibration.
        shapes: (N, L, D) world mm of all training cases, NaN where a landmark is not present.
        instances: Which rows belong to which landmark.
        offsets: (L, D) mean mm from the middle of an image to each landmark.
        ranges: Of spacing and extent in training.
        spoiled: Cases that place the limit of failures.

    Returns:
        JSON-able, see `judging.Reference`; with ``pose``, ``promise`` and ``spoilings``. None where nothing is known of
        the images, or too few cases went well.
    """
    if not found.images.size:
        return None
    shape = TrainingShape.of(with_fixed_names(shapes, instances), offsets)
    known = None if presence is None else dict(presence)
    numbers = _Judge(Calibration(instances.names, 0, (), (), known, None, {}), instances, ranges)
    scores = numbers.of_unseen(found, shapes, offsets)
    errors = case_errors(found, instances)
    good = good_cases(errors)
    if good.sum() < FEWEST:
        return None
    kept = [one for one, went_well in zip(scores, good, strict=True) if went_well]
    values, names = table(kept)
    reference, exact = reference_of(
        values,
        names,
        others=UNSEEN,
        fits=_mostly([one.misfit <= LARGEST_MISFIT for one in kept]),
        coarse_fits=_mostly([one.coarse_fits is True for one in kept]),
    )
    wrong = [one for one, went_well in zip(scores, good, strict=True) if not went_well]
    on_purpose, kinds = [], []
    if spoiled is not None:
        on_purpose = numbers.scores(spoiled.found, range(len(spoiled.kinds)), shape)
        limit = float(np.nanmax(errors[good]))
        harmed = harmful(case_errors(spoiled.found, instances), limit)
        kinds = [f"{kind}{'' if bad else ', harmless'}" for kind, bad in zip(spoiled.kinds, harmed, strict=True)]
        wrong += [one for one, bad in zip(on_purpose, harmed, strict=True) if bad]
    reference = replace(
        reference,
        failed=failed_limit(
            reference.check,
            _points_only(values, names) if exact else np.zeros(0),
            np.array([_largest(one, reference) for one in wrong]),
        ),
    )
    return {
        **reference.document(),
        "promise": promise(len(kept), exact, reference.rate or 0.0),
        "pose": shape.pose_document(),
        "went_wrong": int((~good).sum()),
        "spoilings": _counted(kinds, [judge(one, reference).verdict for one in on_purpose]),
    }


def case_errors(found: OutOfFold, instances: Instances) -> np.ndarray:
    """(N,) mean error in mm over the present landmarks of which a case has one; NaN where it has none."""
    single = ~np.array(instances.many)[list(instances.channels)]
    errors = np.linalg.norm(found.points - found.truth, axis=-1)
    errors = np.where((found.status == PRESENT) & single, errors, np.nan)
    known = np.isfinite(errors)
    total = np.where(known, errors, 0.0).sum(axis=1)
    return np.where(known.any(axis=1), total / np.maximum(known.sum(axis=1), 1), np.nan)


def harmful(errors: np.ndarray, largest_good: float) -> np.ndarray:
    """(N,) bool: spoiled cases whose points are wrong: those without landmarks, or with errors above all good ones."""
    return np.asarray(np.nan_to_num(errors, nan=math.inf) > largest_good)


def promise(cases: int, exact: bool, rate: float) -> str:
    """What the rate of false alarms rests on, a sentence."""
    if exact:
        return (
            f"of good cases like the {cases} unseen ones, {100 * rate:g} % are called check or failed nevertheless "
            "(conformal: whatever the distribution)"
        )
    return (
        f"of good cases like the {cases} unseen ones, {100 * rate:g} % are called check or failed nevertheless, if "
        f"their numbers are normally distributed; without that, so few cases promise no less than 1 in {cases + 1}"
    )


def table(scores: Sequence[CaseScores]) -> tuple[np.ndarray, list[str]]:
    """Numbers (N, S) of cases, NaN where a case has none, and their names (S,)."""
    names = list(dict.fromkeys(name for one in scores for name in one.values))
    rows = [[one.values.get(name, math.nan) for name in names] for one in scores]
    return np.array(rows, dtype=np.float64).reshape(len(scores), len(names)), names


@dataclass(frozen=True)
class _Judge:
    """What turns predictions into numbers, as it does after a prediction.

    Args:
        calibration: Knows of presence alone.
        instances: Which rows belong to which landmark.
        ranges: Of spacing and extent in training.
    """

    calibration: Calibration
    instances: Instances
    ranges: Ranges | None

    def scores(self, found: OutOfFold, numbers: Sequence[int], shape: TrainingShape) -> list[CaseScores]:
        """The numbers of some cases beside a shape."""
        dims, extents = found.points.shape[-1], found.extents
        return [
            case_scores(
                peaks,
                called_present(peaks, self.calibration, self.instances, extents[i]),
                ImageNumbers.unpack(found.images[i], dims),
                instances=self.instances,
                shape=shape if shape.known.any() else None,
                ranges=self.ranges,
            )
            for i, peaks in ((i, peaks_of(found, i)) for i in numbers)
        ]

    def of_unseen(self, found: OutOfFold, shapes: np.ndarray, offsets: np.ndarray | None) -> list[CaseScores]:
        """The numbers of unseen cases, those of a fold beside the shape of the cases of the other folds."""
        scores: dict[int, CaseScores] = {}
        folds = np.array(found.folds or [-1] * len(found.cases))
        for fold in sorted(set(folds.tolist())):
            numbers = np.flatnonzero(folds == fold).tolist()
            rest = _without(shapes, found.truth[numbers]) if found.folds else shapes
            own = TrainingShape.of(with_fixed_names(rest, self.instances), offsets)
            scores |= zip(numbers, self.scores(found, numbers, own), strict=True)
        return [scores[i] for i in range(len(found.cases))]


def _without(shapes: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Training shapes (N, L, D) but for those of some cases (M, R, D), whose points are kept to eight digits."""
    own = truth[:, : shapes.shape[1]]
    theirs = [any(np.allclose(one, shape, rtol=1e-6, equal_nan=True) for one in own) for shape in shapes]
    return shapes[~np.array(theirs, dtype=bool)] if len(shapes) else shapes


def _largest(scores: CaseScores, reference: Reference) -> float:
    """The largest deviation of the points of a case."""
    found = case_deviations(scores, reference)
    return max([value for name, value in found.items() if not column(name).image], default=0.0)


def _points_only(values: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """(N,) largest deviation of the points of each good case from the others."""
    kept, columns = usable(values, names)
    of_points = np.array([not column(name).image for name in columns], dtype=bool)
    found = left_out_deviations(kept, columns)[:, of_points]
    return np.asarray(found.max(axis=1, initial=0.0))


def _mostly(true: Sequence[bool]) -> bool:
    return sum(true) >= MOSTLY * len(true)


def _counted(kinds: Sequence[str], verdicts: Sequence[str]) -> dict[str, dict[str, int]]:
    """How many cases of each kind got each verdict."""
    return {
        kind: dict(Counter(said for of, said in zip(kinds, verdicts, strict=True) if of == kind))
        for kind in dict.fromkeys(kinds)
    }
