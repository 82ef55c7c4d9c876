"""How deep in its image a landmark lies, and where the others expect it: evidence of whether the image shows it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from monai.data import MetaTensor

from ..grid.grids import world_to_voxel
from ..images.frame import original_affine, original_shape
from ..points.shape import TRUSTED_SHARE, ShapeModel


@dataclass(frozen=True)
class Extent:
    """The box in the world that the voxels of an image file fill, half a voxel about the outermost centres included.

    Args:
        affine: ``(D+1, D+1)`` voxel to world mm, of the file.
        shape: ``(D,)`` voxels.
    """

    affine: np.ndarray
    shape: np.ndarray

    @classmethod
    def of(cls, image: MetaTensor, spatial_dims: int) -> Extent:
        """That of the file which a preprocessed image comes from."""
        return cls(original_affine(image, spatial_dims), np.asarray(original_shape(image, spatial_dims)))

    @property
    def voxel_mm(self) -> float:
        """The longest edge of a voxel in mm."""
        return float(np.linalg.norm(self.affine[:-1, :-1], axis=0).max())

    def depth(self, points: np.ndarray) -> np.ndarray:
        """Distance ``(R,)`` in mm of world points ``(R, D)`` from the nearest border, negative outside; NaN stays."""
        voxels = world_to_voxel(self.affine, points)
        spacing = np.linalg.norm(self.affine[:-1, :-1], axis=0)
        return (np.minimum(voxels + 0.5, self.shape - 0.5 - voxels) * spacing).min(axis=-1)


def expected_depth(
    points: np.ndarray, confidence: np.ndarray, extent: Extent, shape: ShapeModel | None, channels: Sequence[int]
) -> np.ndarray:
    """How deep in the image the other landmarks expect each one, in units of how far it strays from there.

    The shape of the training cases is fitted robustly to all points, and where so many are wrong that it is silent, to
    the most confident ones. Where the shape expects nothing (few cases, ends that may change places, many instances)
    the point itself says how deep it lies.

    Args:
        points: ``(R, D)`` world mm, NaN where a row has none.
        confidence: ``(R,)``.
        extent: of the image.
        shape: of the training cases; None where nothing is known.
        channels: ``(R,)`` landmark of each row; the first L rows are those of the L landmarks.

    Returns:
        ``(R,)``: about 0 at the border, negative outside of the image, as an inverse hyperbolic sine, so that far is
        far on both sides.
    """
    depth, unit = extent.depth(points), np.full(len(points), extent.voxel_mm)
    if shape is not None:
        count = len(shape.mean)
        known = np.isfinite(shape.known_spread())
        if known.any():
            unit = shape.deviation(extent.voxel_mm)[list(channels)]
        fitted = _fitted(points[:count], confidence[:count], shape, extent.voxel_mm)
        expected = extent.depth(fitted)
        rows = np.arange(len(points)) < count
        depth[rows] = np.where(np.isfinite(expected), expected, depth[rows])
    return np.arcsinh(depth / unit)


def _fitted(points: np.ndarray, confidence: np.ndarray, shape: ShapeModel, voxel_mm: float) -> np.ndarray:
    """Where the shape expects landmarks ``(L, D)`` in world mm, NaN where it does not say."""
    fitted, _, _ = shape.judge(points, voxel_mm)
    judged = np.flatnonzero((shape.known_spread() >= 0) & np.isfinite(points).all(axis=1))
    if np.isfinite(fitted).any() or not len(judged):
        return fitted
    most = judged[np.argsort(-confidence[judged], kind="stable")[: int(np.ceil(TRUSTED_SHARE * len(judged)))]]
    trusted = np.full_like(points, np.nan)
    trusted[most] = points[most]
    return shape.judge(trusted, voxel_mm)[0]
