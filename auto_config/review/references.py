"""Where landmarks are expected: by the networks, by the other points of the case, and by their place in the image."""

from __future__ import annotations

import numpy as np

from auto_config.datasets.checks.shape_outliers import (
    MIN_CASES,
    MIN_LANDMARKS,
    align_all,
    median_shape,
    neighbour_offsets,
    predict_points,
)
from auto_config.review.cohort import Cohort, Reference, usual_limit, usual_scale

_UNTRUSTED = 1.5
"""A predicted point this many times beyond the limit of the shape is the network's mistake."""


def by_shape(cohort: Cohort, false_alarms: float) -> Reference:
    """Each label from the other points of its case and the shapes of the other cases; see `shape_outliers`."""
    points, scale = np.full_like(cohort.labels, np.nan), np.full(cohort.status.shape, np.nan)
    usable = usable_shapes(cohort.labels)
    limit = np.full(len(cohort.cases), np.inf)
    if len(usable) >= MIN_CASES:
        offsets, _ = neighbour_offsets(cohort.labels[usable])
        points[usable] = cohort.labels[usable] - offsets
        distances = np.linalg.norm(offsets, axis=-1)
        usual = usual_scale(distances)
        scale[usable] = usual
        limit[:] = usual_limit(distances / usual, false_alarms)
    return Reference(points, scale, limit, np.isfinite(scale))


def missing_by_shape(cohort: Cohort) -> np.ndarray:
    """(N, L, D) world mm where the other points of a case put each landmark, also those that it lacks."""
    out = np.full_like(cohort.labels, np.nan)
    usable = usable_shapes(cohort.labels)
    if len(usable) >= MIN_CASES:
        mean = median_shape(align_all(cohort.labels[usable]))
        for row in usable:
            out[row] = predict_missing(mean, cohort.labels[row])
    return out


def predict_missing(mean: np.ndarray, shape: np.ndarray) -> np.ndarray:
    """A mean shape (L, D) laid on a shape that lacks some points, by the same weights as `predict_points`."""
    known = np.isfinite(shape).all(-1) & np.isfinite(mean).all(-1)
    out = np.full_like(shape, np.nan)
    for landmark in np.flatnonzero(~known & np.isfinite(mean).all(-1)):
        # A stand-in point gets no weight in its own prediction.
        filled = shape.copy()
        filled[landmark] = np.nanmean(shape, axis=0)
        out[landmark] = predict_points(mean, filled)[landmark]
    return out


def by_network(cohort: Cohort, false_alarms: float) -> Reference:
    """The predictions; each kind of evidence is compared with the usual distance of its own kind.

    A point whose prediction lies where the other predicted points do not allow it is the network's mistake, as long as
    the label is where the other labels allow it: it is not trusted.
    """
    distances = np.linalg.norm(cohort.labels - cohort.predicted, axis=-1)
    scale, limit = np.full(distances.shape, np.nan), np.full(len(distances), np.inf)
    for basis in ("unseen", "seen"):
        rows = np.array([one == basis for one in cohort.basis])
        if np.isfinite(distances[rows]).any():
            usual = usual_scale(distances[rows])
            scale[rows] = usual
            limit[rows] = usual_limit(distances[rows] / usual, false_alarms, least=2.0)
    return Reference(cohort.predicted, scale, limit, _trusted(cohort, false_alarms))


def _trusted(cohort: Cohort, false_alarms: float) -> np.ndarray:
    """(N, L) whether a predicted point fits the other predicted points, or the label does not fit its own either."""
    trusted = np.isfinite(cohort.predicted).all(-1)
    labels = usable_shapes(cohort.labels)
    if len(labels) < MIN_CASES:
        return np.asarray(trusted)
    own = by_shape(cohort, false_alarms)
    label_score = own.scores(cohort.labels)
    mean = median_shape(align_all(cohort.labels[labels]))
    usual = np.nanmax(own.scale, axis=0) * own.limit[0]
    for row in usable_shapes(cohort.predicted):
        off = np.linalg.norm(cohort.predicted[row] - predict_points(mean, cohort.predicted[row]), axis=-1)
        wrong = (off > _UNTRUSTED * usual) & ~(label_score[row] > 1)
        trusted[row] &= ~wrong
    return np.asarray(trusted)


def by_place(cohort: Cohort, false_alarms: float) -> Reference:
    """The median place of each landmark about the middle of the image, over the other cases."""
    relative = cohort.labels - cohort.centers[:, None]
    points = np.full_like(relative, np.nan)
    for row in range(len(relative)):
        others = np.delete(relative, row, axis=0)
        known = np.isfinite(others).all(-1).sum(0) >= MIN_CASES - 1
        if known.any():
            points[row, known] = np.nanmedian(others[:, known], axis=0) + cohort.centers[row]
    distances = np.linalg.norm(cohort.labels - points, axis=-1)
    usual = usual_scale(distances)
    limit = usual_limit(distances / usual, false_alarms, least=2.0)
    scale = np.broadcast_to(usual, distances.shape).copy()
    return Reference(points, scale, np.full(len(distances), limit), np.isfinite(points).all(-1))


def usable_shapes(points: np.ndarray) -> np.ndarray:
    """Cases with points enough to judge one by the others."""
    return np.flatnonzero(np.isfinite(points).all(-1).sum(1) >= MIN_LANDMARKS)
