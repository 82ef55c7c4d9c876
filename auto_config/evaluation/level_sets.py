"""How often level sets of heatmaps hold the true points, and how large they are: what ``predict --regions`` wrote."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from auto_config.calibration.conformal import coverage
from auto_config.errors import UserError
from auto_config.evaluation.comparison import Comparison
from auto_config.prediction.level_set_files import LevelSets, read_level_sets

KIND = "level set"
FILE_ENDING = ".regions.npz"


def level_set_coverage(folder: Path, comparison: Comparison, files: Mapping[str, str]) -> dict[str, Any] | None:
    """Coverage and size of the level sets of a folder of predictions, at the level of the prediction.

    A point is inside if its voxel on the planned grid is; each landmark has its own region, so that none loses what
    another one overlays in the label map. As with balls, the truth decides what counts, and not whether the model calls
    the landmark present.

    Args:
        folder: Folder of the predictions.
        comparison: Predictions and truth.
        files: For the name of a case the one that its files begin with.

    Returns:
        ``{level: {"share", "count", "median_size", "mean_size", "infinite"}}``, sizes in mm³ (mm² in 2D); None where no
        case has level sets.

    Raises:
        UserError: A file that cannot be read, or files of several levels.
    """
    found = {case: _read(folder / f"{files.get(case, case)}{FILE_ENDING}") for case in comparison.cases}
    levels = sorted({sets.level for sets in found.values() if sets is not None})
    if not levels:
        return None
    if len(levels) > 1:
        raise UserError(
            f"{folder}: has level sets of the levels {levels[0]:g} and {levels[1]:g}; predict again into it"
        )
    inside, size = np.full((2, len(comparison.cases), len(comparison.names)), np.nan)
    for n, case in enumerate(comparison.cases):
        sets = found[case]
        if sets is None:
            continue
        sizes = sets.sizes
        for k in range(len(comparison.names)):
            # Of two ends that changed places, the region is that of the end that the prediction took it for.
            called = comparison.names[comparison.columns[n, k] if comparison.columns.size else k]
            if called in sets.names and np.isfinite(comparison.truth[n, k]).all():
                landmark = sets.names.index(called)
                inside[n, k], size[n, k] = sets.hold(landmark, comparison.truth[n, k]), sizes[landmark]
    row = vars(coverage(inside, size, levels[0])).copy()
    row.pop("nominal")
    return {f"{levels[0]:g}": {key: value if math.isfinite(value) else None for key, value in row.items()}}


def _read(path: Path) -> LevelSets | None:
    if not path.is_file():
        return None
    try:
        return read_level_sets(path)
    except ValueError as error:
        raise UserError(str(error)) from error
