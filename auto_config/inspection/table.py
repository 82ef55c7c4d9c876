"""The landmarks of a data set as a table: in how many cases each is, and how far it strays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from auto_config.bundle_scripts.points.landmarks import ABSENT, PRESENT, UNKNOWN
from auto_config.bundle_scripts.points.procrustes import procrustes
from auto_config.datasets.model.dataset import Case, present_points


@dataclass(frozen=True)
class LandmarkRow:
    """One landmark over all cases that have landmarks.

    Args:
        name: of the landmark.
        present: number of cases where it is there.
        absent: where it is known not to be there.
        unknown: where nobody annotated it.
        spread: mm (pixels where no pixel size is known), see `landmark_table`; NaN where fewer than 2 cases tell it.
    """

    name: str
    present: int
    absent: int
    unknown: int
    spread: float


def landmark_table(cases: Sequence[Case], names: Sequence[str], spatial_dims: int) -> list[LandmarkRow]:
    """Count the cases of each landmark and measure its spread.

    The spread is the root mean square distance of a landmark from its place in the mean shape, after each case is laid
    on it by the best rotation, shift and scale (generalised Procrustes alignment, Gower 1975). A landmark that strays
    much farther than the others has been placed by different rules, or its anatomy varies.

    Args:
        cases: of the data set; those without landmarks do not count.
        names: of the landmarks, in the order of the rows.
        spatial_dims: D.
    """
    having = [case for case in cases if case.landmarks is not None]
    if not having:
        return []
    status = np.stack([case.landmarks.ordered(names).status for case in having if case.landmarks is not None])
    _, spread, _ = procrustes(np.stack([present_points(case, names, spatial_dims) for case in having]))
    counts = [(status == value).sum(axis=0) for value in (PRESENT, ABSENT, UNKNOWN)]
    return [
        LandmarkRow(name, int(present), int(absent), int(unknown), round(float(one), 9))
        for name, present, absent, unknown, one in zip(names, *counts, spread, strict=True)
    ]
