"""The step of post-processing that says when the anatomy of a case lies turned against the training cases."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform
from monai.utils import convert_to_tensor

from ..grid.grids import embed_affine, world_to_voxel
from ..points.instances import Instances
from ..points.peaks import unpack_peaks
from ..points.pose.rotations import angle_deg, fit_pose
from ..points.procrustes import size_of
from .poses import read_mean_points

_LOOSE = 0.1
"""Points may lie this share of the shape's size from the mean points; where half of them do not, no turn is told."""


class TurnedCased(MapTransform):
    """Add ``turned_deg`` to ``data["result"]`` where the anatomy lies turned by more than what training had.

    `PoseSearch` has then looked at turned images. The turn is that of the points against the mean points of
    the training cases, about any axis, on the planned grid.

    Args:
        keys: key of the peaks (R, W) in world mm, as `PeaksToWorldd` leaves them.
        ref_image: key of the preprocessed image, a MetaTensor.
        landmarks: path of ``configs/landmarks.json`` with the mean points.
        limit_deg: the largest turn that is not worth a word, degrees.
        instances: which rows belong to which landmark; those with many say nothing of a turn.
    """

    def __init__(
        self,
        keys: KeysCollection = "pred",
        ref_image: str = "image",
        *,
        landmarks: str | Path,
        limit_deg: float,
        instances: Instances | None = None,
    ) -> None:
        super().__init__(keys)
        self.ref_image, self.limit_deg, self.instances = ref_image, float(limit_deg), instances
        self.mean = read_mean_points(landmarks)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return a copy of ``data``."""
        out = dict(data)
        for key in self.key_iterator(out):
            rows = convert_to_tensor(out[key], dtype=torch.float64, device="cpu", track_meta=False)
            turn = self._turn(unpack_peaks(rows).points.numpy(), np.asarray(out[self.ref_image].affine))
            if turn is not None and turn > self.limit_deg:
                out["result"] = {**out["result"], "turned_deg": round(turn, 1)}
        return out

    def _turn(self, points: np.ndarray, affine: np.ndarray) -> float | None:
        """Degrees between points ``(R, D)`` world mm and the mean points; None where they are not alike."""
        if self.mean is None:
            return None
        if self.instances is not None:
            channels = np.asarray(self.instances.channels)
            points = np.stack([points[np.flatnonzero(channels == channel)[0]] for channel in range(len(self.mean))])
        grid = embed_affine(affine, points.shape[1])
        known = np.isfinite(self.mean).all(1)
        if known.sum() <= points.shape[1]:
            return None
        scale = _LOOSE * size_of(self.mean[known])
        fit = fit_pose(self.mean, world_to_voxel(grid, points) * np.linalg.norm(grid[:-1, :-1], axis=0), scale)
        return None if fit is None or np.median(fit.distance[known]) > scale else angle_deg(fit.rotation)
