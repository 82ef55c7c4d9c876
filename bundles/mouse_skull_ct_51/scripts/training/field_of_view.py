"""Fields of view that end within the anatomy: a share of the training samples is cut, as a scanner would cut them.

A cut keeps a box of whole voxels, and the sample is made of that box as of an image of its size: what lies outside is
air, as inference has it, and nothing is interpolated twice. A landmark outside of the box is absent. So a network that
was given complete cases alone learns to say that a landmark is not there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..points.landmarks import PRESENT, UNKNOWN

TWO_SIDES = 0.3
"""Share of the cuts that take something off at two sides; the others are half-spaces."""
MOST_LOST = 0.5
"""Share of the landmarks that the deepest cut of a side takes: cuts keep most of the anatomy."""
BESIDE = 0.15
"""The shallowest cut passes the outermost landmark at this share of the anatomy's extent."""
LEAST_KEPT = 0.25
"""Share of the voxels of an axis that is always kept."""
ANYWHERE = 0.25
"""Share of the crops for a landmark that was cut off which lie anywhere: the coarse stage has no place for it."""
FAR = 0.25
"""Share of the crops in which a landmark that was cut off far away is a target, an empty one.

All of them would count as much as the landmarks in the crop together, which are few.
"""


@dataclass(frozen=True)
class Cut:
    """The box of an image that is kept.

    Args:
        low: ``(D,)`` first voxel that is kept along each axis.
        high: ``(D,)`` the voxel after the last one.
        shape: ``(D,)`` of the whole image.
    """

    low: np.ndarray
    high: np.ndarray
    shape: np.ndarray

    @property
    def slices(self) -> tuple[slice, ...]:
        """The box, one slice for each axis."""
        return tuple(slice(int(low), int(high)) for low, high in zip(self.low, self.high, strict=True))

    @property
    def shift(self) -> np.ndarray:
        """``(D+1, D+1)`` from voxels of the box to voxels of the whole image."""
        out = np.eye(len(self.shape) + 1)
        out[:-1, -1] = self.low
        return out

    def outside(self, points: np.ndarray) -> np.ndarray:
        """Which points ``(..., D)``, in voxels of the whole image, were cut off: ``(...)`` bool, False for NaN.

        A voxel reaches half a voxel about its centre. Where an image ends uncut nothing is lost.
        """
        below = (self.low > 0) & (points < self.low - 0.5)
        above = (self.high < self.shape) & (points > self.high - 0.5)
        return np.asarray((below | above).any(-1))


def draw_cut(rng: np.random.Generator, shape: np.ndarray, points: np.ndarray) -> Cut:
    """A random cut at one or two sides, each anywhere from beside the landmarks to the middle one of them.

    The same numbers are drawn whatever the image, so the grids of two stages are cut at the same place of the world.

    Args:
        rng: source of randomness.
        shape: ``(D,)`` of the image.
        points: ``(N, D)`` voxels of the landmarks that are present; with none the image itself says where cuts lie.

    Returns:
        The box that is kept; all of the image where a cut lies beside it.
    """
    shape = np.asarray(shape, dtype=int)
    low, high = np.zeros_like(shape), shape.copy()
    two = rng.uniform() < TWO_SIDES
    sides = rng.permutation(2 * len(shape))[:2]
    depths = rng.uniform(size=2)
    least = np.maximum(1, np.ceil(LEAST_KEPT * shape)).astype(int)
    for side, depth in list(zip(sides, depths, strict=True))[: 2 if two else 1]:
        axis, upper = divmod(int(side), 2)
        # From the upper end the same, in the mirror.
        places = np.sort(points[:, axis] if not upper else shape[axis] - 1 - points[:, axis])
        place = round(_place(places, int(shape[axis]), float(depth), MOST_LOST / (2 if two else 1)))
        room = int(high[axis] - low[axis] - least[axis])
        lost = int(np.clip(place, 0, max(room, 0)))
        if upper:
            high[axis] -= lost
        else:
            low[axis] += lost
    return Cut(low, high, shape)


def _place(places: np.ndarray, size: int, depth: float, most: float) -> float:
    """Voxels that a cut takes from one end of an axis, at a depth in [0, 1].

    Args:
        places: sorted voxels of the landmarks, counted from that end.
        size: voxels of the axis.
        depth: 0 is beside the landmarks, 1 as deep as it may be.
        most: share of the landmarks that the deepest cut takes.
    """
    if len(places) == 0:
        return depth * most * size
    beside = BESIDE * max(places[-1] - places[0], size / 3)
    first = max(0.0, places[0] - beside)
    last = max(float(np.quantile(places, most)), places[0] + beside)
    return first + depth * (last - first)


def crop_center(
    rng: np.random.Generator,
    pick: float,
    jitter: np.ndarray,
    *,
    points: np.ndarray,
    status: np.ndarray,
    cut_off: np.ndarray,
    shape: np.ndarray,
) -> tuple[np.ndarray, int | None]:
    """Where a fine crop of a cut image lies: around a landmark, in the image, also for one that is not in it.

    Inference keeps coarse points in the image, so the crop for a landmark outside lies at the border; or anywhere.

    Args:
        rng: source of randomness.
        pick: in [0, 1), chooses the landmark.
        jitter: ``(D,)`` voxels that the coarse stage errs.
        points: ``(L, D)`` voxels of the kept box.
        status: ``(L,)``.
        cut_off: ``(L,)`` bool, landmarks that the cut took.
        shape: ``(D,)`` of the kept box.

    Returns:
        The centre ``(D,)`` in voxels, and the landmark; None where the image shows none.
    """
    candidates = np.flatnonzero((status == PRESENT) | cut_off)
    aim = int(candidates[int(pick * len(candidates))]) if len(candidates) else None
    anywhere, spot = rng.uniform(), rng.uniform(size=len(shape))
    around = (shape - 1) / 2 if aim is None else points[aim]
    if aim is not None and cut_off[aim] and anywhere < ANYWHERE:
        around = spot * (shape - 1)
    return np.clip(around + jitter, 0, shape - 1), aim


def crop_status(
    rng: np.random.Generator, status: np.ndarray, cut_off: np.ndarray, outside: np.ndarray, aim: int | None
) -> np.ndarray:
    """What a fine crop of a cut image says of each landmark, ``(L,)``.

    A landmark that was cut off is absent in the crop that was made for it, in those whose margin of air holds its
    place, and in a share of the others; else unknown, as present ones outside of the crop are.

    Args:
        rng: source of randomness.
        status: ``(L,)`` in the image.
        cut_off: ``(L,)`` bool.
        outside: ``(L,)`` bool, whose place is not in the crop.
        aim: the landmark that the crop is made for.
    """
    silent = cut_off & outside & (rng.uniform(size=len(status)) >= FAR)
    if aim is not None:
        silent[aim] = False
    return np.where(silent | (outside & (status == PRESENT)), np.int8(UNKNOWN), status)
