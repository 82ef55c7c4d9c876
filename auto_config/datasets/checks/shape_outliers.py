"""Points that a robust shape model of the cohort finds impossible, and points that changed places. Pure functions.

Each point is predicted from the other points of its case: the median shape of the other cases is laid on them by a
similarity in which near points count more, and points that fit badly count less. The distance from the prediction is
compared with what that landmark usually strays by, both measured by medians, which a few wrong points do not move.

Alignment after Gower (1975), the weights of points that fit badly after Geman and McClure (1985), the local fit after
moving least squares (Schaefer, McPhail and Warren, 2006); outliers by the median absolute deviation (Hampel, 1974).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from auto_config.bundle_scripts.points.procrustes import similarity

MIN_LANDMARKS = 6
"""With fewer points the others do not say where one belongs."""

MIN_CASES = 6
"""With fewer cases nobody knows what is usual."""

FAR = 14.0
"""Robust standard deviations above the usual distance of a landmark: see docs/checks.md for how it was chosen."""

SMALLEST_SHARE = 0.05
"""... and at least this share of the shape's size (root mean square distance from its centre)."""

_NEIGHBOURS = 8
_ROUNDS = 4
_MAD_TO_STD = 1.4826


@dataclass(frozen=True)
class Outlier:
    """A point that the others of its case do not allow.

    Args:
        case: index of the case.
        landmark: index of the landmark.
        distance_mm: from where the other points say that it belongs.
        limit_mm: the largest distance that would not have been told.
        exchanged_with: index of another landmark of the case, if both fit when they change places.
    """

    case: int
    landmark: int
    distance_mm: float
    limit_mm: float
    exchanged_with: int | None = None


def find_outliers(shapes: np.ndarray) -> list[Outlier]:
    """Find impossible points.

    Args:
        shapes: ``(N, L, D)`` world mm, NaN where a landmark is not present.

    Returns:
        The outliers, the worst of each case first; none where there are too few cases or landmarks to judge.
    """
    usable = np.flatnonzero(np.isfinite(shapes).all(-1).sum(1) >= MIN_LANDMARKS)
    if len(usable) < MIN_CASES:
        return []
    offsets, predicted = neighbour_offsets(shapes[usable])
    distances = np.linalg.norm(offsets, axis=-1)
    limits = distance_limits(distances, size=float(np.median([shape_size(shape) for shape in shapes[usable]])))
    found: list[Outlier] = []
    for row, case in enumerate(usable):
        far = np.flatnonzero(distances[row] > limits)
        ranked = sorted(far, key=lambda landmark: -distances[row, landmark] / limits[landmark])
        partners = _exchanged(shapes[case], predicted[row], limits, distances[row])
        found += [
            Outlier(int(case), int(k), float(distances[row, k]), float(limits[k]), partners.get(int(k))) for k in ranked
        ]
    return found


def distance_limits(distances: np.ndarray, size: float) -> np.ndarray:
    """For each landmark the largest distance that counts as usual, ``(L,)`` mm.

    Args:
        distances: ``(N, L)`` mm from the predictions, NaN where a point is not present.
        size: of the shapes, mm.
    """
    known = np.isfinite(distances).sum(0) >= MIN_CASES
    usual = np.full(distances.shape[1], np.nan)
    spread = usual.copy()
    usual[known] = np.nanmedian(distances[:, known], axis=0)
    spread[known] = _MAD_TO_STD * np.nanmedian(np.abs(distances[:, known] - usual[known]), axis=0)
    if known.any():
        # A landmark that hardly strays in most cases may still stray as much as others do.
        spread = np.maximum(spread, np.nanmedian(spread))
    limits = np.maximum(usual + FAR * spread, SMALLEST_SHARE * size)
    return np.where(known, limits, np.inf)


def neighbour_offsets(shapes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where the other points of a case, and the other cases, say that each point belongs.

    Args:
        shapes: ``(N, L, D)`` mm, NaN where not present; at least D + 1 points in each.

    Returns:
        Point minus prediction and the prediction, ``(N, L, D)`` mm each, NaN where the point is not present or nobody
        else has it.
    """
    aligned = align_all(shapes)
    offsets, predicted = np.full_like(shapes, np.nan), np.full_like(shapes, np.nan)
    for row, (shape, mean) in enumerate(zip(shapes, medians_of_others(aligned), strict=True)):
        predicted[row] = predict_points(mean, shape)
        offsets[row] = shape - predicted[row]
    return offsets, predicted


def predict_points(mean: np.ndarray, shape: np.ndarray) -> np.ndarray:
    """Each point of a case from the others, ``(L, D)`` mm; NaN where the case or the mean shape has none.

    Args:
        mean: ``(L, D)`` the median shape of the other cases, in any pose and size.
        shape: ``(L, D)`` mm.
    """
    predicted = np.full_like(shape, np.nan)
    both = np.isfinite(shape).all(-1) & np.isfinite(mean).all(-1)
    if both.sum() >= MIN_LANDMARKS:
        matrix, trust = _robust_similarity(mean[both], shape[both])
        predicted[both] = _local_predictions(mean[both], shape[both], trust, matrix)
    return predicted


def _exchanged(shape: np.ndarray, predicted: np.ndarray, limits: np.ndarray, distances: np.ndarray) -> dict[int, int]:
    """Pairs of landmarks, at least one of them too far, that both lie well where the other belongs."""
    partners: dict[int, int] = {}
    for landmark in np.flatnonzero(distances > limits):
        there = np.linalg.norm(shape[landmark] - predicted, axis=-1)
        back = np.linalg.norm(shape - predicted[landmark], axis=-1)
        # Both must come much nearer: near neighbours fit each other's places too.
        better = (there + back) < 0.5 * (distances[landmark] + distances)
        fits = (there <= limits) & (back <= limits[landmark]) & better
        fits[landmark] = False
        if fits.any():
            partners[int(landmark)] = int(np.argmin(np.where(fits, there + back, np.inf)))
    return partners


def align_all(shapes: np.ndarray) -> np.ndarray:
    """All shapes laid on their robust mean, ``(N, L, D)``."""
    mean = shapes[int(np.isfinite(shapes).all(-1).sum(1).argmax())]
    aligned = np.full_like(shapes, np.nan)
    for _ in range(_ROUNDS):
        for row, shape in enumerate(shapes):
            both = np.isfinite(shape).all(-1) & np.isfinite(mean).all(-1)
            if both.sum() >= MIN_LANDMARKS:
                matrix, _ = _robust_similarity(shape[both], mean[both])
                aligned[row] = shape @ matrix[:-1, :-1].T + matrix[:-1, -1]
        new = median_shape(aligned)
        # The size of the first shape is kept: a fit with outliers shrinks a little each time.
        mean = (new - np.nanmean(new, axis=0)) * (shape_size(mean) / max(shape_size(new), 1e-12)) + np.nanmean(
            mean, axis=0
        )
    return aligned


def _robust_similarity(source: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Similarity in which far points count less and less, and the weight of each point."""
    weight = np.ones(len(source))
    matrix = similarity(source, target, weight)
    for _ in range(10):
        residual = np.linalg.norm(source @ matrix[:-1, :-1].T + matrix[:-1, -1] - target, axis=1)
        width = max(2 * float(np.median(residual)), 1e-9)
        weight = 1.0 / (1.0 + (residual / width) ** 2) ** 2
        matrix = similarity(source, target, weight)
    return matrix, weight


def _local_predictions(mean: np.ndarray, shape: np.ndarray, trust: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Each point from the others, ``(L, D)``: the global fit, corrected by a similarity of the neighbours."""
    globally = mean @ matrix[:-1, :-1].T + matrix[:-1, -1]
    apart = np.linalg.norm(mean[:, None] - mean[None], axis=-1)
    width = np.sort(apart, axis=1)[:, min(_NEIGHBOURS, len(mean) - 1)]
    # (L, L): the weight of each point (second axis) in the prediction of each (first axis), none in its own. The far
    # ones keep a little, for neighbours that lie on a line or in a plane.
    weight = (np.exp(-0.5 * (apart / np.maximum(width, 1e-9)[:, None]) ** 2) + 1e-6) * trust
    np.fill_diagonal(weight, 0.0)
    weight /= weight.sum(1, keepdims=True)
    source, target = weight @ globally, weight @ shape
    # The weighted similarity of Umeyama (1991), for all landmarks at once.
    covariance = np.einsum("lk,ki,kj->lij", weight, shape, globally) - target[:, :, None] * source[:, None]
    left, strength, right = np.linalg.svd(covariance)
    sign = np.ones_like(strength)
    sign[:, -1] = np.where(np.linalg.det(left @ right) < 0, -1.0, 1.0)
    power = weight @ (globally**2).sum(1) - (source**2).sum(1)
    scale = (strength * sign).sum(1) / np.maximum(power, 1e-12)
    turned = np.einsum("lij,lj->li", (left * sign[:, None]) @ right, globally - source)
    return target + scale[:, None] * turned


def median_shape(aligned: np.ndarray) -> np.ndarray:
    """Median shape ``(L, D)``, NaN for landmarks that no case has."""
    known = np.isfinite(aligned).all(-1).any(0)
    mean = np.full(aligned.shape[1:], np.nan)
    mean[known] = np.nanmedian(aligned[:, known], axis=0)
    return mean


def medians_of_others(aligned: np.ndarray) -> np.ndarray:
    """For each case the median shape of all others, ``(N, L, D)``, NaN for landmarks that no other case has.

    A median without one value is found from the sorted values of all, so that thousands of cases take no longer each.

    Args:
        aligned: ``(N, L, D)``, NaN where not present.
    """
    order = np.argsort(aligned, axis=0, kind="stable")  # NaN last
    values = np.take_along_axis(aligned, order, axis=0)
    rank = np.argsort(order, axis=0)
    present = np.isfinite(aligned)
    left = present.sum(0) - present
    # Places in the values without the case's own: from its own on, each is one further in the sorted values of all.
    lower, upper = np.maximum(left - 1, 0) // 2, left // 2
    middle = [
        np.take_along_axis(values, np.minimum(place + (present & (place >= rank)), len(values) - 1), axis=0)
        for place in (lower, upper)
    ]
    return np.where(left > 0, (middle[0] + middle[1]) / 2, np.nan)


def shape_size(shape: np.ndarray) -> float:
    """Root mean square distance of the points from their centre, mm."""
    known = shape[np.isfinite(shape).all(-1)]
    return float(np.sqrt(((known - known.mean(0)) ** 2).sum(-1).mean()))
