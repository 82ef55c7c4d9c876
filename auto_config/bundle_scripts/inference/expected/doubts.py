"""What speaks against a look at the expected places alone: pure functions on numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .cover import Boxes

SIZE = "size"
"""The image is much smaller or larger than those of the training cases."""
FAINT = "faint"
"""A landmark that each training case has is not seen where they have it, or most are not."""
MANY = "many"
"""Peaks that need a window of their own are too many."""
EDGE = "edge"
"""A landmark lies at the edge of where it was looked for."""
ELSEWHERE = "elsewhere"
"""A landmark shows more clearly in another place that was looked at."""
SHAPE = "shape"
"""The points do not fit the shape of the training cases."""

SEEN = 0.0
"""Logit from which on a landmark is seen: the network thinks it more likely there than not."""

_FEWEST = 0.5
"""Of the landmarks, so many must be seen: the others say where an image lies."""


@dataclass(frozen=True)
class Seen:
    """What windows showed of L landmarks.

    Args:
        peak: ``(L, D)`` voxel of the highest logit in the box of each.
        highest: ``(L,)`` that logit.
        rival: ``(L,)`` the highest logit of each outside of its box, where windows show it well; minus infinity where
            nothing was looked at.
    """

    peak: np.ndarray
    highest: np.ndarray
    rival: np.ndarray

    @property
    def there(self) -> np.ndarray:
        """``(L,)`` bool, which landmarks are seen in their boxes."""
        return np.asarray(self.highest > SEEN)


def doubt(boxes: Boxes, size: Sequence[int], absent: np.ndarray, seen: Seen) -> str | None:
    """Why all windows must be looked at, if they must.

    A landmark that some training cases do not have, or whose box reaches out of the image, may be missing: it need
    not be seen, as long as it is seen nowhere else either. Its point is then that of the highest logit in its box.

    Args:
        boxes: in which the landmarks were looked for; they may reach out of the image.
        size: of the image, ``(D,)`` voxels.
        absent: ``(L,)`` bool, landmarks that some training case does not have.
        seen: in the boxes and beside them.

    Returns:
        `FAINT`, `EDGE` or `ELSEWHERE`; None if nothing speaks against it.
    """
    last, there = np.asarray(size) - 1, seen.there
    missing = absent | (boxes.low < 0).any(1) | (boxes.high > last).any(1)
    if not (there | missing).all() or there.mean() < _FEWEST:
        return FAINT
    at_edge = ((seen.peak == boxes.low) & (seen.peak > 0)) | ((seen.peak == boxes.high) & (seen.peak < last))
    if (there & at_edge.any(1)).any():
        return EDGE
    # A number that is none speaks against it too.
    return None if (seen.rival <= np.where(there, seen.highest, SEEN)).all() else ELSEWHERE
