"""Where the windows of a sliding window lie on an image: numbers alone, so that planning needs no torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

_MUCH_LONGER = 1.2


@dataclass(frozen=True)
class Windows:
    """The windows of an image.

    Args:
        size: of the image.
        edges: of a window.
        low: voxels of padding before the image, along each axis.
        starts: first voxel of the windows along each axis, of the padded image; a window lies at each combination.
    """

    size: tuple[int, ...]
    edges: tuple[int, ...]
    low: tuple[int, ...]
    starts: tuple[tuple[int, ...], ...]

    @property
    def count(self) -> int:
        """Number of windows."""
        return math.prod(map(len, self.starts))

    @property
    def padded(self) -> tuple[int, ...]:
        """Size of the padded image."""
        return tuple(max(n, edge) for n, edge in zip(self.size, self.edges, strict=True))


def regular_windows(size: Sequence[int], edges: Sequence[int], overlap: float) -> Windows:
    """The windows of an image as `scripts.inference.streaming.windows.windows_of` has them.

    Args:
        size: of the image.
        edges: of a window.
        overlap: share of a window that the next one covers too, in [0, 1).
    """
    padded = [max(n, edge) for n, edge in zip(size, edges, strict=True)]
    starts = []
    for n, edge in zip(padded, edges, strict=True):
        step = edge if edge == n else max(1, int(edge * (1 - overlap)))
        count = -(-(n - edge) // step) + 1
        starts.append(tuple(min(number * step, n - edge) for number in range(count)))
    low = tuple((wide - n) // 2 for wide, n in zip(padded, size, strict=True))
    return Windows(tuple(size), tuple(edges), low, tuple(starts))


def slab_axis(windows: Windows) -> int:
    """The axis along which slabs are made: the first one, unless another is much longer than its window is.

    Along the first axis windows come in the order of MONAI's own, so sums are the same bit for bit.
    """
    ratios = [n / edge for n, edge in zip(windows.padded, windows.edges, strict=True)]
    longest = max(range(len(ratios)), key=ratios.__getitem__)
    return longest if ratios[longest] > _MUCH_LONGER * ratios[0] else 0


def planes_held(windows: Windows, axis: int, margin: int) -> int:
    """Planes along the axis that are held at once."""
    return min(windows.edges[axis] + margin, windows.padded[axis])
