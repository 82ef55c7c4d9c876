"""Merged maps in a box for each landmark, from windows that lie anywhere."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from ...methods.boxes import Box, places
from ...methods.on_device import constants
from ...points.peaks import places_of
from .cover import Boxes


class BoxMaps:
    """The weighted mean of windows, as a sliding window makes it, kept only around where each landmark is looked for.

    Args:
        boxes: L of them, clipped to the image.
        size: of the image.
        radius: voxels around a box that are kept too, for what reads the surroundings of its highest voxel.
        views: number of maps that are kept.
    """

    def __init__(self, boxes: Boxes, size: Sequence[int], radius: int, views: int) -> None:
        self.boxes, self.size, self.radius, self.views = boxes, torch.Size(size), radius, views
        wide = Boxes(boxes.low - radius, boxes.high + radius, boxes.core_low, boxes.core_high).clipped(size)
        self.low, self.high = wide.low, wide.high
        self._sums: list[list[torch.Tensor]] = []
        self._counts: list[torch.Tensor] = []
        self._rival: torch.Tensor | None = None

    def add(
        self, corner: np.ndarray, maps: Sequence[torch.Tensor], weight: torch.Tensor, margin: Sequence[int]
    ) -> None:
        """See a window.

        Args:
            corner: ``(D,)`` its first voxel in the image.
            maps: of each view ``(L, *edges)``.
            weight: ``(*edges)`` of its voxels.
            margin: ``(D,)`` depth within which it shows nothing well.
        """
        edges = np.array(weight.shape)
        if not self._sums:
            shapes = [(high - low + 1).tolist() for low, high in zip(self.low, self.high, strict=True)]
            self._sums = [[one.new_zeros(shape) for shape in shapes] for one in maps]
            self._counts = [weight.new_zeros(shape) for shape in shapes]
        for mark, (low, high) in enumerate(zip(self.low, self.high, strict=True)):
            begin, end = np.maximum(low, corner), np.minimum(high, corner + edges - 1) + 1
            if (begin >= end).any():
                continue
            there, here = _part(begin - low, end - low), _part(begin - corner, end - corner)
            self._counts[mark][there] += weight[here]
            for sums, one in zip(self._sums, maps, strict=True):
                sums[mark][there] += one[mark][here] * weight[here]
        self._look_elsewhere(corner, edges, maps, np.asarray(margin))

    def _look_elsewhere(
        self, corner: np.ndarray, edges: np.ndarray, maps: Sequence[torch.Tensor], margin: np.ndarray
    ) -> None:
        """Keep the highest value of each landmark outside of its box, in the inner part of a window."""
        size = np.asarray(self.size)
        begin = np.maximum(np.where(corner > 0, corner + margin, corner), 0)
        end = np.minimum(np.where(corner + edges < size, corner + edges - margin, corner + edges), size)
        inner = (slice(None), *_part(begin - corner, end - corner))
        # A copy, in which boxes are blanked.
        seen = maps[0][inner] / len(maps)
        for one in maps[1:]:
            seen += one[inner] / len(maps)
        for mark, (low, high) in enumerate(zip(self.boxes.low, self.boxes.high, strict=True)):
            first, stop = np.maximum(low, begin) - begin, np.minimum(high + 1, end) - begin
            if (first < stop).all():
                seen[mark][_part(first, stop)] = -torch.inf
        highest = seen.flatten(1).amax(1)
        self._rival = highest if self._rival is None else torch.maximum(self._rival, highest)

    def rival(self) -> torch.Tensor:
        """``(L,)`` the highest value of each landmark outside of its box that a window showed well."""
        assert self._rival is not None
        return self._rival

    def around_highest(self) -> list[Box]:
        """The box around the highest voxel of each landmark: of each view, and last of their mean if there are several.

        A voxel counts as the highest if it lies in the landmark's own box.
        """
        found = [self._around(_shared(sums, self._counts)) for sums in self._sums]
        if self.views == 1:
            return found
        together = [sum(sums[1:], sums[0]) / self.views for sums in zip(*self._sums, strict=True)]
        return [*found, self._around(_shared(together, self._counts))]

    def _around(self, maps: list[torch.Tensor]) -> Box:
        peaks = []
        for one, low, first, last in zip(maps, self.low, self.boxes.low, self.boxes.high, strict=True):
            part = one[_part(first - low, last - low + 1)]
            peaks.append(places_of(part.flatten().argmax(), part.shape) + constants(first.tolist(), one, torch.int64))
        peak = torch.stack(peaks)
        voxels, valid = places(peak, self.size, self.radius)
        values = []
        for one, where, low in zip(maps, voxels, self.low, strict=True):
            values.append(one[tuple((where - constants(low.tolist(), where)).unbind(-1))].float())
        return Box(torch.stack(values), voxels.to(torch.float32), valid, peak.to(torch.float32))


def _part(begin: np.ndarray, end: np.ndarray) -> tuple[slice, ...]:
    return tuple(slice(int(a), int(b)) for a, b in zip(begin, end, strict=True))


def _shared(sums: list[torch.Tensor], counts: list[torch.Tensor]) -> list[torch.Tensor]:
    return [total / count for total, count in zip(sums, counts, strict=True)]
