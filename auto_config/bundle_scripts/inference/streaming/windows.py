"""Which windows MONAI's sliding window looks at, and what each voxel of a window weighs."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy

import torch
from monai.data.utils import compute_importance_map, dense_patch_slices
from monai.inferers import Inferer, SlidingWindowInferer
from monai.utils import ensure_tuple_rep, fall_back_tuple

from .window_grid import Windows


def plain_window(window: Inferer) -> SlidingWindowInferer | None:
    """The window, if it is MONAI's own and does nothing but merge maps on the device of the image; else None.

    A subclass may merge otherwise, and one with a device of its own was given one to save memory.
    """
    if type(window) is not SlidingWindowInferer or window.roi_weight_map is not None or window.with_coord:
        return None
    elsewhere = (window.device, window.sw_device, window.cpu_thresh, window.buffer_steps)
    return window if all(value is None for value in elsewhere) else None


def on_host(window: Inferer) -> Inferer | None:
    """The window with its merged maps in the memory of the host; None where they lie there or it has no say."""
    if not isinstance(window, SlidingWindowInferer):
        return None
    if window.device is not None and torch.device(window.device).type == "cpu":
        return None
    there = copy(window)
    there.device = "cpu"
    return there


def windows_of(window: SlidingWindowInferer, size: Sequence[int]) -> Windows:
    """Where the windows lie on an image of a size, as `monai.inferers.sliding_window_inference` has them."""
    edges = fall_back_tuple(window.roi_size, size)
    padded = [max(n, edge) for n, edge in zip(size, edges, strict=True)]
    steps = [
        edge if edge == n else max(1, int(edge * (1 - share)))
        for n, edge, share in zip(padded, edges, ensure_tuple_rep(window.overlap, len(edges)), strict=True)
    ]
    corners = dense_patch_slices(padded, edges, steps, return_slice=False)
    starts = tuple(tuple(sorted({corner[axis][0] for corner in corners})) for axis in range(len(edges)))
    low = tuple((wide - n) // 2 for wide, n in zip(padded, size, strict=True))
    return Windows(tuple(size), tuple(edges), low, starts)


def weights_of(window: SlidingWindowInferer, edges: Sequence[int], like: torch.Tensor) -> torch.Tensor:
    """``(*edges)`` weight of each voxel of a window."""
    made = compute_importance_map(
        tuple(edges), mode=window.mode, sigma_scale=window.sigma_scale, device=like.device, dtype=like.dtype
    )
    return torch.as_tensor(made).reshape(tuple(edges))
