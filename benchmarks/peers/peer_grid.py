"""One grid for all images, as packages want it that resize every image to one shape; points there and back, exactly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from auto_config.bundle_scripts.grid.grids import apply_affine
from auto_config.bundle_scripts.images.frame import image_center
from auto_config.errors import UserError


@dataclass(frozen=True)
class PeerGrid:
    """A box of cubic voxels along the axes of the world, laid around the middle of each image.

    Attributes:
        spacing: world mm of a voxel, along every axis.
        shape: (D,) voxels; the axes of arrays are those of the world, x first.
    """

    spacing: float
    shape: tuple[int, ...]

    def affine(self, center: np.ndarray) -> np.ndarray:
        """Affine (D + 1, D + 1) from voxels to world mm, where `center` (D,) world mm is the middle of the box."""
        dims = len(self.shape)
        affine = np.eye(dims + 1)
        affine[:dims, :dims] *= self.spacing
        affine[:dims, dims] = np.asarray(center) - self.spacing * (np.array(self.shape) - 1) / 2
        return affine

    def voxels(self, points: np.ndarray, center: np.ndarray) -> np.ndarray:
        """Points (..., D) in world mm as voxels, whole numbers at the centres of voxels; NaN stays NaN."""
        return apply_affine(np.linalg.inv(self.affine(center)), np.asarray(points, dtype=np.float64))

    def world(self, voxels: np.ndarray, center: np.ndarray) -> np.ndarray:
        """The way back of `voxels`: (..., D) voxels as world mm."""
        return apply_affine(self.affine(center), np.asarray(voxels, dtype=np.float64))

    def sampled(self, array: np.ndarray, affine: np.ndarray) -> np.ndarray:
        """An image on this grid, around its middle; outside of the image its values at the border go on.

        Axes that become coarser are smoothed before, as by the `anti_aliasing` of MONAI's `Resize`.

        Args:
            array: (C, *spatial), spatial axes in any order and direction.
            affine: (D + 1, D + 1) of the image, voxel to world mm.

        Returns:
            (C, *shape) float32.
        """
        dims = len(self.shape)
        center = image_center(array.shape[1:], affine)
        own = np.linalg.norm(affine[:dims, :dims], axis=0)
        sigmas = np.maximum(0.0, (self.spacing / own - 1) / 2)
        there = np.linalg.inv(affine) @ self.affine(center)
        channels = [
            ndimage.affine_transform(
                ndimage.gaussian_filter(channel.astype(np.float32), sigmas, mode="nearest"),
                there[:dims, :dims],
                there[:dims, dims],
                output_shape=self.shape,
                order=1,
                mode="nearest",
            )
            for channel in array
        ]
        return np.stack(channels)


def peer_grid(boxes: Sequence[tuple[Sequence[int], np.ndarray]], edge: int, multiple: int = 32) -> PeerGrid:
    """The finest grid that holds each image whole and whose longest edge has `edge` voxels.

    Args:
        boxes: shape (D,) in voxels and affine (D + 1, D + 1) to world mm of each image, one or more.
        edge: voxels of the longest edge, a multiple of `multiple`.
        multiple: what the other edges are rounded up to: networks halve them so often.

    Raises:
        UserError: `edge` is no multiple.
    """
    if edge < multiple or edge % multiple:
        raise UserError(f"--edge is {edge} voxels; give a multiple of {multiple}")
    # Of an image that lies askew, the box around its corners.
    extents = [np.abs(np.asarray(affine)[:-1, :-1]) @ np.asarray(shape, dtype=float) for shape, affine in boxes]
    largest = np.max(extents, axis=0)
    spacing = float(largest.max() / edge)
    # Not a whole step more for the last digit of a division.
    steps = np.ceil(largest / spacing / multiple - 1e-9).astype(int)
    return PeerGrid(spacing, tuple(int(n) for n in steps * multiple))
