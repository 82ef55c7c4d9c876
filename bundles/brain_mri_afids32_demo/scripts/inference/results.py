"""Post-processing of ``inference.json``: peaks to world points, to ``result`` and to a label map of balls.

The transforms also run in MONAI Label's stock bundle app: what they need of the image, its affine on the planned grid
and the affine and shape of the original file, is in the MetaTensor that the preprocessing leaves.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform
from monai.utils import convert_to_tensor

from ..grid.grids import apply_affine, embed_affine
from ..grid.label_map import draw_balls
from ..images.frame import original_affine, original_shape
from ..points.instances import Instances
from ..points.landmark_names import read_landmark_names
from ..points.nms import candidates
from ..points.peaks import Peaks, unpack_peaks
from .calibration import read_calibration
from .extent import Extent


class PeaksToWorldd(MapTransform):
    """Turn the voxels of peaks into world millimetres through the affine of the planned grid.

    ``data[key]``, rows of peaks (L, W) in voxels of ``data[ref_image]``, become float64 rows on the CPU with points in
    world mm (RAS in 3D) and covariances in mm²; the other columns stay as they are.

    Args:
        keys: keys of the peaks.
        ref_image: key of the preprocessed image, a MetaTensor (C, spatial...) with D spatial axes.
    """

    def __init__(self, keys: KeysCollection = "pred", ref_image: str = "image") -> None:
        super().__init__(keys)
        self.ref_image = ref_image

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return a copy of ``data`` with world peaks; raises ValueError for peaks of another shape."""
        result = dict(data)
        for key in self.key_iterator(result):
            peaks = _as_peaks(result[key])
            dims = peaks.points.shape[1]
            affine = embed_affine(result[self.ref_image].affine, dims)
            linear = torch.from_numpy(affine[:dims, :dims])
            world = replace(
                peaks,
                points=torch.from_numpy(apply_affine(affine, peaks.points.numpy())),
                covariance=linear @ peaks.covariance @ linear.T,
            )
            result[key] = world.pack()
        return result


class LandmarkResultd(MapTransform):
    """Write ``data["result"]``: the landmarks by name as plain numbers that any JSON writer takes.

    Each landmark has

    - ``name``, ``world`` (mm, RAS in 3D), ``voxel`` (of the original image),
    - ``confidence``: the probability that it is there (of an instance: that it is one); the sigmoid of the peak until a
      model is calibrated,
    - ``present``: 1 or 0,
    - ``radius_mm``: of the ball that holds it with the probability ``level``; null until a model is calibrated, or
      where the calibration cases are too few for a finite one,
    - ``ellipsoid_mm2``: matrix M of the region ``(x - world)' M^-1 (x - world) <= 1`` of the same probability, or null,
    - ``spread_mm`` and ``covariance_mm2`` of the heatmap around the peak, to the latter added how raters differ where
      regions were calibrated with their points,
    - ``disagreement_mm``: of the views; null where there is one,
    - ``shape_distance_mm`` (null where not judged) and ``replaced``,
    - ``implausible``: whether a calibrated model finds the point farther from the shape of the others than that
      landmark ever strays, as after an exchange of left and right; null where nobody judged.

    MONAI Label sends it to its clients as ``params``.

    Args:
        keys: key of the peaks (L, W) in world mm, as `PeaksToWorldd` leaves them.
        ref_image: key of the preprocessed image, a MetaTensor whose meta data has ``original_affine``.
        landmarks: path of ``configs/landmarks.json``, or the names in channel order.
        calibration: path of ``models/calibration.json``, which need not be there; None for none.
        level: nominal probability of the regions.
        all_present: call every landmark present, whatever the calibration says.
        instances: which rows of peaks belong to which landmark, where there are many of one or two may change places. A
            landmark with many is there once for each instance with enough confidence, with its number ``instance`` from
            1; where none has enough, the most confident one is there as not present. Enough is what the calibration
            says, and where there is none, what the training chose.

    Raises:
        ValueError: when made, if the names or the calibration cannot be read, or the level was not calibrated.
    """

    def __init__(
        self,
        keys: KeysCollection = "pred",
        ref_image: str = "image",
        *,
        landmarks: str | Path | Sequence[str],
        calibration: str | Path | None = None,
        level: float = 0.9,
        all_present: bool = False,
        instances: Instances | None = None,
    ) -> None:
        super().__init__(keys)
        self.ref_image = ref_image
        self.names = read_landmark_names(landmarks)
        self.instances = Instances.single(self.names) if instances is None else instances
        self.calibration = None if calibration is None else read_calibration(calibration, self.names)
        self.all_present, self.level = all_present, level
        if self.calibration is not None:
            self.calibration.region("ball_mm", level)  # tells of a wrong level before anything is predicted

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return a copy of ``data`` with ``result``, whose ``level`` is that of the regions where there are some.

        Raises:
            ValueError: another number of peaks than names, or coordinates that are not finite (broken weights).
        """
        result = dict(data)
        for key in self.key_iterator(result):
            peaks = _as_peaks(result[key])
            points = peaks.points.numpy()
            if len(points) != len(self.instances.channels):
                raise ValueError(
                    f"the network gave {len(points)} peaks, configs/landmarks.json names {len(self.names)} landmarks"
                )
            original = original_affine(result[self.ref_image], points.shape[1])
            voxels = apply_affine(np.linalg.inv(original), points)
            voxel = np.linalg.norm(embed_affine(result[self.ref_image].affine, points.shape[1])[:-1, :-1], axis=0)
            extent = None
            if self.calibration is not None and self.calibration.needs_extent:
                extent = Extent.of(result[self.ref_image], points.shape[1])
            result["result"] = {"landmarks": self._landmarks(peaks, voxels, float(voxel.max()), extent)}
            if self.calibration is not None:
                result["result"]["level"] = self.level
        return result

    def _landmarks(
        self, peaks: Peaks, voxels: np.ndarray, voxel_mm: float, extent: Extent | None
    ) -> list[dict[str, Any]]:
        """The landmarks of ``result``: the rows that count, those of one landmark together."""
        known, of = self.instances, self.instances.channels
        judged = None if self.calibration is None else self.calibration.probability(peaks, of, extent)
        confidence = peaks.confidence.double().numpy() if judged is None else judged
        limits = (
            np.array(known.thresholds) if self.calibration is None or judged is None else self.calibration.thresholds
        )
        candidate = np.isfinite(peaks.points.numpy()).all(axis=1)
        if judged is not None:
            several = np.array(known.many)[list(of)]
            candidate = np.where(several, candidates(peaks.points.numpy(), peaks.confidence.numpy()), candidate)
        rows = known.counted(confidence, candidate, limits)
        channels = [of[row] for row in rows]
        kept = Peaks(*(getattr(peaks, column.name)[rows] for column in fields(peaks)))
        landmarks = _describe([self.names[channel] for channel in channels], kept, voxels[rows])
        for place, (item, row, channel) in enumerate(zip(landmarks, rows, channels, strict=True)):
            item["confidence"] = float(confidence[row])
            if known.many[channel]:
                item["instance"] = place - channels.index(channel) + 1
            if not self.all_present and (known.many[channel] or judged is not None):
                item["present"] = int(candidate[row] and confidence[row] >= limits[channel])
        if self.calibration is not None:
            self._add_regions(landmarks, channels, kept)
            self._add_shape(landmarks, channels, kept, voxel_mm)
        return landmarks

    def _add_regions(self, landmarks: list[dict[str, Any]], channels: list[int], peaks: Peaks) -> None:
        """Write the regions into landmarks of some channels with their peaks."""
        assert self.calibration is not None
        radius = self.calibration.region("ball_mm", self.level)
        factor = self.calibration.region("ellipsoid", self.level)
        raters = self.calibration.rater_covariance
        for item, channel, covariance in zip(landmarks, channels, peaks.covariance, strict=True):
            spread = covariance if raters is None else covariance + torch.from_numpy(raters[channel])
            item["covariance_mm2"] = spread.tolist()
            item["radius_mm"] = float(radius[channel]) if math.isfinite(radius[channel]) else None
            if math.isfinite(factor[channel]):
                item["ellipsoid_mm2"] = (spread * factor[channel] ** 2).tolist()

    def _add_shape(self, landmarks: list[dict[str, Any]], channels: list[int], peaks: Peaks, voxel_mm: float) -> None:
        """Write what the shape says of the landmarks that are present; it knows none of those without a fixed place."""
        assert self.calibration is not None
        if self.calibration.shape is None:
            return
        points = np.full((len(self.names), peaks.points.shape[1]), np.nan)
        for item, channel, point in zip(landmarks, channels, peaks.points.numpy(), strict=True):
            if item["present"] and not self.instances.many[channel]:
                points[channel] = point
        _, distance, far = self.calibration.shape.judge(points, voxel_mm)
        for item, channel in zip(landmarks, channels, strict=True):
            item["implausible"] = bool(far[channel]) if math.isfinite(distance[channel]) else None


class BallLabelMapd(MapTransform):
    """Replace peaks by a label map of balls on the grid of the original image.

    ``data[key]`` becomes a MetaTensor (1, original shape...) with the original affine, uint8 (uint16 for more than 255
    landmarks); landmark ``i`` of the channel order has the value ``i + 1``. Landmarks that ``data["result"]`` calls
    absent are not drawn. Balls are round in world mm and split halfway where they touch.

    Args:
        keys: key of the peaks (L, W) in world mm.
        ref_image: key of the preprocessed image with ``original_affine`` and ``spatial_shape`` in its meta data.
        radius_mm: radius of the balls in world mm.
    """

    def __init__(self, keys: KeysCollection = "pred", ref_image: str = "image", *, radius_mm: float) -> None:
        super().__init__(keys)
        self.ref_image = ref_image
        self.radius_mm = radius_mm

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return a copy of ``data`` with the label map in the place of the peaks."""
        result = dict(data)
        for key in self.key_iterator(result):
            points = _as_peaks(result[key]).points.numpy().copy()
            dims = points.shape[1]
            values = np.arange(len(points)) + 1
            if "result" in result:
                items = result["result"]["landmarks"]
                names = list(dict.fromkeys(item["name"] for item in items))
                points = np.array([item["world"] for item in items], dtype=np.float64)
                points[[not item["present"] for item in items]] = np.nan
                values = np.array([names.index(item["name"]) + 1 for item in items])
            image = result[self.ref_image]
            affine = original_affine(image, dims)
            labels = draw_balls(points, original_shape(image, dims), affine, self.radius_mm, values)
            # The whole affine of the file, which has four rows for a 2D picture too.
            meta = {
                **image.meta,
                "affine": torch.as_tensor(np.asarray(image.meta["original_affine"], dtype=np.float64)),
            }
            result[key] = MetaTensor(torch.from_numpy(labels)[None], meta=meta)
        return result


def _as_peaks(value: Any) -> Peaks:
    """A float64 copy of rows of peaks on the CPU, without meta data."""
    return unpack_peaks(convert_to_tensor(value, dtype=torch.float64, device="cpu", track_meta=False).clone())


def _describe(names: Sequence[str], peaks: Peaks, voxels: np.ndarray) -> list[dict[str, Any]]:
    """The landmarks of ``result`` from peaks in world mm and their voxels (L, D) in the original image."""
    described = []
    for i, name in enumerate(names):
        if not torch.isfinite(peaks.points[i]).all():
            raise ValueError(
                f"the network gave no finite coordinates for landmark '{name}'; its weights are damaged, train it again"
            )
        described.append(
            {
                "name": name,
                "world": peaks.points[i].tolist(),
                "voxel": [float(x) for x in voxels[i]],
                "confidence": float(peaks.confidence[i]),
                "present": 1,
                "radius_mm": None,
                "ellipsoid_mm2": None,
                "spread_mm": float(peaks.spread[i]),
                "covariance_mm2": peaks.covariance[i].tolist(),
                "disagreement_mm": _number_or_none(peaks.disagreement[i]),
                "shape_distance_mm": _number_or_none(peaks.shape_distance[i]),
                "replaced": bool(peaks.replaced[i]),
                "implausible": None,
            }
        )
    return described


def _number_or_none(value: torch.Tensor) -> float | None:
    return None if math.isnan(value) else float(value)
