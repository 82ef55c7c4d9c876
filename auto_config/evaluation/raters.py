"""How far several raters are from each other: the error that no model can be asked to beat."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from auto_config.datasets.model import Case


def rater_errors(cases: Sequence[Case], names: Sequence[str]) -> np.ndarray:
    """Mean distance between every two raters of a case.

    Args:
        cases: With `Case.raters`; cases with fewer than two raters say nothing.
        names: (L,) landmarks.

    Returns:
        (N, L) mm, NaN where fewer than two raters set the landmark.
    """
    out = np.full((len(cases), len(names)), np.nan)
    for row, case in enumerate(cases):
        if len(case.raters) < 2:
            continue
        points = np.stack([landmarks.ordered(names).points for landmarks in case.raters.values()])
        distances = np.stack(
            [np.linalg.norm(points[i] - points[j], axis=-1) for i in range(len(points)) for j in range(i)]
        )
        known = np.isfinite(distances)
        count = known.sum(axis=0)
        out[row] = np.where(count > 0, np.where(known, distances, 0.0).sum(axis=0) / np.maximum(count, 1), np.nan)
    return out
