"""A Gaussian over the shapes of the training cases: how landmarks move together once pose and size are taken away.

The covariance is that of the aligned shapes, shrunk towards independent landmarks by the closed form of Ledoit and Wolf
("A well-conditioned estimator for large-dimensional covariance matrices", 2004), each landmark in units of its own
spread. So it has full rank with fewer cases than coordinates, and with very few cases the landmarks are independent.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from auto_config.bundle_scripts.points.procrustes import procrustes, similarity

MODES = 60  # of more cases, the rest of the variance is each landmark's own
LEAST_SCALE_DEVIATION = 0.02  # of the logarithm of the size, where few cases say little of it
_FILLS = 3
_DIGITS = 6


@dataclass(frozen=True)
class ShapeGaussian:
    """Landmarks of a case in the frame of the mean shape: ``mean + sum of z_k modes_k + e``, z and e independent.

    Args:
        mean: (L, D) mm, NaN for landmarks that no training case has.
        modes: (K, L, D) mm; the z are standard normal.
        noise: (L,) mm², variance along each axis that a landmark has for itself; NaN where the mean is.
        log_size: mean and standard deviation of the logarithm of a case's size over that of the mean shape.
    """

    mean: np.ndarray
    modes: np.ndarray
    noise: np.ndarray
    log_size: tuple[float, float]

    @property
    def known(self) -> np.ndarray:
        """(L,) bool: landmarks that it says something of."""
        return np.isfinite(self.mean).all(axis=1) & np.isfinite(self.noise)

    @property
    def variance(self) -> np.ndarray:
        """(L,) mm² along each axis, the mean over axes."""
        return (self.modes**2).sum(axis=0).mean(axis=1) + self.noise

    def document(self) -> dict[str, Any]:
        """As JSON, null for what no training case says."""
        return {
            "mean": _plain(self.mean),
            "modes": _plain(self.modes),
            "noise_mm2": _plain(self.noise),
            "log_size": [float(x) for x in self.log_size],
        }


def read_gaussian(document: Mapping[str, Any]) -> ShapeGaussian:
    """Read what `ShapeGaussian.document` wrote.

    Raises:
        ValueError, KeyError, TypeError: it is something else.
    """
    mean = np.array(document["mean"], dtype=np.float64)
    modes = np.array(document["modes"], dtype=np.float64).reshape(-1, *mean.shape)
    noise = np.array(document["noise_mm2"], dtype=np.float64)
    middle, deviation = (float(x) for x in document["log_size"])
    if mean.ndim != 2 or noise.shape != mean.shape[:1] or not np.isfinite(modes).all() or not deviation > 0:
        raise ValueError("the numbers of the shape do not belong together")
    return ShapeGaussian(mean, modes, noise, (middle, deviation))


def fit_gaussian(shapes: np.ndarray) -> ShapeGaussian | None:
    """Learn from the points of training cases.

    A landmark that a case lacks gets the place that the others of this case speak for (the mean at first, then the
    conditional mean).

    Args:
        shapes: (N, L, D) world mm, NaN where a landmark is not present or has no fixed place.

    Returns:
        The Gaussian; None where fewer than two cases have more than D landmarks.
    """
    shapes = np.asarray(shapes, dtype=np.float64)
    shapes = shapes[np.isfinite(shapes[..., 0]).sum(1) > shapes.shape[2]] if len(shapes) else shapes
    if len(shapes) < 2:
        return None
    mean, spread, _ = procrustes(shapes)
    dims, known = shapes.shape[2], np.isfinite(mean).all(axis=1)
    aligned, sizes = _aligned(shapes, mean)
    if len(aligned) < 2 or not np.isfinite(spread).any():
        return None
    spread = np.where(np.isfinite(spread), spread, np.nanmedian(spread))
    unit = np.maximum(spread / math.sqrt(dims), 1e-6 * max(float(np.nanmax(np.abs(mean))), 1e-6))
    scaled = ((aligned - mean) / unit[:, None])[:, known].reshape(len(aligned), -1)
    gap = ~np.isfinite(scaled)
    filled = np.where(gap, 0.0, scaled)
    for _ in range(_FILLS if gap.any() else 0):
        rows, own = shrunk(filled - filled.mean(axis=0))
        filled = np.stack([_filled(row, hole, rows, own) for row, hole in zip(filled, gap, strict=True)])
    rows, own = shrunk(filled - filled.mean(axis=0))
    vectors, rest = _largest(rows, dims)
    modes = np.zeros((len(vectors), *mean.shape))
    modes[:, known] = vectors.reshape(len(vectors), -1, dims) * unit[known, None]
    noise = np.full(len(mean), np.nan)
    noise[known] = (own + rest) * unit[known] ** 2
    deviation = max(float(np.std(sizes, ddof=1)), LEAST_SCALE_DEVIATION)
    return ShapeGaussian(np.where(known[:, None], mean, np.nan), modes, noise, (float(np.mean(sizes)), deviation))


def independent(mean: np.ndarray, spread: np.ndarray) -> ShapeGaussian | None:
    """What mean shape and spreads alone say, as the weights of earlier bundles have them: landmarks are independent.

    Args:
        mean: (L, D) mm, NaN where not known.
        spread: (L,) mm, NaN where not known.
    """
    known = np.isfinite(mean).all(axis=1) & np.isfinite(spread) & (spread > 0)
    if known.sum() <= mean.shape[1]:
        return None
    noise = np.where(known, spread**2 / mean.shape[1], np.nan)
    empty = np.zeros((0, *mean.shape))
    return ShapeGaussian(np.where(known[:, None], mean, np.nan), empty, noise, (0.0, 5 * LEAST_SCALE_DEVIATION))


def shrunk(rows: np.ndarray) -> tuple[np.ndarray, float]:
    """The covariance after Ledoit and Wolf, as ``R' R + own I``.

    Args:
        rows: (N, P) centred.

    Returns:
        R (N, P), and own, the share of the identity.
    """
    count, size = rows.shape
    gram = rows @ rows.T / count
    mean = float(np.trace(gram)) / size
    norm = float((gram**2).sum())
    spread = norm / size - mean**2
    noise = (float(((rows**2).sum(1) ** 2).sum()) / count - norm) / count / size
    share = 1.0 if spread <= 0 else min(max(noise / spread, 0.0), 1.0)
    return rows * math.sqrt((1 - share) / count), share * mean


def _aligned(shapes: np.ndarray, mean: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Shapes in the frame of the mean shape, and the logarithm of the size of each over that of the mean shape."""
    found, sizes = [], []
    for shape in shapes:
        both = np.isfinite(shape[:, 0]) & np.isfinite(mean[:, 0])
        if both.sum() <= shape.shape[1]:
            continue
        matrix = similarity(shape[both], mean[both], np.ones(int(both.sum())))
        scale = abs(float(np.linalg.det(matrix[:-1, :-1]))) ** (1 / shape.shape[1])
        found.append(shape @ matrix[:-1, :-1].T + matrix[:-1, -1])
        sizes.append(-math.log(max(scale, 1e-12)))
    return np.array(found), np.array(sizes)


def _filled(row: np.ndarray, hole: np.ndarray, rows: np.ndarray, own: float) -> np.ndarray:
    """A row with the conditional mean in its holes, under the covariance ``rows' rows + own I``."""
    if not hole.any() or hole.all():
        return row
    seen = rows[:, ~hole]
    weights = np.linalg.solve(seen @ seen.T + max(own, 1e-9) * np.eye(len(rows)), seen @ row[~hole])
    out = row.copy()
    out[hole] = weights @ rows[:, hole]
    return out


def _largest(rows: np.ndarray, dims: int) -> tuple[np.ndarray, np.ndarray]:
    """The largest modes (K, P) of ``rows' rows``, and the variance (P / dims,) along an axis that is left."""
    _, values, vectors = np.linalg.svd(rows, full_matrices=False)
    modes = (values[:, None] * vectors)[values > 1e-9 * max(values.max(), 1e-12)]
    rest = (modes[MODES:] ** 2).sum(axis=0).reshape(-1, dims).mean(axis=1)
    return modes[:MODES], rest


def _plain(values: np.ndarray) -> Any:
    """Lists of numbers with a few digits, None for NaN."""
    if values.ndim == 0:
        number = float(values)
        return float(f"{number:.{_DIGITS}g}") if math.isfinite(number) else None
    return [_plain(one) for one in values]
