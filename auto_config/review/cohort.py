"""What is known of the labels of all cases: points, predictions, frames of images. No images, no torch."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from auto_config.bundle_scripts.points.landmarks import PRESENT

Basis = Literal["unseen", "seen", "points"]
"""What speaks of a case: a network that did not see it, one that was trained on it, or the points alone."""


@dataclass(frozen=True)
class Cohort:
    """Labels of N cases with L landmarks that each image has once, and what was predicted.

    Args:
        cases: (N,) names.
        names: (L,) landmarks.
        labels: (N, L, D) world mm, NaN where not present.
        status: (N, L) as `bundle_scripts.points.landmarks` has it.
        predicted: (N, L, D) world mm, NaN where nothing was predicted.
        confidence: (N, L) of the predictions, NaN where there is none.
        basis: (N,) what speaks of each case.
        affines: (N,) voxel to world (D + 1, D + 1), None where the image is not known.
        shapes: (N,) voxels of the images, None where not known.
        pairs: indices of landmarks that a mirror exchanges.
        unit: ``"mm"`` or ``"px"``.
    """

    cases: tuple[str, ...]
    names: tuple[str, ...]
    labels: np.ndarray
    status: np.ndarray
    predicted: np.ndarray
    confidence: np.ndarray
    basis: tuple[Basis, ...]
    affines: tuple[np.ndarray | None, ...]
    shapes: tuple[tuple[int, ...] | None, ...]
    pairs: tuple[tuple[int, int], ...] = ()
    unit: str = "mm"

    @property
    def centers(self) -> np.ndarray:
        """(N, D) world mm of the middle of each image, NaN where the image is not known."""
        out = np.full((len(self.cases), self.labels.shape[-1]), np.nan)
        for row, (affine, shape) in enumerate(zip(self.affines, self.shapes, strict=True)):
            if affine is not None and shape is not None:
                out[row] = affine[:-1, :-1] @ ((np.array(shape) - 1) / 2) + affine[:-1, -1]
        return out

    def with_labels(self, labels: np.ndarray, status: np.ndarray) -> Cohort:
        """The same cases with other labels."""
        return replace(self, labels=labels, status=status)


@dataclass(frozen=True)
class Finding:
    """Labels that are probably wrong.

    Args:
        case: Index of the case.
        landmarks: Indices of the landmarks; empty where it is about all of the case.
        kind: A key of `kinds.KINDS`.
        score: How much is contradicted, as a multiple of what passes for usual; above 1 it is beyond the threshold.
        distance: Between label and prediction, mm (pixels); the median over a whole case; NaN for a forgotten point.
        predicted: (D,) where the first of the landmarks is expected, world mm; NaN where nothing says it.
        landmark: Index of the landmark to show.
        basis: What it rests on.
        detail: What more is known, as a clause: "as if given in cm".
    """

    case: int
    landmarks: tuple[int, ...]
    kind: str
    score: float
    distance: float
    predicted: np.ndarray
    landmark: int
    basis: Basis
    detail: str = ""


@dataclass(frozen=True)
class Reference:
    """Where the landmarks of the cases are expected, and how far labels usually are from there.

    Args:
        points: (N, L, D) world mm, NaN where nothing is expected.
        scale: (N, L) usual distance of a correct label, mm.
        limit: (N, L) multiple of ``scale`` from which a label is contradicted.
        trusted: (N, L) False where the expectation itself is implausible.
    """

    points: np.ndarray
    scale: np.ndarray
    limit: np.ndarray
    trusted: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), dtype=bool))

    def scores(self, labels: np.ndarray) -> np.ndarray:
        """(N, L) distance as a multiple of what still passes for usual; NaN where it cannot be told."""
        apart = np.linalg.norm(labels - self.points, axis=-1)
        return np.asarray(apart / (self.scale * self.limit))


def usual_scale(distances: np.ndarray, pull: float = 5.0) -> np.ndarray:
    """The median distance of each landmark, drawn towards that of all landmarks where there are few cases: ``(L,)``.

    Args:
        distances: (N, L) mm, NaN where not known.
        pull: Weight of all landmarks together, in cases.
    """
    if not np.isfinite(distances).any():
        return np.full(distances.shape[1], np.nan)
    count = np.isfinite(distances).sum(axis=0)
    every = float(np.nanmedian(distances))
    own = np.array([np.nanmedian(column) if n else every for column, n in zip(distances.T, count, strict=True)])
    return np.maximum((count * own + pull * every) / (count + pull), 1e-9)


def usual_limit(values: np.ndarray, false_alarms: float, least: float = 0.0) -> float:
    """The value that correct ones pass with the probability ``false_alarms``.

    Values are taken as log-normal above their median: median and 80th percentile are hardly moved by the few that are
    wrong, and the tail follows from them.

    Args:
        values: positive numbers, NaN where not known.
        false_alarms: share of the correct values that may lie above the limit.
        least: the limit is never lower.
    """
    from scipy.stats import norm

    known = values[np.isfinite(values) & (values > 0)]
    if not known.size:
        return np.inf
    middle, upper = np.log(np.quantile(known, (0.5, 0.8)))
    spread = (upper - middle) / norm.ppf(0.8)
    return max(float(np.exp(middle + norm.isf(false_alarms) * spread)), least)


def present_in(labels: np.ndarray, status: np.ndarray) -> np.ndarray:
    """Labels (N, L, D) with NaN where a landmark is not present."""
    return np.where((status == PRESENT)[..., None], labels, np.nan)
