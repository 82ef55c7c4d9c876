"""The instances of a landmark of which an image may have any number, in a label map that a client gave back.

All of them have one value in the map, so each piece of that value is an instance. Balls that touch are one piece, and a
ball that nobody touched must keep its sub-voxel point. So the served balls that are still there are taken out first,
and only what is left is divided into pieces.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..core.served import Served
from .balls import Grid, LabelledVoxels, piece_numbers, served_balls


def instance_points(
    label: LabelledVoxels, name: str, grid: Grid, records: Sequence[Served], min_distance_mm: float
) -> np.ndarray:
    """The point of each instance: the served one where its ball is untouched, else the centre of mass of a piece.

    A served ball is still there if each of its voxels belongs to some landmark: also where it touches others, or lost
    voxels to another landmark. What is left of the value is divided into pieces. A piece beside such a ball, its centre
    nearer to the ball's point than two instances ever are, is a part that somebody painted onto it: that instance is at
    the centre of mass of both.

    Args:
        label: What came back.
        name: The landmark; it has voxels in `label`.
        grid: Grid of the image, on which the served balls were drawn.
        records: What was served, newest first; a voxel belongs to the first ball that fits.
        min_distance_mm: Two instances are never nearer than this.

    Returns:
        (K, D) world mm, K above 0: first those with a served ball, in the order in which they were served.
    """
    flat = label.voxels[name]
    places = label.grid.world(flat)
    owner, points = _served_owners(label, name, grid, records)
    kept = len(points)
    whole = piece_numbers(flat, label.grid.shape)
    left = np.flatnonzero(owner < 0)
    pieces = piece_numbers(flat[left], label.grid.shape) if len(left) else np.zeros(0, dtype=int)
    for number in range(1, int(pieces.max(initial=0)) + 1):
        own = left[pieces == number]
        center = places[own].mean(axis=0)
        beside = np.unique(owner[(owner >= 0) & (owner < kept) & (whole == whole[own[0]])])
        near = [(float(np.linalg.norm(points[k] - center)), int(k)) for k in beside]
        if near and min(near)[0] < min_distance_mm:
            owner[own] = min(near)[1]
        else:
            owner[own] = len(points)
            points.append(center)
    grown = set(owner[left].tolist()) & set(range(kept))
    return np.array([places[owner == k].mean(axis=0) if k in grown else point for k, point in enumerate(points)])


def _served_owners(
    label: LabelledVoxels, name: str, grid: Grid, records: Sequence[Served]
) -> tuple[np.ndarray, list[np.ndarray]]:
    """For each voxel of a landmark the number of the served ball that it belongs to, -1 for none, and their points."""
    flat = label.voxels[name]
    in_image = grid.nearest(label.grid.world(flat))
    everything = label.everything()
    owner = np.full(len(flat), -1, dtype=np.int64)
    points: list[np.ndarray] = []
    for one in records:
        if (owner >= 0).all():
            break
        if one.landmarks.spatial_dims != len(grid.shape):
            continue
        for ball in served_balls(one, grid):
            own = np.isin(in_image, ball.voxels)
            if ball.name != name or not own.any() or (owner[own] >= 0).any():
                continue
            back = label.grid.nearest(grid.world(ball.voxels))
            if np.isin(back[back >= 0], everything).all():
                owner[own] = len(points)
                points.append(ball.point)
    return owner, points
