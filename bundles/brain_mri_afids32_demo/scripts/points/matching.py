"""Which predicted point stands for which true one, where a landmark has many or two may change places."""

from __future__ import annotations

import numpy as np


def distances(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Distances ``(N, M)`` of points ``(N, D)`` from points ``(M, D)``; infinite where one is not finite."""
    found = np.linalg.norm(predicted[:, None] - truth[None], axis=-1)
    return np.where(np.isfinite(found), found, np.inf)


def _assignment(cost: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns ``(min(N, M),)`` of the assignment with the smallest sum of costs ``(N, M)``."""
    # Imports most of scipy, and most predictions match nothing.
    from scipy.optimize import linear_sum_assignment

    rows, columns = linear_sum_assignment(cost)
    return rows, columns


def match(predicted: np.ndarray, truth: np.ndarray, limit: float) -> tuple[np.ndarray, np.ndarray]:
    """As many matches within a distance as there can be, and of these the ones with the smallest sum (Kuhn, 1955).

    Args:
        predicted: ``(N, D)``.
        truth: ``(M, D)``.
        limit: largest distance of a match, in the unit of the points.

    Returns:
        Indices of the matched predicted and true points, ``(P,)`` each.
    """
    cost = distances(predicted, truth)
    if not cost.size:
        return np.zeros(0, dtype=int), np.zeros(0, dtype=int)
    near = cost <= limit
    # One that is too far costs more than all matches together, so it is never taken for a shorter sum.
    rows, columns = _assignment(np.where(near, cost, (min(cost.shape) + 1) * max(limit, 1e-12)))
    kept = near[rows, columns]
    return rows[kept], columns[kept]


def ospa(predicted: np.ndarray, truth: np.ndarray, limit: float) -> float:
    """Distance of two sets of points that differ in number (OSPA of order 1; Schuhmacher et al., 2008).

    The mean over the points of the larger set: the distance to the partner, at most ``limit``, and ``limit`` where
    there is no partner. So one number in mm grows with misplaced, missed and invented points.

    Args:
        predicted: ``(N, D)``.
        truth: ``(M, D)``.
        limit: what a point without a partner counts, in the unit of the points.

    Returns:
        From 0 to ``limit``; NaN where both sets are empty.
    """
    most = max(len(predicted), len(truth))
    if most == 0:
        return float("nan")
    cost = np.minimum(distances(predicted, truth), limit)
    rows, columns = _assignment(cost)
    return float((cost[rows, columns].sum() + limit * (most - len(rows))) / most)


def best_order(predicted: np.ndarray, truth: np.ndarray) -> bool:
    """Whether two predicted points ``(2, D)`` fit better when they change places.

    True points that are not finite do not count.
    """
    as_they_are = np.linalg.norm(predicted - truth, axis=-1)
    changed = np.linalg.norm(predicted[::-1] - truth, axis=-1)
    return bool(np.nansum(changed) < np.nansum(as_they_are))
