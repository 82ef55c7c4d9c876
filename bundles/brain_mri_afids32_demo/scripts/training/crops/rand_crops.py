"""Crops around landmarks, for training: jittered, turned and scaled, in one resampling each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ...grid.turning import turning
from ...points.landmarks import PRESENT
from ..deformation import draw_deformation, in_patch
from ..field_of_view import crop_center, crop_status
from ..patches import Frame, SpatialAugmentation, patch_affine
from .jitter import draw_jitter, read_errors
from .upright import UprightPose


@dataclass
class RandCropsd:
    """Crops around jittered landmarks, augmented: the fine stage of two.

    Adds ``data[name]`` as `RandPatchd` does, with ``count`` crops. Present landmarks outside of a crop become unknown
    there: the fine stage answers only for what lies in front of it. Absent ones stay absent: wherever it looks, they
    are not there. Of those that a cut of the field of view took, see `scripts.training.field_of_view.crop_status`.

    Args:
        key: key of the image on the planned grid.
        name: name of the stage.
        size: crop shape in voxels.
        count: crops for each sample.
        jitter: standard deviation in mm, for each axis, of the crop's centre about its landmark: what the coarse
            stage errs.
        augmentation: how crops are turned and scaled.
        pad_value: value of air.
        cut_share: share of the samples whose field of view is cut, the same samples as in the coarse stage.
        upright: turns crops upright by the pose of the points before they are augmented; None leaves them as they lie.
        errors: file of out-of-fold errors of the coarse stage, from which the distance of the centre from its landmark
            is drawn instead (`read_errors`), if it is not so long that the crop would not hold the landmark.

    Raises:
        ValueError: `errors` cannot be used.
    """

    key: str
    name: str
    size: Sequence[int]
    count: int
    jitter: float
    augmentation: SpatialAugmentation = field(default_factory=SpatialAugmentation)
    pad_value: float = 0.0
    cut_share: float = 0.0
    upright: UprightPose | None = None
    errors: str | Path | None = None

    def __post_init__(self) -> None:
        self.lengths = None if self.errors is None else read_errors(self.errors)

    def __call__(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Make the crops."""
        rng = np.random.default_rng([data["seed"], data["index"], 2])
        turns = np.random.default_rng([data["seed"], data["index"], 6])
        bends = np.random.default_rng([data["seed"], data["index"], 8])
        frame = Frame(data, self.key, self.cut_share)
        matrices, centers, labels, deformations = [], [], [], []
        for _ in range(self.count):
            matrix = self.augmentation.matrix(rng, frame.spacing)
            if self.upright is not None:
                standing = self.upright.rotation(turns, frame.points * frame.spacing, frame.status, self.jitter)
                matrix = turning(standing, frame.spacing) @ matrix
            points, status = self.augmentation.swap(matrix, frame.points, frame.status)
            _, cut_off = self.augmentation.swap(matrix, frame.points, frame.cut_off)
            pick = rng.uniform()
            most = float((np.asarray(self.size) * frame.spacing).min()) / 2
            jitter = draw_jitter(rng, len(frame.spacing), self.jitter, self.lengths, most) / frame.spacing
            aim: int | None = None
            if frame.is_cut:
                seen = {"points": points, "status": status, "cut_off": cut_off, "shape": frame.shape}
                center, aim = crop_center(frame.random, pick, jitter, **seen)
            else:
                present = np.flatnonzero(status == PRESENT)
                around = points[present[int(pick * len(present))]] if len(present) else (frame.shape - 1) / 2
                center = around + jitter
            bend = draw_deformation(self.augmentation.deformation, bends, self.size, frame.spacing)
            local = in_patch(patch_affine(matrix, center, self.size), points, bend)
            outside = np.any((local < -0.5) | (local > np.asarray(self.size) - 0.5) | np.isnan(local), axis=-1)
            matrices.append(matrix)
            centers.append(center)
            deformations.append(bend)
            labels.append((points, crop_status(frame.random, status, cut_off, outside, aim)))
        return {**data, self.name: frame.cut(matrices, centers, labels, self.size, self.pad_value, deformations)}
