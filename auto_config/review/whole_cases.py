"""Cases of which all points are wrong in the same way. Pure functions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from auto_config.bundle_scripts.grid.grids import apply_affine, world_to_voxel
from auto_config.bundle_scripts.points.procrustes import similarity
from auto_config.datasets.checks.shape_outliers import MIN_CASES, MIN_LANDMARKS, align_all, median_shape
from auto_config.review.cohort import Cohort, Finding, Reference, usual_limit
from auto_config.review.hypotheses import Repaired, hypotheses
from auto_config.review.references import usable_shapes

_LARGE_SHARE = 1 / 3
"""From this share of contradicted points on the case as a whole is looked at."""
_LEAST = 2.0
"""A case whose points lie less than this many times as far off as usual is not wrong as a whole."""
_FITS = 1.5
"""A repaired case fits up to this misfit: 1 is what nearly all correct cases stay below, not each one."""
_MUCH_BETTER = 0.5
"""A repair must bring the misfit below this share of what it was."""
_NEARLY_THE_SAME = 1e-3
"""Points of two cases this near, over the size of the shape, were copied."""
_FEWEST_LARGE = 4


@dataclass(frozen=True)
class Misfit:
    """How badly points (L, D) of a case fit, each number a multiple of what passes for usual.

    Args:
        place: median distance from where they are expected.
        shape: median distance from the mean shape, laid on them.
        size: logarithm of their size over that of the mean shape.
        outside: number of points outside of the image, 0 or beyond 1.
    """

    place: float
    shape: float
    size: float
    outside: float

    @property
    def worst(self) -> float:
        """The largest of those that are known."""
        return float(np.nanmax([self.place, self.shape, self.size, self.outside, 0.0]))


class Ruler:
    """Measures the misfit of points of a case of a cohort."""

    def __init__(self, cohort: Cohort, reference: Reference, false_alarms: float) -> None:
        """Measure what is usual.

        Args:
            cohort: the cases.
            reference: where their landmarks are expected.
            false_alarms: share of correct cases that one of the numbers may call wrong.
        """
        self._cohort, self._reference = cohort, reference
        self._mean = _mean_shape(cohort)
        self._limits = np.ones((len(cohort.cases), 3))
        raw = np.array([self._raw(row, cohort.labels[row]) for row in range(len(cohort.cases))])
        for basis in dict.fromkeys(cohort.basis):
            rows = np.array([one == basis for one in cohort.basis])
            self._limits[rows, 0] = usual_limit(raw[rows, 0], false_alarms, least=_LEAST)
        self._limits[:, 1] = usual_limit(raw[:, 1], false_alarms)
        if np.isfinite(raw[:, 1]).any():
            self._limits[:, 1] = np.maximum(self._limits[:, 1], 2.5 * np.nanmedian(raw[:, 1]))
        # Children and adults, mice and rats: at least a factor of two passes.
        middle = np.nanmedian(raw[:, 2]) if np.isfinite(raw[:, 2]).any() else 0.0
        self._middle = float(middle)
        self._limits[:, 2] = usual_limit(np.abs(raw[:, 2] - middle), false_alarms, least=np.log(2.0))
        self._usually_outside = float(np.nanmedian(raw[:, 3]))

    def _raw(self, row: int, points: np.ndarray) -> np.ndarray:
        """Place (multiples of the scale), shape (mm over size), log size, share outside."""
        reference, cohort = self._reference, self._cohort
        apart = np.linalg.norm(points - reference.points[row], axis=-1) / reference.scale[row]
        apart = apart[np.isfinite(apart) & (reference.trusted[row] | ~reference.trusted[row].any())]
        place = float(np.median(apart)) if apart.size else np.nan
        shape, size = _shape_misfit(self._mean, points)
        outside = 0.0
        affine, voxels = cohort.affines[row], cohort.shapes[row]
        known = points[np.isfinite(points).all(-1)]
        if affine is not None and voxels is not None and len(known):
            places = world_to_voxel(affine, known)
            outside = float(np.mean(((places < -1) | (places > np.array(voxels))).any(-1)))
        return np.array([place, shape, size, outside])

    def misfit(self, row: int, points: np.ndarray) -> Misfit:
        """How badly points (L, D) fit as those of the case ``row``."""
        place, shape, size, outside = self._raw(row, points)
        limits = self._limits[row]
        too_many = outside > self._usually_outside + 0.1
        return Misfit(
            place / limits[0], shape / limits[1], abs(size - self._middle) / limits[2], 1.0 + outside if too_many else 0
        )

    def expected(self, row: int) -> np.ndarray:
        """(L, D) where the landmarks of a case are expected, world mm."""
        return np.asarray(self._reference.points[row])


def _mean_shape(cohort: Cohort) -> np.ndarray:
    usable = usable_shapes(cohort.labels)
    if len(usable) < MIN_CASES:
        return np.full(cohort.labels.shape[1:], np.nan)
    return median_shape(align_all(cohort.labels[usable]))


def _shape_misfit(mean: np.ndarray, points: np.ndarray) -> tuple[float, float]:
    """Median distance after the best similarity without reflection over the size, and the logarithm of the size."""
    both = np.isfinite(points).all(-1) & np.isfinite(mean).all(-1)
    if both.sum() < MIN_LANDMARKS:
        return np.nan, np.nan
    own, target = points[both], mean[both]
    weight = np.ones(len(own))
    # Points that fit badly count less (Geman and McClure 1985): one wrong point is no wrong case.
    for _ in range(5):
        matrix = similarity(own, target, weight)
        apart = np.linalg.norm(apply_affine(matrix, own) - target, axis=-1)
        weight = 1.0 / (1.0 + (apart / max(2 * float(np.median(apart)), 1e-9)) ** 2) ** 2
    size = np.sqrt(((target - target.mean(0)) ** 2).sum(-1).mean())
    spread = np.sqrt(((own - own.mean(0)) ** 2).sum(-1).mean())
    return float(np.median(apart) / size), float(np.log(max(spread, 1e-12) / size))


def case_findings(cohort: Cohort, reference: Reference, by_label: np.ndarray, false_alarms: float) -> list[Finding]:
    """Cases that are wrong as a whole.

    Args:
        cohort: the cases.
        reference: where their landmarks are expected in the world.
        by_label: (N, L) score of each label, above 1 where it is contradicted.
        false_alarms: share of the correct cases that may be named.
    """
    ruler = Ruler(cohort, reference, false_alarms)
    copies = copied_cases(cohort.labels)
    misfits = [ruler.misfit(row, points) for row, points in enumerate(cohort.labels)]
    worst = np.array([one.worst for one in misfits])
    found = []
    for row in range(len(cohort.cases)):
        wrong = np.isfinite(by_label[row]) & (by_label[row] > 1)
        counted = max(int(np.isfinite(cohort.labels[row]).all(-1).sum()), 1)
        many = wrong.sum() >= _FEWEST_LARGE and wrong.sum() > _LARGE_SHARE * counted
        twins = [twin for twin in copies[row] if worst[twin] <= worst[row]]
        if twins and (worst[row] > 1 or many or _less_at_home(misfits, row, twins[0])):
            detail = f"they are those of case {cohort.cases[twins[0]]}"
            what = Repaired("wrong_scan", detail, cohort.labels[row])
            found.append(_finding(cohort, ruler, row, what, max(worst[row], 1.01)))
        elif worst[row] > 1 or many:
            named = _named(cohort, ruler, row, worst[row])
            if named is not None:
                score = max(worst[row], float(np.nanmax(by_label[row], initial=0.0)), 1.01)
                found.append(_finding(cohort, ruler, row, named, score))
    return found


def _less_at_home(misfits: list[Misfit], row: int, twin: int) -> bool:
    """Whether copied points fit the place of one case clearly worse than that of the other."""
    return misfits[row].place > max(misfits[twin].place, 1e-9) * 1.2


def _named(cohort: Cohort, ruler: Ruler, row: int, misfit: float) -> Repaired | None:
    """What explains the points of a case, or that nothing does; None where they may be right after all."""
    labels, expected = cohort.labels[row], ruler.expected(row)
    tried = list(hypotheses(labels, expected, cohort.affines[row], cohort.shapes[row], cohort.pairs))
    fits = [ruler.misfit(row, one.points).worst for one in tried]
    misfit = max(misfit, 1e-9)
    good = [place for place, fit in enumerate(fits) if fit <= max(_FITS, 0.1 * misfit) and fit < _MUCH_BETTER * misfit]
    if good:
        # Another order fits whatever an exchange of pairs or a mirror explains, and some noise besides.
        return tried[min(good, key=lambda place: (tried[place].kind == "order", fits[place]))]
    other = _fits_prediction_of(cohort, row)
    if other is not None:
        detail = f"they fit the prediction of case {cohort.cases[other]}"
        return Repaired("wrong_scan", detail, labels)
    if misfit <= 1:
        return None
    own = ruler.misfit(row, labels)
    if own.shape > 1 or own.size > 1:
        return Repaired("order", "they do not form the shape of the other cases in this order", labels)
    return Repaired("wrong_scan", "the shape is right, but it does not fit this image", labels)


def _fits_prediction_of(cohort: Cohort, row: int) -> int | None:
    """Another case whose prediction the points fit at least four times better than that of their own."""
    apart = np.linalg.norm(cohort.labels[row] - cohort.predicted, axis=-1)
    known = np.isfinite(apart).sum(1) >= _FEWEST_LARGE
    if not known[row] or known.sum() < 2:
        return None
    middle = np.array([np.nanmedian(one) if ok else np.inf for one, ok in zip(apart, known, strict=True)])
    best = int(np.argmin(middle))
    return best if best != row and 4 * middle[best] < middle[row] else None


def copied_cases(labels: np.ndarray) -> list[list[int]]:
    """For each case the others that have the same points, (N,) lists."""
    out: list[list[int]] = [[] for _ in labels]
    for row, own in enumerate(labels):
        size = np.sqrt(np.nanmean(np.nansum((own - np.nanmean(own, axis=0)) ** 2, axis=-1))) if _enough(own) else 0.0
        if size <= 0:
            continue
        apart = np.linalg.norm(labels - own, axis=-1)
        for other in range(len(labels)):
            known = np.isfinite(apart[other])
            if other != row and known.sum() >= _FEWEST_LARGE and (apart[other][known] < _NEARLY_THE_SAME * size).all():
                out[row].append(other)
    return out


def _enough(points: np.ndarray) -> bool:
    return bool(np.isfinite(points).all(-1).sum() >= _FEWEST_LARGE)


def _finding(cohort: Cohort, ruler: Ruler, row: int, what: Repaired, score: float) -> Finding:
    expected = ruler.expected(row)
    apart = np.linalg.norm(cohort.labels[row] - expected, axis=-1)
    known = np.isfinite(apart)
    shown = int(np.nanargmax(apart)) if known.any() else 0
    distance = float(np.median(apart[known])) if known.any() else np.nan
    return Finding(row, (), what.kind, score, distance, expected[shown], shown, cohort.basis[row], what.detail)
