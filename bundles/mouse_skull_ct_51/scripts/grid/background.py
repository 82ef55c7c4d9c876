"""The constant background of an image, by numpy alone, so that reading a data set needs neither torch nor MONAI."""

from __future__ import annotations

import numpy as np

MARGIN_VOXELS = 2
"""Kept around the box, so that resampling at its border sees the background."""


def background_value(array: np.ndarray) -> np.ndarray | None:
    """The value of each channel that all corners of the image share; None if they do not share one.

    Args:
        array: ``(C, *size)``.

    Returns:
        ``(C,)`` or None.
    """
    corners = array[(slice(None), *np.ix_(*[[0, n - 1] for n in array.shape[1:]]))].reshape(len(array), -1)
    return corners[:, 0] if (corners == corners[:, :1]).all() else None


def background_box(array: np.ndarray, margin: int = MARGIN_VOXELS) -> tuple[slice, ...]:
    """The box that is not constant background.

    Background is the value that all corners of the image share; if they do not share one, or nothing else is there,
    the box is the whole image. Padding that a scanner or a defacing tool left goes away; noisy air and skin stay.

    Args:
        array: ``(C, *size)``.
        margin: voxels kept around.

    Returns:
        One slice for each spatial axis.
    """
    size = array.shape[1:]
    whole = tuple(slice(0, n) for n in size)
    value = background_value(array)
    if value is None:
        return whole
    differs = (array != value.reshape(-1, *[1] * len(size))).any(axis=0)
    if not differs.any():
        return whole
    box = []
    for axis, n in enumerate(size):
        used = np.flatnonzero(differs.any(axis=tuple(other for other in range(len(size)) if other != axis)))
        box.append(slice(max(0, int(used[0]) - margin), min(n, int(used[-1]) + 1 + margin)))
    return tuple(box)
