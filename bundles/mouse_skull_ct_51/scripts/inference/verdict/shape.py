"""The training shapes as a judge of a whole case: how well its points fit them, and how the case lies."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...points.procrustes import FAR, MIN_LANDMARKS, procrustes, robust_similarity, similarity, size_of

SMALLEST_MM = 1e-4
"""Added to lengths before their logarithm."""


@dataclass(frozen=True)
class ShapeFit:
    """A case beside the training shapes.

    Args:
        distance: (L,) mm of each point from the fitted mean shape, NaN for points that are not judged.
        strayed: (L,) the same, over the spread of that landmark (at least the tolerance).
        turn: degrees between the pose of the case and the mean pose of the training cases.
        size: size of the case over the mean size.
        centre: (D,) world mm of the middle of the fitted mean shape.
    """

    distance: np.ndarray
    strayed: np.ndarray
    turn: float
    size: float
    centre: np.ndarray

    @property
    def misfit(self) -> float:
        """Share of the judged points farther from the fit than training landmarks ever are."""
        return float((self.strayed[np.isfinite(self.strayed)] > FAR).mean())


@dataclass(frozen=True)
class TrainingShape:
    """Mean shape and mean pose of the training cases.

    Args:
        mean: (L, D) mm, NaN for landmarks that no case has or that have no fixed place.
        spread: (L,) mm of each landmark about it, NaN where fewer than two cases have it.
        rotation: (D, D) of the mean shape to the mean pose of the cases in the world.
        offset: (D,) mm from the middle of an image to that of the shape, on average; None where it is not known.
    """

    mean: np.ndarray
    spread: np.ndarray
    rotation: np.ndarray
    offset: np.ndarray | None = None

    @classmethod
    def of(cls, shapes: np.ndarray, offsets: np.ndarray | None = None) -> TrainingShape:
        """The shape of training points.

        Args:
            shapes: (N, L, D) world mm, NaN where a landmark is not present; N may be 0.
            offsets: (L, D) mean mm from the middle of an image to each landmark, NaN where not known.
        """
        mean, spread, _ = procrustes(shapes)
        known = np.isfinite(mean).all(axis=1)
        middle = None if offsets is None or not known.any() else offsets[known].mean(axis=0)
        offset = middle if middle is not None and np.isfinite(middle).all() else None
        return cls(mean, spread, mean_rotation(mean, shapes), offset)

    @classmethod
    def read(cls, shape: Mapping[str, Any], pose: Mapping[str, Any]) -> TrainingShape:
        """From JSON: ``mean`` and ``spread`` of a shape, and what `pose_document` gave."""
        nothing = [np.nan] * len(pose["rotation"])
        places = [[np.nan if x is None else x for x in row or nothing] for row in shape["mean"]]
        mean = np.array(places, dtype=np.float64).reshape(len(places), len(nothing))
        offset = pose.get("offset")
        return cls(
            mean,
            np.array([np.nan if x is None else x for x in shape["spread"]], dtype=np.float64),
            np.array(pose["rotation"], dtype=np.float64).reshape(mean.shape[1], mean.shape[1]),
            None if offset is None else np.array(offset, dtype=np.float64),
        )

    def pose_document(self) -> dict[str, Any]:
        """What `read` needs beside the shape, JSON-able."""
        return {"rotation": self.rotation.tolist(), "offset": None if self.offset is None else self.offset.tolist()}

    @property
    def known(self) -> np.ndarray:
        """(L,) bool: landmarks that have a place in the shape."""
        return np.isfinite(self.mean).all(axis=1)

    def fit(self, points: np.ndarray, tolerance: float) -> ShapeFit | None:
        """Fit the mean shape to a case by a similarity.

        Args:
            points: (L, D) world mm, NaN for points that are not to be looked at.
            tolerance: mm that a good point may be off, whatever the spread of its landmark.

        Returns:
            None where the points are too few to say how the case lies: D or fewer, or all in one place.
        """
        both = self.known & np.isfinite(points).all(axis=1)
        spread = self.spread[np.isfinite(self.spread)]
        if both.sum() <= points.shape[1] or size_of(points[both]) <= 0 or not len(spread):
            return None
        typical = max(float(np.median(spread)), tolerance)
        # With few points an outlier bends the fit itself, and weights would only hide it.
        robust = both.sum() >= MIN_LANDMARKS
        source, target = self.mean[both], points[both]
        matrix = (
            robust_similarity(source, target, typical) if robust else similarity(source, target, np.ones(len(source)))
        )
        fitted = self.mean @ matrix[:-1, :-1].T + matrix[:-1, -1]
        distance = np.where(both, np.linalg.norm(fitted - points, axis=1), np.nan)
        size = float(np.linalg.norm(matrix[:-1, 0]))
        return ShapeFit(
            distance=distance,
            strayed=distance / np.maximum(np.where(np.isfinite(self.spread), self.spread, typical), tolerance),
            turn=angle(matrix[:-1, :-1] / max(size, 1e-12), self.rotation),
            size=size,
            centre=fitted[self.known].mean(axis=0),
        )

    def values(self, fit: ShapeFit, centre: np.ndarray | None) -> dict[str, float]:
        """The columns that a fit gives, in an image whose middle is at ``centre`` (D,) mm, None where not known."""
        strayed = fit.strayed[np.isfinite(fit.strayed)]
        found = {
            "shape": log_rms(fit.distance),
            "worst": math.log(float(strayed.max()) + 1e-6),
            "turn": fit.turn,
            "size": math.log(max(fit.size, 1e-12)),
        }
        if self.offset is not None and centre is not None:
            away = float(np.linalg.norm(fit.centre - centre - self.offset))
            found["place"] = away / max(size_of(self.mean), 1e-12)
        return found


def log_rms(lengths: np.ndarray) -> float:
    """Logarithm of the root mean square of lengths in mm; NaN where none is known."""
    known = lengths[np.isfinite(lengths)]
    return math.log(math.sqrt(float((known**2).mean())) + SMALLEST_MM) if known.size else math.nan


def mean_rotation(mean: np.ndarray, shapes: np.ndarray) -> np.ndarray:
    """The rotation (D, D) nearest to those that turn the mean shape (L, D) to the cases (N, L, D); 1 of no case."""
    dims = mean.shape[1]
    total = np.zeros((dims, dims))
    for shape in shapes:
        both = np.isfinite(shape).all(axis=1) & np.isfinite(mean).all(axis=1)
        if both.sum() > dims:
            linear = similarity(mean[both], shape[both], np.ones(int(both.sum())))[:-1, :-1]
            total += linear / max(float(np.linalg.norm(linear[:, 0])), 1e-12)
    if not total.any():
        return np.eye(dims)
    u, _, vt = np.linalg.svd(total)
    sign = np.ones(dims)
    sign[-1] = np.sign(np.linalg.det(u @ vt)) or 1.0
    return np.asarray((u * sign) @ vt)


def angle(one: np.ndarray, other: np.ndarray) -> float:
    """Degrees, 0 to 180, between two rotations (D, D)."""
    trace = float(np.trace(one @ other.T))
    cosine = trace / 2 if len(one) == 2 else (trace - 1) / 2
    return math.degrees(math.acos(min(1.0, max(-1.0, cosine))))
