"""The look at the expected places: few windows, a second look at peaks that lie badly in theirs, and the doubts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from monai.inferers import SlidingWindowInferer

from ...methods.boxes import Box
from ...methods.decoders import ArgmaxDecoder
from ...methods.interfaces import LOGITS
from ...points.peaks import Peaks
from ..streaming.slabs import Look, padded
from ..streaming.window_grid import Windows
from ..streaming.windows import weights_of, windows_of
from .cover import Boxes, cover, inner_margins, inside
from .doubts import MANY, SHAPE, SIZE, Seen, doubt
from .maps import BoxMaps
from .places import MOST_SHARE, ExpectedPlaces, few_windows

Fits = Callable[[np.ndarray, np.ndarray, np.ndarray], bool]
"""From points ``(L, D)`` in voxels, their confidence ``(L,)`` and which are seen ``(L,)`` to whether they fit."""


@dataclass(frozen=True)
class Looked:
    """What came of it.

    Args:
        found: peaks of the mean of the views, and of each view, none where there is one; None where all windows must
            be looked at.
        windows: number of windows that were looked at.
        why: a word of `doubts` where something speaks against what was seen; None also where the expected places would
            take too many windows.
    """

    found: tuple[Peaks, list[Peaks]] | None
    windows: int
    why: str | None = None


@dataclass(frozen=True)
class Sight:
    """A whole image, of which windows are looked at.

    Args:
        window: of `scripts.inference.streaming.windows.plain_window`.
        image: ``(C, *size)``.
        looks: one for each view.
    """

    window: SlidingWindowInferer
    image: torch.Tensor
    looks: Sequence[Look]

    @property
    def windows(self) -> Windows:
        """Those of the whole image."""
        return windows_of(self.window, self.image.shape[1:])

    def see(self, corners: np.ndarray, maps: BoxMaps) -> None:
        """Look at windows ``(W, D)`` and merge what each view says."""
        windows, count = self.windows, self.window.sw_batch_size
        whole, weight = padded(self.window, self.image, windows), weights_of(self.window, windows.edges, self.image)
        margin = inner_margins(windows)
        for first in range(0, len(corners), count):
            some = corners[first : first + count]
            batch = torch.cat([whole[(slice(None), slice(None), *_slices(corner, windows))] for corner in some])
            seen_by = [look(batch)[LOGITS].to(self.image.dtype) for look in self.looks]
            for number, corner in enumerate(some):
                maps.add(corner, [one[number] for one in seen_by], weight, margin)


def of_logits(decoder: object) -> ArgmaxDecoder | None:
    """The decoder, if its confidence is the sigmoid of a logit, whose 0 means that the landmark is rather there."""
    return decoder if isinstance(decoder, ArgmaxDecoder) else None


def look_at_places(sight: Sight, decoder: ArgmaxDecoder, places: ExpectedPlaces, fits: Fits) -> Looked:
    """Peaks from windows that show where the training cases have their landmarks.

    Windows are merged with the weights of the sliding window and decoded as its map is. A peak that lies nearer to the
    border of its windows than the overlapping windows of a whole image would have it gets a window of its own.

    Args:
        sight: of the image.
        decoder: whose confidence is the sigmoid of a logit.
        places: of the landmarks.
        fits: whether points agree with the shape of the training cases.
    """
    windows, size, radius = sight.windows, sight.windows.size, decoder.radius
    corners = few_windows(places, windows, radius)
    if corners is None:
        return Looked(None, 0)
    if not places.usual_size(size):
        return Looked(None, 0, SIZE)
    boxes = places.boxes(size)
    maps = BoxMaps(boxes.clipped(size), size, radius, len(sight.looks))
    sight.see(corners, maps)
    around, seen = _read(maps)
    badly = seen.peak[seen.there & ~inside(seen.peak, corners, windows)]
    if len(badly):
        more = cover(Boxes(badly - radius, badly + radius, badly, badly).clipped(size), windows)
        if more is None or len(corners) + len(more) > MOST_SHARE * windows.count:
            return Looked(None, len(corners), MANY)
        sight.see(more, maps)
        corners = np.concatenate([corners, more])
        around, seen = _read(maps)
    why = doubt(boxes, size, places.absent, seen)
    if why is not None:
        return Looked(None, len(corners), why)
    mean, singles = decoder.read(around[-1], {}), [decoder.read(one, {}) for one in around[:-1]]
    points, sure = _on_host(mean.points, mean.confidence)
    if not fits(points, sure[:, 0], seen.there):
        return Looked(None, len(corners), SHAPE)
    return Looked((mean, singles), len(corners))


def _read(maps: BoxMaps) -> tuple[list[Box], Seen]:
    """The boxes around the highest voxels, of each view and of the mean, and what they say."""
    around = maps.around_highest()
    peak, highest, rival = _on_host(around[-1].peak, around[-1].highest, maps.rival())
    return around, Seen(peak.astype(int), highest[:, 0], rival[:, 0])


def _slices(corner: np.ndarray, windows: Windows) -> tuple[slice, ...]:
    starts = (corner + np.asarray(windows.low)).tolist()
    return tuple(slice(start, start + edge) for start, edge in zip(starts, windows.edges, strict=True))


def _on_host(*columns: torch.Tensor) -> list[np.ndarray]:
    """Columns ``(L,)`` or ``(L, n)`` of the device, ``(L, n)`` each, by one copy."""
    wide = [column.reshape(len(column), -1).float() for column in columns]
    together = torch.cat(wide, 1).cpu().double().numpy()
    return np.split(together, np.cumsum([part.shape[1] for part in wide])[:-1], axis=1)
