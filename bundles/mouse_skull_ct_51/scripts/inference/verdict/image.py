"""What the verdict needs of an image: where it lies, how large it is, and the grey values that the network sees."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from monai.data import MetaTensor

from ...grid.grids import embed_affine, world_to_voxel
from ...images.frame import image_center, original_affine, original_shape
from .columns import QUANTILES, grey_names

_SAMPLE = 200_000


@dataclass(frozen=True)
class ImageNumbers:
    """Numbers of a preprocessed image, D axes and C channels.

    Args:
        affine: (D + 1, D + 1) voxel to world mm of the original file.
        shape: (D,) voxels of the original file.
        extent: (D,) mm of the planned grid, so without a constant background.
        voxel_mm: largest edge of a voxel of the planned grid.
        greys: (C, Q) `QUANTILES` of the body after normalisation.
    """

    affine: np.ndarray
    shape: np.ndarray
    extent: np.ndarray
    voxel_mm: float
    greys: np.ndarray

    @property
    def centre(self) -> np.ndarray:
        """(D,) world mm of the middle of the original image."""
        return image_center(tuple(int(n) for n in self.shape), self.affine)

    @property
    def spacing(self) -> np.ndarray:
        """(D,) mm of the original voxels, the finest first: files may store their axes in any order."""
        return np.sort(np.linalg.norm(self.affine[:-1, :-1], axis=0))

    def at_border(self, points: np.ndarray) -> np.ndarray:
        """(L,) bool: points (L, D) world mm within a planned voxel of the image's border, or beyond it."""
        edges = np.linalg.norm(self.affine[:-1, :-1], axis=0)
        mm = world_to_voxel(self.affine, points) * edges
        last = (np.asarray(self.shape) - 1) * edges
        # A picture's border is its outermost voxels; an image as thin as a voxel has nothing else.
        margin = np.minimum(self.voxel_mm, last / 4)
        return ((mm < margin) | (mm > last - margin)).any(axis=1)

    def values(self, ranges: Mapping[str, Mapping[str, list[float]]] | None) -> dict[str, float]:
        """The columns of the image.

        Args:
            ranges: ``low`` and ``high`` (D,) of the ``spacing`` and ``extent`` of the training cases.
        """
        found = dict(zip(grey_names(len(self.greys)), self.greys.ravel().tolist(), strict=True))
        for name, value in (("spacing", self.spacing), ("extent", self.extent)):
            if ranges and name in ranges:
                found[name] = beyond(value, np.array(ranges[name]["low"]), np.array(ranges[name]["high"]))
        return found

    def pack(self) -> np.ndarray:
        """All numbers in a row, for `unpack`."""
        parts = (self.affine.ravel(), self.shape, self.extent, [self.voxel_mm], self.greys.ravel())
        return np.concatenate([np.asarray(part, dtype=np.float64) for part in parts])

    @classmethod
    def unpack(cls, row: np.ndarray, dims: int) -> ImageNumbers:
        """The numbers of `pack` of an image with `dims` axes."""
        ends = np.cumsum([(dims + 1) ** 2, dims, dims, 1])
        affine, shape, extent, voxel, greys = np.split(np.asarray(row, dtype=np.float64), ends)
        return cls(
            affine.reshape(dims + 1, dims + 1),
            shape.astype(int),
            extent,
            float(voxel[0]),
            greys.reshape(-1, len(QUANTILES)),
        )


def image_numbers(image: MetaTensor, spatial_dims: int) -> ImageNumbers:
    """The numbers of an image (C, *size) on the planned grid, whose meta data is that of its file."""
    planned = np.linalg.norm(embed_affine(image.affine, spatial_dims)[:-1, :-1], axis=0)
    grey = np.asarray(image.as_tensor().float().cpu())
    return ImageNumbers(
        affine=original_affine(image, spatial_dims),
        shape=np.array(original_shape(image, spatial_dims)),
        extent=planned * np.array(grey.shape[1:]),
        voxel_mm=float(planned.max()),
        greys=np.stack([body_quantiles(channel) for channel in grey]),
    )


def body_quantiles(channel: np.ndarray) -> np.ndarray:
    """`QUANTILES` of the voxels above the mean, so that they do not follow how much air an image has around."""
    flat = channel.ravel()
    sample = flat[:: max(1, flat.size // _SAMPLE)].astype(np.float64)
    body = sample[sample > sample.mean()]
    return np.quantile(body if body.size else sample, QUANTILES)


def beyond(values: np.ndarray, low: np.ndarray, high: np.ndarray) -> float:
    """Logarithm of the factor by which the farthest of some lengths (D,) lies outside of its range; 0 within."""
    with np.errstate(divide="ignore"):
        outside = np.maximum(np.log(values) - np.log(high), np.log(low) - np.log(values))
    return float(max(0.0, np.nan_to_num(outside, nan=0.0, posinf=math.log(1e6)).max()))
