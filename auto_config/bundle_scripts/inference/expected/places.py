"""Where the training cases have their landmarks on the planned grid, in mm from its middle."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..streaming.window_grid import Windows
from .cover import Boxes, cover

CORE, WHOLE = 2.0, 4.0
"""Half widths of the middle part and of the whole box of a landmark, in spreads: a landmark mostly lies in the first,
where one look is enough, and hardly ever outside of the second."""

ROOM_VOXELS = 2
"""Added to both: grids end on whole voxels, and so do crops."""

ROOM_EXTENT = 0.1
"""An image may be smaller or larger than those of the training cases by this share."""

MOST_SHARE = 0.5
"""Of the windows of the whole image, so many at most are looked at; where it takes more, all are."""


class ExpectedPlaces:
    """Boxes of the planned grid in which landmarks lie, as the training cases have them.

    Args:
        mean_mm: ``(L, D)`` mean over training cases of the point minus the middle of the planned grid, along its axes.
        spread_mm: ``(L, D)`` standard deviation of a further case about it.
        extent_mm: ``(2, D)`` smallest and largest extent of the grid in training.
        absent: landmarks that some training case does not have.
        spacing: ``(D,)`` mm of the planned grid.
    """

    def __init__(
        self,
        *,
        mean_mm: Sequence[Sequence[float]],
        spread_mm: Sequence[Sequence[float]],
        extent_mm: Sequence[Sequence[float]],
        absent: Sequence[int],
        spacing: Sequence[float],
    ) -> None:
        self.mean_mm = np.asarray(mean_mm, dtype=np.float64)
        self.spread_mm = np.asarray(spread_mm, dtype=np.float64)
        self.extent_mm = np.asarray(extent_mm, dtype=np.float64)
        self.spacing = np.asarray(spacing, dtype=np.float64)
        self.absent = np.zeros(len(self.mean_mm), dtype=bool)
        self.absent[list(absent)] = True

    def usual_size(self, size: Sequence[int]) -> bool:
        """Whether an image of a size ``(D,)`` is as large as those of the training cases, whose middle tells where."""
        extent = np.asarray(size) * self.spacing
        low, high = self.extent_mm * np.array([[1 - ROOM_EXTENT], [1 + ROOM_EXTENT]])
        # A grid has whole voxels.
        return bool(((extent >= low - self.spacing) & (extent <= high + self.spacing)).all())

    def boxes(self, size: Sequence[int]) -> Boxes:
        """Where each landmark is looked for in an image of a size ``(D,)``; boxes may reach out of it."""
        middle = (np.asarray(size) - 1) / 2 + self.mean_mm / self.spacing
        core, whole = (factor * self.spread_mm / self.spacing + ROOM_VOXELS for factor in (CORE, WHOLE))
        corners = (middle - whole, middle + whole, middle - core, middle + core)
        low, high, core_low, core_high = (np.round(corner).astype(int) for corner in corners)
        return Boxes(low, high, core_low, core_high)


def few_windows(places: ExpectedPlaces, windows: Windows, radius: int) -> np.ndarray | None:
    """Windows that show the expected places.

    Args:
        places: of the landmarks.
        windows: of the whole image.
        radius: voxels that the decoder reads around a peak.

    Returns:
        ``(W, D)`` first voxels in the image; None where that takes more than `MOST_SHARE` of all windows.
    """
    boxes = places.boxes(windows.size)
    wide = Boxes(boxes.low - radius, boxes.high + radius, boxes.core_low, boxes.core_high).clipped(windows.size)
    corners = cover(wide, windows)
    return corners if corners is not None and len(corners) <= MOST_SHARE * windows.count else None
