"""Balls in a label map that a client gave back: which are as they were served, and where the others are.

A label map holds whole voxels, the points that were served do not. So a ball is compared, voxel by voxel, with the ball
that `draw_balls` draws for the served point, and where they are the same the served point is kept. Grids may differ
(cropped, flipped, resampled): voxels meet through world coordinates only.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from auto_config.bundle_scripts.grid.grids import apply_affine, world_to_voxel
from auto_config.bundle_scripts.grid.label_map import draw_balls

from ..core.served import Served


@dataclass(frozen=True, eq=False)
class Grid:
    """Where the voxels of an image lie.

    Args:
        shape: (D,) number of voxels.
        affine: (D + 1, D + 1) voxel to world RAS mm.
    """

    shape: tuple[int, ...]
    affine: np.ndarray

    def inside(self, points: np.ndarray) -> np.ndarray:
        """(N,) bool: which world points (N, D) in mm lie in the image, its outer voxels' borders counted as inside."""
        voxels = world_to_voxel(self.affine, points)
        slack = 1e-6  # of rounding in the affine
        within = (voxels >= -0.5 - slack) & (voxels <= np.asarray(self.shape) - 0.5 + slack)
        return np.all(within, axis=-1)

    def world(self, flat: np.ndarray) -> np.ndarray:
        """(N, D) world mm of the centres of voxels that are given by their flat indices (N,)."""
        return apply_affine(self.affine, np.stack(np.unravel_index(flat, self.shape), axis=1))

    def nearest(self, points: np.ndarray) -> np.ndarray:
        """(N,) flat indices of the voxels that hold world points (N, D) in mm; -1 for points outside the grid."""
        voxels = np.rint(world_to_voxel(self.affine, points)).astype(np.int64)
        held = ((voxels >= 0) & (voxels < np.asarray(self.shape))).all(axis=1)
        flat = np.full(len(points), -1, dtype=np.int64)
        flat[held] = np.ravel_multi_index(tuple(voxels[held].T), self.shape)
        return flat


@dataclass(frozen=True, eq=False)
class LabelledVoxels:
    """The voxels of each landmark in a label map.

    Args:
        grid: Grid of the label map, which need not be that of the image.
        voxels: Name to sorted flat indices (N,) in `grid`, N above 0. Names share voxels only in overlapping layers.
    """

    grid: Grid
    voxels: Mapping[str, np.ndarray]

    def center(self, name: str) -> np.ndarray:
        """(D,) world mm: the centre of mass of a landmark's voxels."""
        return self.grid.world(self.voxels[name]).mean(axis=0)

    def everything(self) -> np.ndarray:
        """Flat indices in the grid of all voxels that some landmark has."""
        return np.concatenate([np.zeros(0, dtype=np.int64), *self.voxels.values()])

    def pieces(self, name: str) -> list[np.ndarray]:
        """Centres of mass (D,) in world mm of the pieces of a landmark's voxels, biggest first.

        Voxels that share a face, an edge or a corner are one piece.
        """
        flat = self.voxels[name]
        piece_of = piece_numbers(flat, self.grid.shape)
        sizes = np.bincount(piece_of)
        return [self.grid.world(flat[piece_of == k]).mean(axis=0) for k in np.argsort(-sizes[1:], kind="stable") + 1]


@dataclass(frozen=True, eq=False)
class ServedBall:
    """A ball that was drawn for what was served.

    Args:
        name: Of the landmark, several balls of which may be in one image.
        point: (D,) world mm.
        voxels: Sorted flat indices (N,) in the grid of the image, N above 0.
    """

    name: str
    point: np.ndarray
    voxels: np.ndarray


def piece_numbers(flat: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """(N,) number, from 1, of the piece that each voxel (flat indices (N,), N above 0) belongs to; see `pieces`."""
    indices = np.stack(np.unravel_index(flat, shape), axis=1)
    low = indices.min(axis=0)
    mask = np.zeros(indices.max(axis=0) - low + 1, dtype=bool)
    mask[tuple((indices - low).T)] = True
    numbers, _ = ndimage.label(mask, np.ones([3] * mask.ndim))
    return np.asarray(numbers[tuple((indices - low).T)])


def served_balls(one: Served, grid: Grid) -> list[ServedBall]:
    """The balls that were drawn for what was served.

    Args:
        one: What was served.
        grid: Grid of the image.

    Returns:
        One for each landmark, or instance of it, whose ball has a voxel; absent ones and those outside the image have
        none.
    """
    rows = one.landmarks.rows()
    points = np.array([point for _, point, _ in rows]).reshape(-1, len(grid.shape))
    labels = draw_balls(points, grid.shape, grid.affine, one.radius_mm).reshape(-1)
    drawn = np.flatnonzero(labels)
    values = labels[drawn]
    balls = [
        ServedBall(one.landmarks.names[index], point, drawn[values == number])
        for number, (index, point, _) in enumerate(rows, start=1)
    ]
    return [ball for ball in balls if len(ball.voxels)]


def untouched(
    label: LabelledVoxels, grid: Grid, records: Sequence[Served], many: Collection[str] = ()
) -> dict[str, np.ndarray]:
    """The landmarks whose ball is the one that was served, with their served points.

    A ball counts as untouched where it is the same, and also where it lost voxels to another landmark's ball and only
    so: that one was moved over it. A ball that was partly erased is not: somebody meant it.

    Args:
        label: What came back.
        grid: Grid of the image, on which the served balls were drawn.
        records: What was served, newest first; the first that fits counts.
        many: Landmarks of which an image may have any number; they are left out, see `instance_balls`.

    Returns:
        Name to served point (D,) in world mm.
    """
    kept: dict[str, np.ndarray] = {}
    everything = label.everything()
    wanted = label.voxels.keys() - set(many)
    for one in records:
        if one.landmarks.spatial_dims != len(grid.shape):
            continue
        if len(kept) == len(wanted):
            break
        for ball in served_balls(one, grid):
            name = ball.name
            if name in wanted and name not in kept and _is_rest_of(label, name, ball.voxels, grid, everything):
                kept[name] = ball.point
    return kept


def covered(label: LabelledVoxels, ball: np.ndarray, grid: Grid) -> bool:
    """Whether every voxel of a served ball (flat indices in `grid`) now belongs to some landmark of the label map."""
    return bool(np.isin(label.grid.nearest(grid.world(ball)), label.everything()).all())


def _is_rest_of(label: LabelledVoxels, name: str, ball: np.ndarray, grid: Grid, everything: np.ndarray) -> bool:
    """Whether a landmark's voxels are those of `ball`, but for some that other landmarks took.

    Both ways, because neither grid need be the finer one: each voxel of the label lies in a voxel of the ball, and each
    voxel of the ball lies in a voxel that the label gives to some landmark, or outside a cropped label.
    """
    if not np.isin(grid.nearest(label.grid.world(label.voxels[name])), ball).all():
        return False
    back = label.grid.nearest(grid.world(ball))
    back = back[back >= 0]
    return bool(np.isin(back, everything).all())
