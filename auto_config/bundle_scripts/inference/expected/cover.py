"""Few windows that show boxes as well as the overlapping windows of a whole image do: pure functions on numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..streaming.window_grid import Windows


@dataclass(frozen=True)
class Boxes:
    """Where each of L landmarks is looked for, in whole voxels of the image; both ends belong to a box.

    Args:
        low: ``(L, D)`` first voxel of the whole box.
        high: ``(L, D)`` last voxel.
        core_low: ``(L, D)`` first voxel of its middle part, where the landmark mostly lies.
        core_high: ``(L, D)`` last voxel.
    """

    low: np.ndarray
    high: np.ndarray
    core_low: np.ndarray
    core_high: np.ndarray

    def clipped(self, size: Sequence[int]) -> Boxes:
        """What of the boxes lies in an image of a size; of a box outside of it, the nearest voxels."""
        last = np.asarray(size) - 1
        return Boxes(*(np.clip(corner, 0, last) for corner in vars(self).values()))


def inner_margins(windows: Windows) -> tuple[int, ...]:
    """Depth ``(D,)`` in voxels that every voxel has in some window of the grid, along each axis.

    What lies so deep in a window is seen at least as well as in the worst place of the grid. At the border of the image
    nothing lies deep, in no window.
    """
    steps = [max(np.diff(along), default=edge) for along, edge in zip(windows.starts, windows.edges, strict=True)]
    return tuple((edge - int(step)) // 2 for edge, step in zip(windows.edges, steps, strict=True))


def starts_for(boxes: Boxes, windows: Windows) -> tuple[np.ndarray, np.ndarray]:
    """Where a window may begin that holds a box, with the core in its inner part.

    Args:
        boxes: clipped to the image.
        windows: of the image.

    Returns:
        Lowest and highest first voxel ``(L, D)`` of such a window, of the image; the lowest is above the highest where
        no window is large enough.
    """
    edges, low = np.asarray(windows.edges), np.asarray(windows.low)
    first, last = -low, np.asarray(windows.padded) - edges - low
    margin = np.asarray(inner_margins(windows))
    # A window that ends with the image shows its border as well as can be.
    lowest = np.maximum(np.minimum(boxes.core_high + margin - edges + 1, last), boxes.high - edges + 1)
    highest = np.minimum(np.maximum(boxes.core_low - margin, first), boxes.low)
    return np.maximum(lowest, first), np.minimum(highest, last)


def inside(points: np.ndarray, corners: np.ndarray, windows: Windows) -> np.ndarray:
    """Whether points lie in the inner part of a window.

    Args:
        points: ``(L, D)`` whole voxels of the image.
        corners: ``(W, D)`` first voxels of windows.
        windows: of the image.

    Returns:
        ``(L,)`` bool.
    """
    lowest, highest = starts_for(Boxes(points, points, points, points), windows)
    held = np.all((lowest[:, None] <= corners) & (corners <= highest[:, None]), axis=-1)
    return np.asarray(np.any(held, axis=1))


def cover(boxes: Boxes, windows: Windows) -> np.ndarray | None:
    """Windows such that each box lies in one of them, and its core in the inner part of that one.

    A greedy cover: again and again the window that holds the most boxes of those that no window holds yet. Each lies as
    near to the middle of its boxes as they let it.

    Args:
        boxes: clipped to the image, L of them.
        windows: of the image.

    Returns:
        ``(W, D)`` first voxels in the image, W at most L, each window within the image (padded to the size of a
        window); None where a window is too small for a box.
    """
    lowest, highest = starts_for(boxes, windows)
    if (lowest > highest).any():
        return None
    wanted = (boxes.core_low + boxes.core_high + 1 - np.asarray(windows.edges)) / 2
    left = np.ones(len(lowest), dtype=bool)
    groups = [_with(seed, left, lowest, highest) for seed in range(len(lowest))]
    corners = []
    while left.any():
        sizes = [len(group) if left[seed] else 0 for seed, group in enumerate(groups)]
        seed = int(np.argmax(sizes))
        group = groups[seed]
        if not left[group].all():
            # Groups only get smaller, so one that is still the largest when it is made anew is the largest of all.
            groups[seed] = _with(seed, left, lowest, highest)
            continue
        middle = np.round(wanted[group].mean(0)).astype(int)
        corners.append(np.clip(middle, lowest[group].max(0), highest[group].min(0)))
        left[group] = False
    return np.array(corners, dtype=int).reshape(-1, len(windows.edges))


def _with(seed: int, left: np.ndarray, lowest: np.ndarray, highest: np.ndarray) -> np.ndarray:
    """Those that are left which one window can hold together with one of them: along each axis as many as can be."""
    group = np.flatnonzero(left)
    for axis in range(lowest.shape[1]):
        low, high = lowest[group, axis], highest[group, axis]
        starts = low[(low >= lowest[seed, axis]) & (low <= highest[seed, axis])]
        held = (low <= starts[:, None]) & (starts[:, None] <= high)
        group = group[held[int(np.argmax(held.sum(1)))]]
    return group
