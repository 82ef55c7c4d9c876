"""Post-processing of ``inference.json``: peaks to world points, to ``result`` and to a label map of balls.

The transforms also run in MONAI Label's stock bundle app: what they need of the image, its affine on the planned grid
and the affine and shape of the original file, is in the MetaTensor that the preprocessing leaves.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform
from monai.utils import convert_to_tensor

from .grids import apply_affine, embed_affine
from .image_frame import original_affine, original_shape
from .label_map import draw_balls
from .landmark_names import read_landmark_names
from .peaks import Peaks, unpack_peaks


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

    Each landmark has ``name``, ``world`` (mm, RAS in 3D), ``voxel`` (of the original image), ``confidence``,
    ``present`` (1 or 0), ``radius_mm`` (null until a model is calibrated), ``spread_mm`` (standard deviation of the
    heatmap around the peak), ``disagreement_mm`` (of the views; null where there is one), ``shape_distance_mm`` (null
    where not judged) and ``replaced``. MONAI Label sends it to its clients as ``params``.

    Args:
        keys: key of the peaks (L, W) in world mm, as `PeaksToWorldd` leaves them.
        ref_image: key of the preprocessed image, a MetaTensor whose meta data has ``original_affine``.
        landmarks: path of ``configs/landmarks.json``, or the names in channel order.

    Raises:
        ValueError: when made, if the names cannot be read.
    """

    def __init__(
        self, keys: KeysCollection = "pred", ref_image: str = "image", *, landmarks: str | Path | Sequence[str]
    ) -> None:
        super().__init__(keys)
        self.ref_image = ref_image
        self.names = read_landmark_names(landmarks)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return a copy of ``data`` with ``result``.

        Raises:
            ValueError: another number of peaks than names, or coordinates that are not finite (broken weights).
        """
        result = dict(data)
        for key in self.key_iterator(result):
            peaks = _as_peaks(result[key])
            points = peaks.points.numpy()
            if len(points) != len(self.names):
                raise ValueError(
                    f"the network gave {len(points)} peaks, configs/landmarks.json names {len(self.names)} landmarks"
                )
            original = original_affine(result[self.ref_image], points.shape[1])
            voxels = apply_affine(np.linalg.inv(original), points)
            result["result"] = {"landmarks": _describe(self.names, peaks, voxels)}
        return result


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
            if "result" in result:
                points[[not item["present"] for item in result["result"]["landmarks"]]] = np.nan
            image = result[self.ref_image]
            affine = original_affine(image, dims)
            labels = draw_balls(points, original_shape(image, dims), affine, self.radius_mm)
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
                "spread_mm": float(peaks.spread[i]),
                "disagreement_mm": _number_or_none(peaks.disagreement[i]),
                "shape_distance_mm": _number_or_none(peaks.shape_distance[i]),
                "replaced": bool(peaks.replaced[i]),
            }
        )
    return described


def _number_or_none(value: torch.Tensor) -> float | None:
    return None if math.isnan(value) else float(value)
