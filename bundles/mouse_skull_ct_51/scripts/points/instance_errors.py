"""Errors of validation where there are many of a landmark or two may change places."""

from __future__ import annotations

import numpy as np

from .instances import Instances
from .matching import best_order, match, ospa


def instance_errors(
    predicted: np.ndarray, confidence: np.ndarray, truth: np.ndarray, instances: Instances
) -> np.ndarray:
    """The error of each landmark in one image.

    Args:
        predicted: ``(R, D)`` world mm, rows as `Instances` has them, NaN where a row has no point.
        confidence: ``(R,)``.
        truth: ``(R, D)`` world mm, NaN where absent or unknown.
        instances: which rows belong to which landmark.

    Returns:
        ``(L,)`` mm: the distance; of an exchangeable pair in the better order; of many the OSPA distance, in
        which a point without a partner counts as the distance within which an instance is found. NaN where the truth
        has no point, infinite where only the prediction has none.
    """
    count = len(instances.names)
    predicted = predicted.copy()
    for pair in map(list, instances.exchangeable):
        if best_order(predicted[pair], truth[pair]):
            predicted[pair] = predicted[pair[::-1]]
    errors = np.linalg.norm(predicted[:count] - truth[:count], axis=-1)
    errors = np.where(np.isfinite(errors), errors, np.inf)
    for channel, found, true in _many(predicted, confidence, truth, instances):
        errors[channel] = ospa(found, true, instances.match_limits[channel])
    return np.where(np.isfinite(truth[:count]).all(axis=1), errors, np.nan)


def instance_hits(
    predicted: np.ndarray, confidence: np.ndarray, truth: np.ndarray, instances: Instances, threshold_mm: float
) -> np.ndarray:
    """Percent of the true points of each landmark that were found within a distance.

    Args:
        predicted: as `instance_errors` has it, and so are the next three.
        confidence: ``(R,)``.
        truth: ``(R, D)`` world mm.
        instances: which rows belong to which landmark.
        threshold_mm: the largest distance of a point that was found.

    Returns:
        ``(L,)``; NaN where the truth has no point.
    """
    errors = instance_errors(predicted, confidence, truth, instances)
    hits = np.where(np.isnan(errors), np.nan, np.where(errors <= threshold_mm, 100.0, 0.0))
    for channel, found, true in _many(predicted, confidence, truth, instances):
        if len(true):
            hits[channel] = 100.0 * len(match(found, true, threshold_mm)[0]) / len(true)
    return hits


def _many(
    predicted: np.ndarray, confidence: np.ndarray, truth: np.ndarray, instances: Instances
) -> list[tuple[int, np.ndarray, np.ndarray]]:
    """Channel, points that count and true points of each landmark of which there are many."""
    finite = np.isfinite(predicted).all(axis=1)
    counted = [row for row in instances.counted(confidence, finite) if finite[row]]
    rows = instances.channels
    out = []
    for channel in (c for c, of in enumerate(instances.many) if of):
        own = truth[[row for row, of in enumerate(rows) if of == channel]]
        found = predicted[[row for row in counted if rows[row] == channel]]
        out.append((channel, found, own[np.isfinite(own).all(axis=1)]))
    return out
