"""Where the landmarks of the cases lie in the frame of the planned grid: about its middle, along its axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


def where_landmarks_lie(
    points: np.ndarray, middles: Sequence[Sequence[float]], frames: Sequence[np.ndarray | None]
) -> dict[str, Any]:
    """Mean and spread of each landmark over the cases.

    Args:
        points: ``(N, L, D)`` world mm, NaN where a landmark is not present or has no fixed place.
        middles: world position ``(D,)`` of the middle of each case's planned grid, that of the cropped image.
        frames: directions of each case's planned grid, of `pose.grid_frame`; None for the axes of the world.

    Returns:
        For each landmark how many ``cases`` have it, ``mean_mm`` (D,), ``spread_mm`` (D,), the standard deviation of a
        further case about that mean, and ``largest_mm`` (D,), the largest distance of a case from the mean along each
        axis; null where fewer than two cases have it.
    """
    on_grid = np.stack(
        [
            (case - np.asarray(middle)) @ (np.eye(case.shape[1]) if frame is None else frame)
            for case, middle, frame in zip(points, middles, frames, strict=True)
        ]
    )
    numbers: dict[str, Any] = {"cases": [], "mean_mm": [], "spread_mm": [], "largest_mm": []}
    for one in np.moveaxis(on_grid, 1, 0):
        known = one[np.isfinite(one).all(1)]
        numbers["cases"].append(len(known))
        if len(known) < 2:
            for name in ("mean_mm", "spread_mm", "largest_mm"):
                numbers[name].append(None)
            continue
        mean = known.mean(0)
        # The mean of n cases is off too, by the n-th part of their variance.
        spread = known.std(0, ddof=1) * np.sqrt(1 + 1 / len(known))
        for name, value in (("mean_mm", mean), ("spread_mm", spread), ("largest_mm", np.abs(known - mean).max(0))):
            numbers[name].append([round(float(x), 3) for x in value])
    return numbers
