"""Which labels are probably wrong, and in which way. Pure: no images, no torch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from auto_config.review.cohort import Cohort, Finding, Reference
from auto_config.review.references import by_network, by_place, by_shape, missing_by_shape
from auto_config.review.single_points import forgotten, point_findings
from auto_config.review.whole_cases import case_findings

FALSE_ALARMS = 2e-4
"""Share of correct labels that is named wrongly, as far as their distances are log-normal above the median."""
CASE_FALSE_ALARMS = 1e-3


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
        shape = by_shape(cohort)
        network = by_network(cohort, shape, false_alarms)
        place = by_place(cohort, false_alarms)
        predicted = np.isfinite(cohort.predicted).all(-1).any(1)
        near = _either(predicted, network, shape)
        scores = near.scores(cohort.labels)
        trusted = np.where(near.trusted, scores, np.nan)
        whole = case_findings(cohort, _either(predicted, network, place), trusted, CASE_FALSE_ALARMS)
        done = {one.case for one in whole}
        # Whole cases that are wrong say nothing about the others.
        found = list(whole)
        for row in range(len(cohort.cases)):
            if row not in done:
                found += point_findings(cohort, row, near, scores[row], false_alarms)
        missing = forgotten(cohort, missing_by_shape(cohort), network.trusted)
        found += [one for one in missing if one.case not in done]
    return sorted(found, key=lambda one: -one.score)


def label_scores(cohort: Cohort, false_alarms: float = FALSE_ALARMS) -> tuple[np.ndarray, Reference]:
    """The score of every label, (N, L), and where each is expected; above 1 one is contradicted."""
    with np.errstate(invalid="ignore", divide="ignore"):
        shape = by_shape(cohort)
        predicted = np.isfinite(cohort.predicted).all(-1).any(1)
        near = _either(predicted, by_network(cohort, shape, false_alarms), shape)
        return near.scores(cohort.labels), near


def most_contradicted(cohort: Cohort, named: Sequence[Finding], false_alarms: float, count: int) -> list[Finding]:
    """The labels with the highest scores in cases of which nothing is named, each below the threshold.

    Args:
        cohort: the cases.
        named: what `find_label_errors` found.
        false_alarms: as there.
        count: how many at most.
    """
    scores, reference = label_scores(cohort, false_alarms)
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
