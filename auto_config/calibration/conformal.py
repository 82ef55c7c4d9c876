"""Regions with a stated probability: split conformal prediction with the finite-sample rank.

Of n calibration scores and the score of a new case, all exchangeable, each order is equally likely. The k-th smallest
of the n, with ``k = ceil(level * (n + 1))``, is therefore at least as large as the new score with probability
``k / (n + 1)``, whatever the network and the distribution. Where k exceeds n no finite region keeps the promise.

Source: Vovk, Gammerman and Shafer (2005); Lei et al. (2018); for landmarks Jonkers et al. (2025), whose scores of
ellipsoidal CP and of M-R2CCP are those of `ellipsoid_scores` and of minus the heatmap.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

LEVELS = (0.5, 0.8, 0.9, 0.95)
"""Nominal levels that are written."""

_ROUND_OFF = 1e-9  # 0.9 * 10 is 9.000000000000002 in floating point, and its rank is 9


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise ValueError(f"the level is {level}; give a probability between 0 and 1, such as 0.9")


def conformal_rank(n: int, level: float) -> int | None:
    """Rank of the score that bounds the region, from 1 on; None where n scores are too few for the level.

    Args:
        n: Number of calibration scores.
        level: Nominal probability, between 0 and 1.

    Raises:
        ValueError: A level that is not between 0 and 1.

    Example:
        >>> conformal_rank(15, 0.9), conformal_rank(15, 0.95)
        (15, None)
    """
    _check_level(level)
    rank = math.ceil(level * (n + 1) - _ROUND_OFF)
    return rank if rank <= n else None


def exact_coverage(n: int, level: float) -> float:
    """Probability with which the region holds a new point: ``k / (n + 1)``, and 1 for an infinite region."""
    rank = conformal_rank(n, level)
    return 1.0 if rank is None else rank / (n + 1)


def smallest_n(level: float) -> int:
    """The fewest calibration scores that give a finite region."""
    return next(n for n in range(1, 10**6) if conformal_rank(n, level) is not None)


def conformal_quantile(scores: np.ndarray, level: float, weights: np.ndarray | None = None) -> float:
    """The score that bounds the region; infinite where the scores are too few.

    Args:
        scores: (n,) scores of calibration cases, larger is farther out; NaN is left out.
        level: Nominal probability.
        weights: (n,) of the scores, where those of one case share a weight of 1; None for a score of each case.

    Raises:
        ValueError: A level that is not between 0 and 1.
    """
    _check_level(level)
    known = ~np.isnan(scores)
    order = np.argsort(scores[known], kind="stable")
    count = np.cumsum(np.ones(known.sum()) if weights is None else weights[known][order])
    needed = level * ((count[-1] if len(count) else 0.0) + 1) - _ROUND_OFF
    place = int(np.searchsorted(count, needed))
    return math.inf if place >= len(count) else float(scores[known][order[place]])


def quantiles(
    scores: np.ndarray,
    levels: tuple[float, ...] = LEVELS,
    *,
    pooled: bool = False,
    channels: np.ndarray | None = None,
    weights: np.ndarray | None = None,
) -> np.ndarray:
    """Bounds of the regions of each landmark.

    Args:
        scores: (N, R) scores, NaN where a case does not have the landmark.
        levels: Nominal probabilities.
        pooled: One bound for all landmarks, from the scores of all. It then holds for a landmark drawn at random, not
            for each; and since the landmarks of one case are not independent, n is less than it looks and the level
            is kept only about.
        channels: (R,) landmark of each row of a case; None for one row of each. The rows of one landmark count
            together, so its bound is that of one of them drawn at random.
        weights: (N, R) as for `conformal_quantile`; None for 1 each.

    Returns:
        (levels, L); infinite where the scores are too few.
    """
    of = np.arange(scores.shape[1]) if channels is None else channels
    every = np.ones_like(scores) if weights is None else weights
    wanted = [np.full(len(of), True) if pooled else of == landmark for landmark in range(int(of.max(initial=-1)) + 1)]
    columns = [(scores[:, rows].ravel(), every[:, rows].ravel()) for rows in wanted]
    return np.array([[conformal_quantile(column, level, own) for column, own in columns] for level in levels])


def ball_scores(points: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Radial errors (N, L) in mm of points (N, L, D); NaN where the truth has no point."""
    return np.linalg.norm(points - truth, axis=-1)


def ellipsoid_scores(points: np.ndarray, truth: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """Mahalanobis distances (N, L) of the truth under the covariance (N, L, D, D), mm², of each heatmap."""
    difference = truth - points
    known = np.isfinite(difference).all(axis=-1)
    safe = np.where(known[..., None], difference, 0.0)
    spread = np.where(known[..., None, None], covariance, np.eye(points.shape[-1]))  # an empty row has none
    squared = np.einsum("...i,...i->...", safe, np.linalg.solve(spread, safe[..., None])[..., 0])
    return np.where(known, np.sqrt(np.maximum(squared, 0.0)), np.nan)


@dataclass(frozen=True)
class Coverage:
    """How often regions held the truth, and how large they were.

    Args:
        nominal: The level that was promised.
        share: Share of the points inside of their regions.
        count: Number of points.
        median_size: Median size of the finite regions, mm³ (mm² in 2D).
        mean_size: Their mean.
        infinite: Share of the regions that are infinite.
    """

    nominal: float
    share: float
    count: int
    median_size: float
    mean_size: float
    infinite: float


def coverage(inside: np.ndarray, sizes: np.ndarray, nominal: float) -> Coverage:
    """Sum up regions.

    Args:
        inside: (...) 1 or 0, NaN where the truth has no point.
        sizes: (...) sizes of the regions, infinite ones included.
        nominal: The level that was promised.
    """
    known = ~np.isnan(inside)
    finite = sizes[known & np.isfinite(sizes)]
    return Coverage(
        nominal=nominal,
        share=float(inside[known].mean()) if known.any() else math.nan,
        count=int(known.sum()),
        median_size=float(np.median(finite)) if finite.size else math.nan,
        mean_size=float(finite.mean()) if finite.size else math.nan,
        infinite=float(np.isinf(sizes[known]).mean()) if known.any() else math.nan,
    )


def ball_volume(radius: np.ndarray, dims: int) -> np.ndarray:
    """Volume of balls in 3D (mm³), area of discs in 2D (mm²)."""
    return math.pi ** (dims / 2) / math.gamma(dims / 2 + 1) * np.asarray(radius) ** dims


def ellipsoid_volume(factor: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """Volume of ``{x: (x - m)' S^-1 (x - m) <= factor²}`` for covariances S (..., D, D)."""
    return ball_volume(factor, covariance.shape[-1]) * np.sqrt(np.linalg.det(covariance))
