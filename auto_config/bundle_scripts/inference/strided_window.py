"""MONAI's sliding window for networks whose output has a cell for several voxels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from monai.inferers import SlidingWindowInferer
from torch.nn import functional


class StridedWindowInferer(SlidingWindowInferer):
    """`SlidingWindowInferer` whose windows lie on whole cells of the output.

    MONAI's own moves windows by any number of voxels, ends the last one at the border and puts half of the padding
    before a small image; where that is no whole cell, it rounds, and outputs are merged that are off by up to a cell.
    Here steps and padding are multiples of the stride. An image that ends within a cell has that cell too.

    Args:
        roi_size: of the window in voxels, multiples of the stride.
        stride: voxels for one cell, along each axis.
        overlap: share of a window at least that the next one covers too.
        **window: see `SlidingWindowInferer`.

    Raises:
        ValueError: a window that is no whole number of cells.
    """

    def __init__(self, roi_size: Sequence[int], *, stride: int, overlap: float = 0.5, **window: Any) -> None:
        if any(edge % stride for edge in roi_size):
            raise ValueError(f"the window has {list(roi_size)} voxels; each edge must be a multiple of {stride}")
        steps = [max(stride, int(edge * (1 - overlap)) // stride * stride) for edge in roi_size]
        # MONAI makes the step of the overlap and rounds down: half a voxel more is that step whatever floats do.
        shares = [max(0.0, 1 - (step + 0.5) / edge) for step, edge in zip(steps, roi_size, strict=True)]
        super().__init__(roi_size=list(roi_size), overlap=shares, **window)
        self.stride = int(stride)

    def __call__(self, inputs: torch.Tensor, network: Any, *args: Any, **kwargs: Any) -> dict[str, torch.Tensor]:
        """The merged heads ``(B, channels, *ceil(size / stride))`` of images ``(B, C, *size)``."""
        pads, cells = [], []
        for edge, window in zip(inputs.shape[2:], self.roi_size, strict=True):
            count = -(-edge // self.stride)
            missing = max(count * self.stride, window) - edge
            low = missing // 2 // self.stride
            pads.append((low * self.stride, missing - low * self.stride))
            cells.append(slice(low, low + count))
        flat = [voxels for pair in reversed(pads) for voxels in pair]
        padded = functional.pad(inputs, flat, mode=self.padding_mode, value=self.cval) if any(flat) else inputs
        merged = super().__call__(padded, network, *args, **kwargs)
        return {head: value[(..., *cells)] for head, value in merged.items()}
