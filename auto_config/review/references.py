"""Where landmarks are expected: by the networks, by the other points of the case, and by their place in the image."""

from __future__ import annotations

import numpy as np

from auto_config.datasets.checks.shape_outliers import (
    MIN_CASES,
    MIN_LANDMARKS,
    align_all,
    distance_limits,
    median_shape,
    neighbour_offsets,
    predict_points,
    shape_size,
)
from auto_config.review.cohort import Cohort, Reference, usual_limit, usual_scale

CLEARLY = 2.0
"""Times the usual distance: a point this far from where it is expected is clearly elsewhere."""


def by_shape(cohort: Cohort) -> Reference:
    """Each label from the other points of its case and the shapes of the other cases; the limits of `inspect`."""
    points, scale = np.full_like(cohort.labels, np.nan), np.full(cohort.status.shape, np.nan)
    limit = np.full(cohort.status.shape, np.inf)
    usable = usable_shapes(cohort.labels)
    if len(usable) >= MIN_CASES:
        offsets, _ = neighbour_offsets(cohort.labels[usable])
        points[usable] = cohort.labels[usable] - offsets
        distances = np.linalg.norm(offsets, axis=-1)
        scale[usable] = usual_scale(distances)
        size = float(np.median([shape_size(shape) for shape in cohort.labels[usable]]))
        limit[usable] = distance_limits(distances, size) / scale[usable]
    return Reference(points, scale, limit, np.isfinite(points).all(-1))


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


def by_network(cohort: Cohort, shape: Reference, false_alarms: float) -> Reference:
    """The predictions; each kind of evidence is compared with the usual distance of its own kind.

    Networks miss a landmark more often than people do. So a prediction is not trusted where the other points of the
    case put the landmark nearer to the label than to the prediction, and clearly away from the latter.

    Args:
        cohort: the cases.
        shape: what `by_shape` gives for them.
        false_alarms: share of the correct labels that may be contradicted.
    """
    distances = np.linalg.norm(cohort.labels - cohort.predicted, axis=-1)
    scale, limit = np.full(distances.shape, np.nan), np.full(distances.shape, np.inf)
    for basis in ("unseen", "seen"):
        rows = np.array([one == basis for one in cohort.basis])
        if np.isfinite(distances[rows]).any():
            scale[rows] = usual_scale(distances[rows])
            limit[rows] = usual_limit(distances[rows] / scale[rows], false_alarms, least=2.0)
    label_off = np.linalg.norm(cohort.labels - shape.points, axis=-1)
    predicted_off = np.linalg.norm(cohort.predicted - shape.points, axis=-1)
    missed = (predicted_off > label_off) & (predicted_off > CLEARLY * shape.scale)
    return Reference(cohort.predicted, scale, limit, np.isfinite(cohort.predicted).all(-1) & ~missed)


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
    return Reference(points, scale, np.full(distances.shape, limit), np.isfinite(points).all(-1))


def usable_shapes(points: np.ndarray) -> np.ndarray:
    """Cases with points enough to judge one by the others."""
    return np.flatnonzero(np.isfinite(points).all(-1).sum(1) >= MIN_LANDMARKS)
