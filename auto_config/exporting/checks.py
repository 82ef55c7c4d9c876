"""Each export against the network that it was made of: the same patches, and the points of a case."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from auto_config.bundle.opened import OpenBundle
from auto_config.errors import UserError
from auto_config.exporting.stages import StageNetwork, with_networks
from auto_config.prediction.input import TEST, TRAINING, listed_images

LARGEST_SHARE = 1e-3
"""An output may differ by this share of its largest value."""
LARGEST_VOXELS = 0.05
"""A point may differ by this part of a planned voxel, in mm of its finest axis."""


def share_apart(network: StageNetwork, other: Callable[[torch.Tensor], torch.Tensor]) -> float:
    """The largest difference of an export on noise, as a share of the largest value; one patch and two patches.

    Raises:
        UserError: the share is above `LARGEST_SHARE`, or the shape is another one.
    """
    worst = 0.0
    for count in (1, 2):
        patches = network.patches(count)
        with torch.inference_mode():
            wanted, found = network.network(patches), other(patches)
        if found.shape != wanted.shape:
            raise UserError(f"{network.name}: the export gives {tuple(found.shape)}, the network {tuple(wanted.shape)}")
        apart = float((found - wanted).abs().max() / wanted.abs().max().clamp(min=1e-9))
        if not apart <= LARGEST_SHARE:
            raise UserError(
                f"{network.name}: the export differs by {apart:.2g} of the largest value, more than {LARGEST_SHARE:g}; "
                "it is of no use, report it with the versions of torch and onnxruntime"
            )
        worst = max(worst, apart)
    return worst


@dataclass(frozen=True)
class Case:
    """A case that exports are checked with.

    Args:
        path: of its image, or of the first channel.
        data: what `OpenBundle.preprocess` gives for it.
        points: (K, D) mm that the bundle itself finds.
    """

    path: Path
    data: Mapping[str, Any]
    points: np.ndarray

    @classmethod
    def of(cls, opened: OpenBundle, paths: Sequence[Path]) -> Case:
        """Predict the case of an image, one file or one for each channel."""
        data = opened.preprocess(paths)
        return cls(paths[0], data, _points(opened, data))

    def mm_apart(self, opened: OpenBundle, replaced: Callable[[StageNetwork], nn.Module], what: str) -> float:
        """The largest distance in mm of a point by exports from the bundle's own.

        Raises:
            UserError: it is more than `LARGEST_VOXELS` of a planned voxel.
        """
        found = _points(with_networks(opened, replaced), self.data)
        if found.shape != self.points.shape:
            raise UserError(f"{what}: finds {len(found)} points in {self.path}, the bundle {len(self.points)}")
        apart = float(np.linalg.norm(found - self.points, axis=1).max(initial=0.0))
        affine = np.asarray(self.data["image"].affine)[: found.shape[1], : found.shape[1]]
        limit = LARGEST_VOXELS * float(np.linalg.norm(affine, axis=0).min())
        if not apart <= limit:
            raise UserError(
                f"{what}: a point of {self.path} is {apart:.3g} mm off, more than {limit:.3g} mm; where a network "
                "has learnt nothing, any difference moves a maximum: train it, or check with another image (--image)"
            )
        return apart


def _points(opened: OpenBundle, data: Mapping[str, Any]) -> np.ndarray:
    return np.array([item["world"] for item in opened.predict(data)["result"]["landmarks"]], dtype=np.float64)


def image_of(root: Path) -> tuple[Path, ...] | None:
    """Files of the first image of the bundle's data list that is there, of the test cases before the training cases."""
    path = root / "data" / "datalist.json"
    if not path.is_file():
        return None
    images = [*listed_images(path, TEST).values(), *listed_images(path, TRAINING).values()]
    return next((files for files in images if all(file.exists() for file in files)), None)
