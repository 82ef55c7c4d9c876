"""What a data set is: cases with images and landmarks, and the problems found in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from auto_config.bundle_scripts.points.landmarks import PRESENT, LandmarkSet
from auto_config.datasets.model.properties import Properties

Severity = Literal["error", "warning"]
"""An error would train wrongly; a warning should be looked at."""


@dataclass(frozen=True)
class Case:
    """One image with its landmarks.

    Args:
        name: Unique name of the case.
        image: Absolute paths of its image: one file, or one for each channel.
        landmarks: Landmarks in the order of `Dataset.names`, or None where the case has none.
        split: ``"training"`` or ``"test"``.
        fold: Fold whose validation cases hold this case, if the source says so.
        group: Cases of one group (of one patient) belong into the same fold.
        raters: Landmarks as single raters set them, by the rater's name; empty where the source has none.
        pixel_spacing: Pixel size (x, y) in mm of a picture that was given or declared; None for what its file says.
    """

    name: str
    image: tuple[Path, ...]
    landmarks: LandmarkSet | None
    split: str = "training"
    fold: int | None = None
    group: str | None = None
    raters: Mapping[str, LandmarkSet] = field(default_factory=dict)
    pixel_spacing: tuple[float, float] | None = None


@dataclass(frozen=True)
class Dataset:
    """Cases with the same landmarks.

    Args:
        source: The path that was read.
        format: Name of the format that was found or forced.
        names: Landmark names in their order.
        cases: All cases whose files could be read, in natural order of their names.
        spatial_dims: 2 or 3.
        unit: ``"mm"``, or ``"px"`` for pictures whose pixel size nobody knows: a pixel then counts as one unit.
        properties: What is declared about the landmarks.
    """

    source: Path
    format: str
    names: tuple[str, ...]
    cases: tuple[Case, ...]
    spatial_dims: int
    unit: Literal["mm", "px"] = "mm"
    properties: Properties = field(default_factory=Properties)


@dataclass(frozen=True)
class Problem:
    """Something wrong in the data.

    Args:
        severity: ``"error"`` (would train wrongly) or ``"warning"``.
        message: One line: what was found, in which file, and what to do.
        case: Name of the case, if it is about one.
        landmark: Name of the landmark, if it is about one.
        topic: ``"outside"`` or ``"cropped"`` for a point that does not fit its image, which `checks.frames` explains;
            ``"frame"`` and ``"no frame"`` for its answers on all points of a case.
    """

    severity: Severity
    message: str
    case: str | None = None
    landmark: str | None = None
    topic: Literal["outside", "cropped", "frame", "no frame"] | None = None


def present_points(case: Case, names: Sequence[str], spatial_dims: int) -> np.ndarray:
    """The present landmarks of a case in the order of `names`: ``(L, D)`` world mm, NaN where not present."""
    if case.landmarks is None:
        return np.full((len(names), spatial_dims), np.nan)
    ordered = case.landmarks.ordered(names)
    return np.where((ordered.status == PRESENT)[:, None], ordered.points, np.nan)
