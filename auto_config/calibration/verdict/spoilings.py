"""Images spoiled on purpose, as they go wrong in practice: turned, other grey values, cut, something else.

All work on grey values before their normalisation, and say where the points of the image went.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage
from scipy.spatial.transform import Rotation

from auto_config.bundle_scripts.grid.grids import world_to_voxel
from auto_config.bundle_scripts.images.frame import image_center

_BLOCKS = 4  # on each axis, of an image that is no anatomy any more


@dataclass(frozen=True)
class Scan:
    """An image and its landmarks.

    Args:
        array: (C, *size) grey values.
        affine: (D + 1, D + 1) voxel to world mm.
        points: (R, D) world mm, NaN for landmarks that are outside or no more.
    """

    array: np.ndarray
    affine: np.ndarray
    points: np.ndarray


Spoiling = Callable[[Scan, np.random.Generator], Scan]
"""The scan spoiled, on the same grid."""


def turned(degrees: float) -> Spoiling:
    """The anatomy turned about the middle of the image; in 3D about an axis drawn at random."""

    def spoil(scan: Scan, random: np.random.Generator) -> Scan:
        dims = len(scan.affine) - 1
        rotation = _rotation(degrees, dims, random)
        centre = image_center(scan.array.shape[1:], scan.affine)
        # The new image shows at a place what the old one had at the place turned back.
        back = np.eye(dims + 1)
        back[:dims, :dims] = rotation.T
        back[:dims, -1] = centre - rotation.T @ centre
        voxels = np.linalg.inv(scan.affine) @ back @ scan.affine
        out = [
            ndimage.affine_transform(
                channel, voxels[:dims, :dims], voxels[:dims, -1], order=1, mode="constant", cval=float(channel.min())
            )
            for channel in scan.array
        ]
        return _within(replace(scan, array=np.stack(out), points=(scan.points - centre) @ rotation.T + centre))

    return spoil


def rescaled(scan: Scan, _random: np.random.Generator) -> Scan:
    """Grey values times 10 plus 1 000, as of another scanner or export."""
    return replace(scan, array=scan.array * 10.0 + 1000.0)


def noisy(scan: Scan, random: np.random.Generator) -> Scan:
    """Noise as strong as the grey values themselves."""
    low, high = np.percentile(scan.array, [0.5, 99.5])
    noise = random.normal(0.0, max(float(high - low), 1e-6), scan.array.shape)
    return replace(scan, array=scan.array + noise)


def cut(scan: Scan, random: np.random.Generator) -> Scan:
    """Half of the landmarks on one side of an axis outside of the field of view, where only air is left."""
    dims = len(scan.affine) - 1
    axis = int(random.integers(dims))
    voxels = world_to_voxel(scan.affine, scan.points)
    known = np.isfinite(voxels).all(axis=1)
    middle = float(np.median(voxels[known, axis])) if known.any() else scan.array.shape[1 + axis] / 2
    edge = int(np.clip(round(middle + 0.5), 1, scan.array.shape[1 + axis] - 1))
    out = scan.array.copy()
    there = [slice(None)] * scan.array.ndim
    there[1 + axis] = slice(edge, None)
    for channel in out:
        channel[tuple(there[1:])] = channel.min()
    return replace(scan, array=out, points=np.where((voxels[:, axis] < edge - 0.5)[:, None], scan.points, np.nan))


def shuffled(scan: Scan, random: np.random.Generator) -> Scan:
    """Blocks of the image in another order: the same grey values, no anatomy."""
    size = [max(1, edge // _BLOCKS) for edge in scan.array.shape[1:]]
    corners = np.stack(np.meshgrid(*[np.arange(_BLOCKS) for _ in size], indexing="ij"), -1).reshape(-1, len(size))
    out = scan.array.copy()
    for to, source in zip(corners, random.permutation(corners), strict=True):
        target, origin = (
            tuple(slice(int(c) * n, int(c + 1) * n) for c, n in zip(corner, size, strict=True))
            for corner in (to, source)
        )
        out[(slice(None), *target)] = scan.array[(slice(None), *origin)]
    return replace(scan, array=out, points=np.full_like(scan.points, np.nan))


def static(scan: Scan, random: np.random.Generator) -> Scan:
    """Noise alone, with the mean and the spread of the image."""
    found = random.normal(float(scan.array.mean()), float(scan.array.std()) + 1e-6, scan.array.shape)
    return replace(scan, array=found, points=np.full_like(scan.points, np.nan))


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


def _within(scan: Scan) -> Scan:
    """The scan without the points that lie outside of the image."""
    voxels = world_to_voxel(scan.affine, scan.points)
    inside = np.all((voxels >= -0.5) & (voxels <= np.array(scan.array.shape[1:]) - 0.5), axis=1)
    return replace(scan, points=np.where(inside[:, None], scan.points, np.nan))
