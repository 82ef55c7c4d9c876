"""A sliding window whose merged maps come slab by slab: a plane is handed on when no further window touches it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from monai.inferers import SlidingWindowInferer
from torch.nn import functional

from ...methods.interfaces import LOGITS, Output
from .window_grid import Windows
from .windows import weights_of, windows_of

Look = Callable[[torch.Tensor], Output]
"""From windows ``(B, C, *size)`` to heads."""


@dataclass(frozen=True)
class Slab:
    """Planes that are final, with some before them that were final before.

    Args:
        axis: along which planes are counted.
        first: number of the first plane.
        maps: for each look ``(L, *size)`` with fewer planes along the axis; valid until the next slab is asked for.
    """

    axis: int
    first: int
    maps: list[torch.Tensor]


def slabs(
    window: SlidingWindowInferer, image: torch.Tensor, looks: Sequence[Look], axis: int, margin: int
) -> Iterator[Slab]:
    """Slide over an image and merge `LOGITS` of each look, slab by slab.

    Args:
        window: of `plain_window`.
        image: ``(C, *size)``.
        looks: each sees every window; all are merged in step.
        axis: along which slabs are made.
        margin: final planes that come once more before the next ones.
    """
    windows = windows_of(window, image.shape[1:])
    whole = padded(window, image, windows)
    weight = weights_of(window, windows.edges, image)
    edge = windows.edges[axis]
    size = list(windows.padded)
    size[axis] = margin + edge
    sums: list[torch.Tensor] = []
    counts = image.new_zeros(size)
    # Of the planes that come out, those inside of the image, along the other axes.
    inside = [slice(low, low + n) for low, n in zip(windows.low, windows.size, strict=True)]
    rows = windows.starts[axis]
    held = 0
    for number, start in enumerate(rows):
        for corner in _corners(windows, axis, start, window.sw_batch_size):
            here = [_box(one, windows.edges) for one in corner]
            batch = torch.cat([whole[(slice(None), slice(None), *box)] for box in here])
            places = [(*box[:axis], slice(margin, margin + edge), *box[axis + 1 :]) for box in here]
            for place in places:
                counts[place] += weight
            for view, look in enumerate(looks):
                value = look(batch)[LOGITS].to(image.dtype)
                if view == len(sums):
                    sums.append(value.new_zeros((value.shape[1], *size)))
                for one, place in zip(value, places, strict=True):
                    _add(sums[view][(slice(None), *place)], one, weight)
                del value
        last = number + 1 == len(rows)
        done = edge if last else rows[number + 1] - start
        final = slice(margin, margin + done)
        share = counts.narrow(axis, margin, done)
        for total in sums:
            total.narrow(1 + axis, margin, done).div_(share)
        low = margin - held
        first = start - held
        # Padding along the axis is no part of the image.
        cut_low, cut_high = max(0, inside[axis].start - first), max(0, start + done - inside[axis].stop)
        along = slice(low + cut_low, final.stop - cut_high)
        box = tuple(along if one == axis else inside[one] for one in range(len(size)))
        yield Slab(axis, first + cut_low - inside[axis].start, [total[(slice(None), *box)] for total in sums])
        if not last:
            held = min(margin, held + done)
            for total in sums:
                _advance(total, 1 + axis, done)
            _advance(counts, axis, done)


def _add(place: torch.Tensor, maps: torch.Tensor, weight: torch.Tensor) -> None:
    """Add weighted maps ``(L, *edges)``.

    Multiplied first and added then, which rounds twice: sums are to be those of MONAI. On a CPU channel by channel,
    whose product stays in the cache; all of them at a time would be as much memory again, made anew for each window.
    """
    if maps.device.type != "cpu":
        place += maps * weight
        return
    product = torch.empty_like(weight)
    for one, of_channel in zip(place, maps, strict=True):
        one.add_(torch.mul(of_channel, weight, out=product))


def _corners(windows: Windows, axis: int, start: int, batch: int) -> Iterator[list[tuple[int, ...]]]:
    """The corners of the windows of one row, in MONAI's order, some at a time."""
    starts = [(start,) if one == axis else along for one, along in enumerate(windows.starts)]
    corners = list(itertools.product(*starts))
    for first in range(0, len(corners), batch):
        yield corners[first : first + batch]


def _box(corner: Sequence[int], edges: Sequence[int]) -> tuple[slice, ...]:
    return tuple(slice(low, low + edge) for low, edge in zip(corner, edges, strict=True))


def padded(window: SlidingWindowInferer, image: torch.Tensor, windows: Windows) -> torch.Tensor:
    """``(1, C, *padded)`` the image with air around it where it is smaller than a window."""
    pads: list[int] = []
    for n, wide, low in zip(windows.size, windows.padded, windows.low, strict=True):
        pads = [low, wide - n - low, *pads]
    if not any(pads):
        return image[None]
    return functional.pad(image[None], pads, mode=str(window.padding_mode), value=window.cval)


def _advance(planes: torch.Tensor, axis: int, step: int) -> None:
    """Move planes down by a step, in place, and empty those that begin anew."""
    kept = planes.shape[axis] - step
    for low in range(0, kept, step):
        count = min(step, kept - low)
        planes.narrow(axis, low, count).copy_(planes.narrow(axis, low + step, count))
    planes.narrow(axis, kept, step).zero_()
