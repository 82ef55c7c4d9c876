"""Labels that are wrong in a case whose other points are right. Pure functions."""

from __future__ import annotations

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.stats import norm

from auto_config.bundle_scripts.grid.grids import world_to_voxel
from auto_config.bundle_scripts.points.landmarks import ABSENT, PRESENT, UNKNOWN
from auto_config.review.cohort import Cohort, Finding, Reference

_TWICE = 1e-3
"""Two points of a case this near, over their usual distance, are one point."""
_FITS_BETTER = 0.25
"""Points that change places lie within the limits then, or this share of their distance from before."""
_USUALLY_PRESENT = 0.9
_FEWEST_CASES = 6
_CONFIDENT = 0.02
"""A forgotten point is predicted with more confidence than this share of the points that are there."""


def point_findings(
    cohort: Cohort, row: int, reference: Reference, scores: np.ndarray, *, places: np.ndarray, false_alarms: float
) -> list[Finding]:
    """What is wrong with single points of a case: duplicates, exchanged points, points in a wrong order, shifts.

    Args:
        cohort: the cases.
        row: index of the case.
        reference: where its landmarks are expected.
        scores: (L,) of the labels of this case, above 1 where one is contradicted.
        places: (L, D) world mm where the other points of the case put each landmark.
        false_alarms: share of the correct labels that may be named.
    """
    found: list[Finding] = []
    done: set[int] = set()
    expected, labels = reference.points[row], cohort.labels[row]

    def add(kind: str, landmarks: tuple[int, ...], detail: str = "") -> None:
        shown = max(landmarks, key=lambda one: scores[one] if np.isfinite(scores[one]) else -1.0)
        score = max(float(np.nanmax(scores[list(landmarks)], initial=0.0)), 1.01)
        distance = float(np.linalg.norm(labels[shown] - expected[shown]))
        found.append(Finding(row, landmarks, kind, score, distance, expected[shown], shown, cohort.basis[row], detail))
        done.update(landmarks)

    for first, second in duplicates(cohort.labels, row):
        worse, other = (first, second) if not scores[first] < scores[second] else (second, first)
        add("duplicate", (worse,), f"it is also the point of {cohort.names[other]}")
        done.add(other)
    usual, limit = reference.scale[row], reference.limit[row]
    for cycle in exchanged(labels, expected, usual, limit, scores, places=places, false_alarms=false_alarms):
        if not done & set(cycle):
            add(_kind_of(cycle, cohort.pairs), cycle)
    for landmark in np.flatnonzero(np.isfinite(scores) & (scores > 1)):
        if int(landmark) not in done and reference.trusted[row, landmark]:
            add("shift", (int(landmark),))
    return found


def _kind_of(cycle: tuple[int, ...], pairs: tuple[tuple[int, int], ...]) -> str:
    if len(cycle) > 2:
        return "order"
    return "left_right" if tuple(sorted(cycle)) in {tuple(sorted(pair)) for pair in pairs} else "swap"


def duplicates(labels: np.ndarray, row: int) -> list[tuple[int, int]]:
    """Pairs of landmarks that are one point in a case, and two in the others."""
    apart = np.linalg.norm(labels[row][:, None] - labels[row][None], axis=-1)
    found = []
    others = np.delete(labels, row, axis=0)
    near = np.isfinite(apart) & (apart <= _TWICE * _extent(labels[row]))
    for first, second in np.argwhere(np.triu(near, 1)):
        usual = np.linalg.norm(others[:, first] - others[:, second], axis=-1)
        usual = usual[np.isfinite(usual)]
        if usual.size and apart[first, second] <= _TWICE * np.median(usual):
            found.append((int(first), int(second)))
    return found


def _extent(points: np.ndarray) -> float:
    known = points[np.isfinite(points).all(-1)]
    return float(np.linalg.norm(np.ptp(known, axis=0))) if len(known) else 0.0


def exchanged(
    labels: np.ndarray,
    expected: np.ndarray,
    scale: np.ndarray,
    limit: np.ndarray,
    scores: np.ndarray,
    *,
    places: np.ndarray,
    false_alarms: float,
) -> list[tuple[int, ...]]:
    """Landmarks that fit when they change places: cycles of two or more indices.

    Two kinds of evidence. Contradicted points are assigned anew to the places of contradicted landmarks. And two near
    neighbours, neither of them far enough to be contradicted, are exchanged where the likelihood says so: with
    isotropic normal errors of the standard deviations ``s`` the difference of the squared distances (labels as they
    are, minus exchanged) is normal about ``-2 q`` with the variance ``8 q``, ``q`` the squared distance of the two
    places over ``s**2``. Networks exchange near neighbours themselves, so the other points of the case must not speak
    against it.

    Args:
        labels: (L, D) of a case, NaN where not present.
        expected: (L, D), NaN where unknown.
        scale: (L,) usual distance of a correct label.
        limit: (L,) multiple of it from which a label is contradicted.
        scores: (L,) above 1 where a label is contradicted.
        places: (L, D) where the other points of the case put each landmark, NaN where unknown.
        false_alarms: share of the correct pairs that may be named.
    """
    known = np.isfinite(labels).all(-1) & np.isfinite(expected).all(-1) & np.isfinite(scores)
    cycles = _reassigned(labels, expected, scale * limit, np.flatnonzero(known & (scores > 1)))
    used = {landmark for cycle in cycles for landmark in cycle}
    free = [int(landmark) for landmark in np.flatnonzero(known) if int(landmark) not in used]
    # The median length of a normal vector is 1.54 (3D) or 1.18 (2D) standard deviations.
    deviation = scale / (1.54 if labels.shape[1] == 3 else 1.18)
    candidates, least = [], norm.isf(false_alarms)
    for place, first in enumerate(free):
        for second in free[place + 1 :]:
            value = _exchange_score(labels, expected, deviation, first, second)
            if value > least and not _in_place(labels, places, first, second):
                candidates.append((value, first, second))
    for _, first, second in sorted(candidates, reverse=True):
        if first not in used and second not in used:
            cycles.append((first, second))
            used |= {first, second}
    return cycles


def _in_place(labels: np.ndarray, places: np.ndarray, first: int, second: int) -> bool:
    """Whether two points lie nearer to their own places than to each other's."""
    now = np.linalg.norm(labels[[first, second]] - places[[first, second]], axis=-1)
    then = np.linalg.norm(labels[[second, first]] - places[[first, second]], axis=-1)
    return bool((now**2).sum() < (then**2).sum())


def _exchange_score(labels: np.ndarray, expected: np.ndarray, deviation: np.ndarray, first: int, second: int) -> float:
    """Standard deviations above what a correct pair gives; minus infinity where exchanged points do not fit better."""
    pair, turned = [first, second], [second, first]
    variance = deviation[pair] ** 2
    now = float((((labels[pair] - expected[pair]) ** 2).sum(-1) / variance).sum())
    then = float((((labels[turned] - expected[pair]) ** 2).sum(-1) / variance).sum())
    q = float(((expected[first] - expected[second]) ** 2).sum() / np.sqrt(variance.prod()))
    # Where they are exchanged each is as near to the other's place as a correct point is.
    if now <= 2 * then or q <= 0 or then > 30:
        return -np.inf
    return (now - then + 2 * q) / np.sqrt(8 * q)


def _reassigned(
    labels: np.ndarray, expected: np.ndarray, limit: np.ndarray, wrong: np.ndarray
) -> list[tuple[int, ...]]:
    """Cycles among contradicted landmarks whose points fit each other's places."""
    if len(wrong) < 2:
        return []
    # cost[i, j]: the point of j at the place of i.
    apart = np.linalg.norm(expected[wrong][:, None] - labels[wrong][None], axis=-1) / limit[wrong][:, None]
    order = linear_sum_assignment(np.minimum(apart, 10.0))[1]
    cycles, done = [], set()
    for start in range(len(wrong)):
        cycle = [start]
        while (following := int(order[cycle[-1]])) != start and following not in done and len(cycle) <= len(wrong):
            cycle.append(following)
        done.update(cycle)
        fits = [apart[place, order[place]] <= max(1.0, _FITS_BETTER * apart[place, place]) for place in cycle]
        if len(cycle) > 1 and all(fits):
            cycles.append(tuple(sorted(int(wrong[place]) for place in cycle)))
    return cycles


def forgotten(cohort: Cohort, places: np.ndarray, trusted: np.ndarray) -> list[Finding]:
    """Landmarks called absent that a network finds, or that nearly all other cases have, inside of the image.

    Args:
        cohort: the cases.
        places: (N, L, D) world mm where the other points of each case put the landmarks that it lacks.
        trusted: (N, L) False where a prediction is implausible.
    """
    found = []
    present = cohort.status == PRESENT
    for row, landmark in np.argwhere(cohort.status == ABSENT):
        others = np.delete(np.arange(len(cohort.cases)), row)
        predicted, confidence = cohort.predicted[row, landmark], cohort.confidence[row, landmark]
        if np.isfinite(predicted).all() and np.isfinite(confidence):
            there = cohort.confidence[others, landmark][present[others, landmark]]
            there = there[np.isfinite(there)]
            sure = there.size >= 3 and confidence >= np.quantile(there, _CONFIDENT)
            near = _near(predicted, places[row, landmark], cohort.labels[row])
            place = predicted
            sure = sure and trusted[row, landmark] and near
        else:
            known = others[cohort.status[others, landmark] != UNKNOWN]
            share = present[known, landmark].mean() if len(known) >= _FEWEST_CASES else 0.0
            place = places[row, landmark]
            sure = share >= _USUALLY_PRESENT and np.isfinite(place).all()
        if sure and _inside(cohort, row, place):
            basis = cohort.basis[row]
            found.append(Finding(int(row), (int(landmark),), "forgotten", 1.5, np.nan, place, int(landmark), basis))
    return found


def _near(predicted: np.ndarray, place: np.ndarray, labels: np.ndarray) -> bool:
    """Whether a prediction lies where the other points put it, within a tenth of their extent, if they say so."""
    apart = float(np.linalg.norm(predicted - place))
    return not np.isfinite(apart) or apart < 0.1 * _extent(labels)


def _inside(cohort: Cohort, row: int, place: np.ndarray) -> bool:
    """Whether a place lies in the image, two voxels from its border; True where the image is not known."""
    affine, shape = cohort.affines[row], cohort.shapes[row]
    if affine is None or shape is None:
        return True
    voxel = world_to_voxel(affine, place[None])[0]
    return bool(((voxel >= 2) & (voxel <= np.array(shape) - 3)).all())
