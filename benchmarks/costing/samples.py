"""A training sample with augmentation on one core: ours, and MONAI's transforms with the same effects."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import (
    Compose,
    RandAdjustContrastd,
    RandAffined,
    RandGaussianNoised,
    RandGaussianSmoothd,
    RandScaleIntensityd,
    RandSimulateLowResolutiond,
    RandSpatialCropd,
)

from auto_config.bundle_scripts.training.augmentation import IntensityAugmentation
from auto_config.bundle_scripts.training.patches import RandPatchd, SpatialAugmentation
from costing.measuring import Work

_SAMPLES = 4
_TURN = 0.52
_NOISE, _BLUR, _FACTOR, _GAMMA, _LOW = 0.1, (0.5, 1.0), (0.75, 1.25), (0.7, 1.5), (0.5, 1.0)


def _image(options: dict[str, Any]) -> MetaTensor:
    torch.manual_seed(0)
    return MetaTensor(torch.randn(1, *[options["size"] * 3 // 2] * 3), affine=torch.eye(4))


def ours(options: dict[str, Any]) -> Work:
    """One interpolation for crop, turn and scale, then intensities in batch."""
    image, edge = _image(options), options["size"]
    turning = SpatialAugmentation(rotation=_TURN, scale=(0.7, 1.4))
    patch = RandPatchd("image", "fine", [edge] * 3, turning)
    grey = IntensityAugmentation(
        noise=(0.1, _NOISE),
        blur=(0.2, *_BLUR),
        brightness=(0.15, *_FACTOR),
        contrast=(0.15, *_FACTOR),
        gamma=(0.3, *_GAMMA),
        low_resolution=(0.25, *_LOW),
    )
    points = np.random.default_rng(0).uniform(0, edge, (32, 3))

    def make() -> None:
        for index in range(_SAMPLES):
            data = {"image": image, "label": points, "status": np.ones(32, dtype=np.int8), "seed": 0, "index": index}
            grey(patch(data)["fine"]["image"], np.array([[0, index]]))

    return make


def usual(options: dict[str, Any]) -> Work:
    """MONAI's dictionary transforms; the crop is cut larger, so that a turned patch holds no air."""
    image, edge = _image(options), options["size"]
    steps = Compose(
        [
            RandSpatialCropd("image", [edge * 5 // 4] * 3, random_size=False),
            RandAffined(
                "image",
                prob=1.0,
                spatial_size=[edge] * 3,
                rotate_range=[_TURN] * 3,
                scale_range=[(-0.3, 0.4)] * 3,
                padding_mode="zeros",
            ),
            RandGaussianNoised("image", prob=0.1, std=_NOISE),
            RandGaussianSmoothd("image", prob=0.2, sigma_x=_BLUR, sigma_y=_BLUR, sigma_z=_BLUR),
            RandScaleIntensityd("image", prob=0.3, factors=0.25),
            RandSimulateLowResolutiond("image", prob=0.25, zoom_range=_LOW),
            RandAdjustContrastd("image", prob=0.3, gamma=_GAMMA, retain_stats=True),
        ]
    )
    steps.set_random_state(0)

    def make() -> None:
        for _ in range(_SAMPLES):
            steps({"image": image})

    return make
