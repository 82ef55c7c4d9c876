"""The peaks of a whole image from slabs of its merged map: the box around the highest voxel so far, and no more."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.inferers import SlidingWindowInferer

from ...methods.boxes import Box, LocalDecoder, places
from ...methods.interfaces import LOGITS, Output
from ...methods.on_device import constants
from ...points.peaks import Peaks, places_of
from .slabs import Look, Slab, slabs
from .window_grid import planes_held, slab_axis
from .windows import windows_of


class HighestBoxes:
    """The highest voxel of each channel and the box around it, of maps that come in slabs.

    Of equal voxels it takes the one that `torch.argmax` would take in the whole map, and a number that is not finite
    counts as the highest, so that a training that diverged is seen.

    Args:
        size: of the whole map.
        axis: along which slabs come.
        radius: half width of the box in voxels.
    """

    def __init__(self, size: Sequence[int], axis: int, radius: int) -> None:
        self.size, self.axis, self.radius = torch.Size(size), axis, radius
        self._searched = 0
        self._best: torch.Tensor | None = None

    def look(self, slab: Slab, planes: torch.Tensor) -> None:
        """See a slab.

        Args:
            slab: says which planes; with `radius` planes before those that were not searched, and as many after them
                once more in the next slab.
            planes: ``(L, *size)`` with the planes of the slab.
        """
        end = slab.first + planes.shape[1 + self.axis]
        # A box needs the planes behind its voxel.
        until = end if end == self.size[self.axis] else end - self.radius
        if until <= self._searched:
            return
        region = planes.narrow(1 + self.axis, self._searched - slab.first, until - self._searched)
        origin = [self._searched if axis == self.axis else 0 for axis in range(len(self.size))]
        self._searched = until
        if self._best is None:
            count, voxels = len(planes), (2 * self.radius + 1) ** len(self.size)
            self._best = planes.new_full((count,), -torch.inf)
            self._peak = torch.zeros((count, len(self.size)), dtype=torch.int64, device=planes.device)
            self._seen = torch.zeros(count, dtype=torch.bool, device=planes.device)
            self._values = torch.zeros((count, voxels), device=planes.device)
        highest = region.amax(tuple(range(1, region.ndim)))
        hopeful = ~self._best.isnan() & (highest.isnan() | (highest >= self._best) | ~self._seen)
        for channel in torch.nonzero(hopeful)[:, 0].tolist():
            self._take(channel, region[channel], planes[channel], origin, slab.first)

    def boxes(self) -> Box:
        """The box around the highest voxel of each channel, in voxels of the whole map."""
        voxels, valid = places(self._peak, self.size, self.radius)
        return Box(self._values, voxels.to(torch.float32), valid, self._peak.to(torch.float32))

    def _take(self, channel: int, region: torch.Tensor, planes: torch.Tensor, origin: list[int], first: int) -> None:
        """Take the highest voxel of a region, if it comes before what is there."""
        assert self._best is not None
        flat = region.flatten()
        index = flat.argmax()
        peak = places_of(index, region.shape) + constants(origin, index)
        best = self._best[channel]
        if bool(self._seen[channel]) and bool(flat[index] == best):
            mine, others = peak.tolist(), self._peak[channel].tolist()
            if others <= mine:
                return
        self._best[channel], self._peak[channel], self._seen[channel] = flat[index], peak, True
        voxels, _ = places(peak[None], self.size, self.radius)
        where = list(voxels[0].unbind(-1))
        where[self.axis] = where[self.axis] - first
        self._values[channel] = planes[tuple(where)].float()


def saves_memory(window: SlidingWindowInferer, size: Sequence[int], views: int, radius: int) -> bool:
    """Whether maps in slabs take less memory than whole ones.

    All views are merged in step, each with its slab, and their mean; whole maps are there one after the other, so that
    two are held at a time, the mean and that of the view at hand.
    """
    windows = windows_of(window, size)
    axis = slab_axis(windows)
    held = planes_held(windows, axis, 2 * radius)
    return windows.count > 1 and held * (views + (views > 1)) < windows.padded[axis] * (1 if views == 1 else 2)


def stream_peaks(
    window: SlidingWindowInferer, image: torch.Tensor, looks: Sequence[Look], decoder: LocalDecoder
) -> tuple[Peaks, list[Peaks]]:
    """Peaks of the mean of several looks at a whole image, and those of each look.

    Args:
        window: of `scripts.inference.streaming.windows.plain_window`.
        image: ``(C, *size)``.
        looks: one for each view.
        decoder: reads the boxes.

    Returns:
        Peaks in voxels, of the mean; and of each look, none where there is one, which is the mean.
    """
    windows = windows_of(window, image.shape[1:])
    axis, count = slab_axis(windows), len(looks)
    scalars: list[Output] = [{} for _ in looks]
    kept = [_keeping(look, into) for look, into in zip(looks, scalars, strict=True)]
    single = [HighestBoxes(windows.size, axis, decoder.radius) for _ in looks] if count > 1 else []
    mean = HighestBoxes(windows.size, axis, decoder.radius)
    for slab in slabs(window, image, kept, axis, 2 * decoder.radius):
        for one, planes in zip(single, slab.maps, strict=False):
            one.look(slab, planes)
        together = slab.maps[0] if count == 1 else slab.maps[0] / count
        for planes in slab.maps[1:]:
            together.add_(planes, alpha=1 / count)
        mean.look(slab, together)
        del together
    numbers = {
        name: sum((of[name] for of in scalars[1:]), scalars[0][name]) / count if count > 1 else scalars[0][name]
        for name in scalars[0]
    }
    return (
        decoder.read(mean.boxes(), numbers),
        [decoder.read(one.boxes(), of) for one, of in zip(single, scalars, strict=False)],
    )


def _keeping(look: Look, into: Output) -> Look:
    """A look whose learnt scalars are kept."""

    def kept(batch: torch.Tensor) -> Output:
        output = look(batch)
        into.update({head: value for head, value in output.items() if value.ndim == 1})
        return {LOGITS: output[LOGITS]}

    return kept
