"""The grid on which networks work: nnU-Net's rule for the target spacing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

ANISOTROPY_THRESHOLD = 3.0
_THICK_AXIS_PERCENTILE = 10


def target_spacing(spacings: Sequence[Sequence[float]], shapes: Sequence[Sequence[int]]) -> tuple[list[float], str]:
    """Spacing to which every image is resampled.

    The median of each axis; if one axis is both more than three times as coarse as any other and has less than a third
    of the voxels of any other, the 10th percentile of that axis (but no finer than the other axes), because the median
    of thick slices throws away what the thinner ones show.

    Args:
        spacings: mm, one row for each case, axes in RAS order.
        shapes: voxels after the background crop, the same rows and axes.

    Returns:
        The spacing in mm, and the reason.

    Source:
        Isensee et al. 2021 (nnU-Net), "target spacing" and "anisotropic data"; the numbers are those of nnU-Net 2.6.
    """
    rows = np.asarray(spacings, dtype=float)
    target = np.median(rows, axis=0)
    size = np.median(np.asarray(shapes, dtype=float), axis=0)
    thick = int(np.argmax(target))
    others = [axis for axis in range(rows.shape[1]) if axis != thick]
    coarse = target[thick] > ANISOTROPY_THRESHOLD * max(target[others])
    few = size[thick] * ANISOTROPY_THRESHOLD < min(size[others])
    if not (coarse and few):
        return _rounded(target), f"median of each axis over {len(rows)} cases"
    low = float(np.percentile(rows[:, thick], _THICK_AXIS_PERCENTILE))
    # Compare with 1e-5 as nnU-Net does: the thick axis stays the coarsest one.
    target[thick] = max(low, max(target[others]) + 1e-5)
    return _rounded(target), (
        f"median of each axis over {len(rows)} cases; axis {thick} is more than {ANISOTROPY_THRESHOLD:g} times as "
        f"coarse as the others with less than a third of their voxels, so its {_THICK_AXIS_PERCENTILE}th percentile"
    )


def _rounded(spacing: np.ndarray) -> list[float]:
    """Six digits after the point: headers hold single precision, and a person reads the plan."""
    return [round(float(value), 6) for value in spacing]
