"""Post-processing of ``inference.json``: peaks to world points, to ``result`` and to a label map of balls.

The transforms also run in MONAI Label's stock bundle app: what they need of the image, its affine on the planned grid
and the affine and shape of the original file, is in the MetaTensor that the preprocessing leaves.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
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

EXTRA_COLUMNS = 3  # confidence, shape_distance_mm, replaced


class PeaksToWorldd(MapTransform):
    """Turn the voxel columns of peaks into world millimetres through the affine of the planned grid.

    ``data[key]`` (L, D + 3), first D columns in voxels of ``data[ref_image]``, becomes (L, D + 3) float64 on the CPU
    with the first D columns in world mm (RAS in 3D); the other columns stay as they are.

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
            dims = peaks.shape[1] - EXTRA_COLUMNS
            affine = embed_affine(result[self.ref_image].affine, dims)
            peaks[:, :dims] = torch.from_numpy(apply_affine(affine, peaks[:, :dims].numpy()))
            result[key] = peaks
        return result


class LandmarkResultd(MapTransform):
    """Write ``data["result"]``: the landmarks by name as plain numbers that any JSON writer takes.

    Each landmark has ``name``, ``world`` (mm, RAS in 3D), ``voxel`` (of the original image), ``confidence``,
    ``present`` (1 or 0), ``radius_mm`` (null until a model is calibrated), ``shape_distance_mm`` (null where not
    judged) and ``replaced``. MONAI Label sends it to its clients as ``params``.

    Args:
        keys: key of the peaks (L, D + 3) in world mm, as `PeaksToWorldd` leaves them.
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
            peaks = _as_peaks(result[key]).numpy()
            if len(peaks) != len(self.names):
                raise ValueError(
                    f"the network gave {len(peaks)} peaks, configs/landmarks.json names {len(self.names)} landmarks"
                )
            dims = peaks.shape[1] - EXTRA_COLUMNS
            original = original_affine(result[self.ref_image], dims)
            voxels = apply_affine(np.linalg.inv(original), peaks[:, :dims])
            result["result"] = {
                "landmarks": [_describe(*row) for row in zip(self.names, peaks, voxels, strict=True)],
            }
        return result


class BallLabelMapd(MapTransform):
    """Replace peaks by a label map of balls on the grid of the original image.

    ``data[key]`` becomes a MetaTensor (1, original shape...) with the original affine, uint8 (uint16 for more than 255
    landmarks); landmark ``i`` of the channel order has the value ``i + 1``. Landmarks that ``data["result"]`` calls
    absent are not drawn. Balls are round in world mm and split halfway where they touch.

    Args:
        keys: key of the peaks (L, D + 3) in world mm.
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
            peaks = _as_peaks(result[key]).numpy()
            dims = peaks.shape[1] - EXTRA_COLUMNS
            points = peaks[:, :dims].copy()
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


def _as_peaks(value: Any) -> torch.Tensor:
    """A float64 copy of peaks on the CPU, without meta data."""
    peaks = convert_to_tensor(value, dtype=torch.float64, device="cpu", track_meta=False).clone()
    if peaks.ndim != 2 or peaks.shape[1] - EXTRA_COLUMNS not in (2, 3):
        raise ValueError(f"peaks have the shape (L, 5) in 2D or (L, 6) in 3D, got {tuple(peaks.shape)}")
    return peaks


def _describe(name: str, peak: np.ndarray, voxel: np.ndarray) -> dict[str, Any]:
    """One landmark of ``result`` from its peak in world mm and its voxel in the original image."""
    world, (confidence, shape_distance, replaced) = peak[:-EXTRA_COLUMNS], peak[-EXTRA_COLUMNS:]
    if not np.isfinite(world).all():
        raise ValueError(
            f"the network gave no finite coordinates for landmark '{name}'; its weights are damaged, train it again"
        )
    return {
        "name": name,
        "world": [float(x) for x in world],
        "voxel": [float(x) for x in voxel],
        "confidence": float(confidence),
        "present": 1,
        "radius_mm": None,
        "shape_distance_mm": None if math.isnan(shape_distance) else float(shape_distance),
        "replaced": bool(replaced),
    }
