"""Crops turned upright in training, as prediction turns them: by the pose of the points, off as coarse points are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...points.landmarks import PRESENT
from ...points.pose.rotations import proper, random_rotation, tells_pose
from ...points.procrustes import procrustes, similarity
from ..shape_fit import training_shapes, upright_mean


class UprightPose:
    """How a case lies against the mean shape of the training cases, the one that `FitShape` gives the network.

    Args:
        data: the training cases, with labels.
        landmarks: path of ``configs/landmarks.json``, or the names.
        spatial_dims: D.
        flip_pairs: as `scripts.training.shape_fit.FitShape` has it.
    """

    def __init__(
        self,
        data: Sequence[Mapping[str, Any]],
        landmarks: str | Sequence[str],
        spatial_dims: int = 3,
        flip_pairs: str | Path | Sequence[int] | None = None,
    ) -> None:
        self.mean = upright_mean(procrustes(training_shapes(data, landmarks, spatial_dims))[0], flip_pairs)

    def rotation(self, rng: np.random.Generator, points: np.ndarray, status: np.ndarray, jitter: float) -> np.ndarray:
        """From directions of an upright crop to those of the image, off by what coarse points are off.

        Args:
            rng: source of randomness.
            points: ``(L, D)`` mm in the frame of the image.
            status: ``(L,)``.
            jitter: standard deviation of coarse points in mm, for each axis.

        Returns:
            ``(D, D)`` rotation. Any one where the points do not tell: prediction does not turn such a case either.
        """
        noise, any_one = rng.normal(size=points.shape) * jitter, random_rotation(rng, points.shape[1])
        known = np.isfinite(self.mean).all(1) & (status == PRESENT) & np.isfinite(points).all(1)
        source, target = self.mean[known], (points + noise)[known]
        if not known.any() or not (tells_pose(source) and tells_pose(target)):
            return any_one
        return proper(similarity(source, target, np.ones(len(source)))[:-1, :-1])
