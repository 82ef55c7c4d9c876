"""Which labels are probably wrong, and in which way. Pure: no images, no torch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from auto_config.bundle_scripts.points.landmarks import UNKNOWN
from auto_config.review.cohort import Cohort, Finding, Reference
from auto_config.review.references import CLEARLY, by_network, by_place, by_shape, missing_by_shape
from auto_config.review.single_points import forgotten, point_findings
from auto_config.review.whole_cases import case_findings

FALSE_ALARMS = 2e-4
"""Share of correct labels that is named wrongly, as far as their distances are log-normal above the median."""
CASE_FALSE_ALARMS = 1e-3
_PASSES = 3
"""Cases that are wrong as a whole raise what passes for usual; without them more may be seen."""


def find_label_errors(cohort: Cohort, false_alarms: float = FALSE_ALARMS) -> list[Finding]:
    """Find labels that predictions, the other points and the other cases contradict.

    Cases with predictions are judged by them, the others by their points alone: by their place about the middle of
    the image for errors of whole cases, by the shape for single points. The points of cases that are wrong as a whole
    are not judged one by one.

    Args:
        cohort: the cases.
        false_alarms: share of the correct labels that may be named.

    Returns:
        The findings, the clearest first.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        whole: list[Finding] = []
        left = cohort
        for _ in range(_PASSES):
            found_now = _whole_cases(left, false_alarms)
            whole += found_now
            left = _without(left, [one.case for one in found_now])
            if not found_now:
                break
        shape = by_shape(left)
        network = by_network(left, shape, false_alarms)
        near = _either(_predicted_cases(left), network, shape)
        scores = _contradicted_twice(near.scores(left.labels), network.scores(left.labels) * network.limit, shape, left)
        found = list(whole)
        for row in range(len(cohort.cases)):
            found += point_findings(left, row, near, scores[row], places=shape.points[row], false_alarms=false_alarms)
        found += forgotten(left, missing_by_shape(left), network.trusted)
    return sorted(found, key=lambda one: -one.score)


def _whole_cases(cohort: Cohort, false_alarms: float) -> list[Finding]:
    """Cases that are wrong as a whole, beside all the others as they are."""
    shape = by_shape(cohort)
    network = by_network(cohort, shape, false_alarms)
    predicted = _predicted_cases(cohort)
    near = _either(predicted, network, shape)
    trusted = np.where(near.trusted, near.scores(cohort.labels), np.nan)
    return case_findings(
        cohort, _either(predicted, network, by_place(cohort, false_alarms)), trusted, CASE_FALSE_ALARMS
    )


def _without(cohort: Cohort, rows: Sequence[int]) -> Cohort:
    """The cohort in which nothing is known of the labels of some cases, so that they say nothing about the others."""
    labels, status = cohort.labels.copy(), cohort.status.copy()
    labels[list(rows)], status[list(rows)] = np.nan, UNKNOWN
    return cohort.with_labels(labels, status)


def _predicted_cases(cohort: Cohort) -> np.ndarray:
    """(N,) whether anything was predicted for a case."""
    return np.asarray(np.isfinite(cohort.predicted).all(-1).any(1))


def _contradicted_twice(scores: np.ndarray, by_network: np.ndarray, shape: Reference, cohort: Cohort) -> np.ndarray:
    """Scores (N, L), with those by the other points where these contradict a label and no network confirms it.

    Args:
        scores: of the labels by the networks, or by the other points where there is no network.
        by_network: distances from the predictions as multiples of the usual one, NaN where there is none.
        shape: what `by_shape` gives.
        cohort: the cases.
    """
    unconfirmed = by_network > CLEARLY
    return np.where(unconfirmed, np.fmax(scores, shape.scores(cohort.labels)), scores)


def label_scores(cohort: Cohort, false_alarms: float = FALSE_ALARMS) -> tuple[np.ndarray, Reference]:
    """The score of every label, (N, L), and where each is expected; above 1 one is contradicted."""
    with np.errstate(invalid="ignore", divide="ignore"):
        shape = by_shape(cohort)
        near = _either(_predicted_cases(cohort), by_network(cohort, shape, false_alarms), shape)
        return near.scores(cohort.labels), near


def most_contradicted(cohort: Cohort, named: Sequence[Finding], false_alarms: float, count: int) -> list[Finding]:
    """The labels with the highest scores in cases of which nothing is named, each below the threshold.

    Args:
        cohort: the cases.
        named: what `find_label_errors` found.
        false_alarms: as there.
        count: how many at most.
    """
    left = _without(cohort, [one.case for one in named if not one.landmarks])
    scores, reference = label_scores(left, false_alarms)
    scores = np.where(reference.trusted, scores, np.nan)
    scores[[one.case for one in named]] = np.nan
    found = []
    for row, landmark in np.argwhere(np.isfinite(scores) & (scores <= 1)):
        place = reference.points[row, landmark]
        apart = float(np.linalg.norm(cohort.labels[row, landmark] - place))
        score, at = float(scores[row, landmark]), int(landmark)
        found.append(Finding(int(row), (at,), "shift", score, apart, place, at, cohort.basis[row]))
    return sorted(found, key=lambda one: -one.score)[:count]


def _either(first_rows: np.ndarray, first: Reference, second: Reference) -> Reference:
    """One reference for some cases, another one for the others."""
    rows = first_rows
    return Reference(
        np.where(rows[:, None, None], first.points, second.points),
        np.where(rows[:, None], first.scale, second.scale),
        np.where(rows[:, None], first.limit, second.limit),
        np.where(rows[:, None], first.trusted, second.trusted),
    )
