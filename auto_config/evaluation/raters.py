"""How far several raters are from each other: the error that no model can be asked to beat."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from auto_config.datasets.model.dataset import Case
from auto_config.evaluation.instances import in_best_order


def rater_errors(
    cases: Sequence[Case], names: Sequence[str], exchangeable: Sequence[tuple[str, str]] = ()
) -> np.ndarray:
    """Mean distance between every two raters of a case.

    Args:
        cases: With `Case.raters`; cases with fewer than two raters say nothing.
        names: (L,) landmarks.
        exchangeable: names that may change places: of two raters in the order in which they agree better.

    Returns:
        (N, L) mm, NaN where fewer than two raters set the landmark.
    """
    out = np.full((len(cases), len(names)), np.nan)
    for row, case in enumerate(cases):
        if len(case.raters) < 2:
            continue
        points = np.stack([landmarks.ordered(names).points for landmarks in case.raters.values()])
        pairs = np.array([(i, j) for i in range(len(points)) for j in range(i)])
        first, second = points[pairs[:, 0]], points[pairs[:, 1]]
        distances = np.linalg.norm(in_best_order(first, second, names, exchangeable) - second, axis=-1)
        known = np.isfinite(distances)
        count = known.sum(axis=0)
        out[row] = np.where(count > 0, np.where(known, distances, 0.0).sum(axis=0) / np.maximum(count, 1), np.nan)
    return out
