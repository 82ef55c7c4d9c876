"""Images spoiled on purpose, as they go wrong in practice: turned, of another scale of grey values, cut, something else.

All work on grey values before their normalisation, and say where the points of the image went.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.spatial.transform import Rotation

from auto_config.bundle_scripts.grid.grids import world_to_voxel
from auto_config.bundle_scripts.images.frame import image_center

_BLOCKS = 4  # on each axis, of an image that is no anatomy any more


@dataclass(frozen=True)
class SpoiledImage:
    """An image after it was spoiled.

    Args:
        array: (C, *size) grey values, on the grid that the image had.
        points: (R, D) world mm of its landmarks, NaN where they are outside or no more.
    """

    array: np.ndarray
    points: np.ndarray


Spoiling = Callable[[np.ndarray, np.ndarray, np.ndarray, np.random.Generator], SpoiledImage]
"""From grey values (C, *size), affine (D + 1, D + 1) of voxel to world mm, points (R, D) world mm, and chance."""


def turned(degrees: float) -> Spoiling:
    """The anatomy turned about the middle of the image; in 3D about an axis drawn at random."""

    def spoil(array: np.ndarray, affine: np.ndarray, points: np.ndarray, random: np.random.Generator) -> SpoiledImage:
        dims = len(affine) - 1
        rotation = _rotation(degrees, dims, random)
        centre = image_center(array.shape[1:], affine)
        # The new image shows at a place what the old one had at the place turned back.
        back = np.eye(dims + 1)
        back[:dims, :dims] = rotation.T
        back[:dims, -1] = centre - rotation.T @ centre
        voxels = np.linalg.inv(affine) @ back @ affine
        out = [
            ndimage.affine_transform(
                channel, voxels[:dims, :dims], voxels[:dims, -1], order=1, mode="constant", cval=float(channel.min())
            )
            for channel in array
        ]
        return SpoiledImage(np.stack(out), _within((points - centre) @ rotation.T + centre, array, affine))

    return spoil


def rescaled(array: np.ndarray, affine: np.ndarray, points: np.ndarray, random: np.random.Generator) -> SpoiledImage:
    """Grey values times 10 plus 1 000, as of another scanner or export."""
    return SpoiledImage(array * 10.0 + 1000.0, points)


def noisy(array: np.ndarray, affine: np.ndarray, points: np.ndarray, random: np.random.Generator) -> SpoiledImage:
    """Noise as strong as the grey values themselves."""
    low, high = np.percentile(array, [0.5, 99.5])
    return SpoiledImage(array + random.normal(0.0, max(float(high - low), 1e-6), array.shape), points)


def cut(array: np.ndarray, affine: np.ndarray, points: np.ndarray, random: np.random.Generator) -> SpoiledImage:
    """Half of the landmarks on one side of an axis outside of the field of view, where only air is left."""
    dims = len(affine) - 1
    axis = int(random.integers(dims))
    voxels = world_to_voxel(affine, points)
    known = np.isfinite(voxels).all(axis=1)
    middle = float(np.median(voxels[known, axis])) if known.any() else array.shape[1 + axis] / 2
    edge = int(np.clip(round(middle), 1, array.shape[1 + axis] - 1))
    out = array.copy()
    there = [slice(None)] * array.ndim
    there[1 + axis] = slice(edge, None)
    for channel in out:
        channel[tuple(there[1:])] = channel.min()
    return SpoiledImage(out, np.where((voxels[:, axis] < edge)[:, None], points, np.nan))


def shuffled(array: np.ndarray, affine: np.ndarray, points: np.ndarray, random: np.random.Generator) -> SpoiledImage:
    """Blocks of the image in another order: the same grey values, no anatomy."""
    size = [max(1, edge // _BLOCKS) for edge in array.shape[1:]]
    corners = np.stack(np.meshgrid(*[np.arange(_BLOCKS) for _ in size], indexing="ij"), -1).reshape(-1, len(size))
    out = array.copy()
    for to, source in zip(corners, random.permutation(corners), strict=True):
        target, origin = (
            tuple(slice(int(c) * n, int(c + 1) * n) for c, n in zip(corner, size, strict=True))
            for corner in (to, source)
        )
        out[(slice(None), *target)] = array[(slice(None), *origin)]
    return SpoiledImage(out, np.full_like(points, np.nan))


def static(array: np.ndarray, affine: np.ndarray, points: np.ndarray, random: np.random.Generator) -> SpoiledImage:
    """Noise alone, with the mean and the spread of the image."""
    found = random.normal(float(array.mean()), float(array.std()) + 1e-6, array.shape)
    return SpoiledImage(found, np.full_like(points, np.nan))


SPOILINGS: dict[str, Spoiling] = {
    "turned by 90 degrees": turned(90.0),
    "blocks shuffled": shuffled,
    "turned by 60 degrees": turned(60.0),
    "grey values times 10 plus 1000": rescaled,
    "heavy noise": noisy,
    "noise alone": static,
    "half cut off": cut,
    "turned by 30 degrees": turned(30.0),
}
"""In the order in which they are tried: the first ones say most of what a failure looks like."""


def _rotation(degrees: float, dims: int, random: np.random.Generator) -> np.ndarray:
    if dims == 2:
        angle = np.deg2rad(degrees * random.choice([-1.0, 1.0]))
        return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    axis = random.normal(size=3)
    matrix: np.ndarray = Rotation.from_rotvec(np.deg2rad(degrees) * axis / np.linalg.norm(axis)).as_matrix()
    return matrix


def _within(points: np.ndarray, array: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Points (R, D) world mm, NaN where they lie outside of the image."""
    voxels = world_to_voxel(affine, points)
    inside = ((voxels >= -0.5) & (voxels <= np.array(array.shape[1:]) - 0.5)).all(axis=1)
    return np.where(inside[:, None], points, np.nan)
