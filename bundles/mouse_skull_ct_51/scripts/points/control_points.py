"""One control point of a Slicer file, and how a list of them becomes a `LandmarkSet`.

Which of label and description is the name of a file alone (both formats, because one is saved as the other): the
label, unless every label is a whole number and the descriptions are filled in and all different. Then the description
is the name. That is how the AFIDs protocol writes its files (label 1 to 32, description "AC", "PC", ...). In a data set
the names are chosen for all files at once; a file stays a `PointList` until then.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .landmarks import LandmarkFileError, LandmarkSet, duplicate_names

_SYSTEMS = {"RAS": "RAS", "0": "RAS", "LPS": "LPS", "1": "LPS", "IJK": "IJK", "2": "IJK"}
TO_RAS = {"RAS": np.eye(4), "LPS": np.diag([-1.0, -1.0, 1.0, 1.0])}
"""(4, 4) matrices from the system of a file to RAS."""
_MILLIMETRES = {"mm": 1.0, "cm": 10.0, "m": 1000.0, "um": 1e-3, "µm": 1e-3, "μm": 1e-3}


@dataclass(frozen=True)
class ControlPoint:
    """One control point: its name fields, its point in RAS mm (None where not present), its status."""

    label: str
    description: str
    point: np.ndarray | None
    status: int


@dataclass(frozen=True)
class PointList:
    """All control points of a file, before it is decided which of their fields is the name.

    Args:
        rows: The control points in the order of the file.
        path: The file, named in errors.
        spatial_dims: Number D of coordinates of the set that it becomes.
        many: Names that may occur more than once, each time as another instance.
    """

    rows: Sequence[ControlPoint]
    path: Path
    spatial_dims: int
    many: Collection[str] = ()

    def landmark_set(self, names: Sequence[str] | None = None) -> LandmarkSet:
        """The landmarks by these names, one for each row; by the rule for a file alone, if None.

        Raises:
            LandmarkFileError: As `landmark_set_of`.
        """
        return landmark_set_of(self.rows, self.path, self.spatial_dims, self.many, names)

    def fitting(self, names: Collection[str]) -> list[str] | None:
        """The field that has more of the wanted names; None where labels and descriptions have as many.

        A point without a description keeps its label.
        """
        labels = [row.label for row in self.rows]
        described = [row.description or row.label for row in self.rows]
        by_label, by_description = (sum(text in names for text in set(texts)) for texts in (labels, described))
        if by_label == by_description:
            return None
        return labels if by_label > by_description else described


def landmark_set_of(
    rows: Sequence[ControlPoint],
    path: Path,
    spatial_dims: int,
    many: Collection[str] = (),
    names: Sequence[str] | None = None,
) -> LandmarkSet:
    """Make one set of all control points of a file.

    Args:
        rows: The control points in the order of the file.
        path: The file, named in errors.
        spatial_dims: Number D of coordinates of the set.
        many: Names that may occur more than once, each time as another instance.
        names: A name for each control point; by the rule of the module's docstring, if None.

    Raises:
        LandmarkFileError: A name that is missing, cannot be used, or occurs more than once and is not in `many`.
    """
    if names is None:
        described = [row.description for row in rows]
        different = set(many).issuperset(duplicate_names(described))
        use_description = all(row.label.isdecimal() for row in rows) and all(described) and different
        names = described if use_description else [row.label for row in rows]
    points = np.full((len(rows), 3), np.nan)
    for index, row in enumerate(rows):
        if row.point is not None:
            points[index] = row.point
    if spatial_dims == 2:
        points = points[:, :2] * -1.0  # RAS to LPS: Slicer shows x and y of a picture there
    try:
        return LandmarkSet.from_rows(names, points, [row.status for row in rows], many)
    except ValueError as error:
        raise LandmarkFileError(f"{path}: {error}") from error


def coordinate_system(value: object, path: Path) -> str:
    """Read the name or number of a coordinate system: ``"RAS"``, ``"LPS"`` or ``"IJK"``."""
    system = _SYSTEMS.get(str(value).strip().upper())
    if system is None:
        raise LandmarkFileError(f"{path}: coordinate system {value!r} is not known; allowed are RAS (0) and LPS (1)")
    return system


def ijk_to_ras(affine: np.ndarray) -> np.ndarray:
    """(4, 4) matrix of an image's (D+1, D+1) one; a picture's world is x and y of LPS in the plane z = 0."""
    if len(affine) == 4:
        return affine
    matrix = np.eye(4)
    matrix[:2, :2], matrix[:2, 3] = affine[:2, :2], affine[:2, 2]
    return TO_RAS["LPS"] @ matrix


def millimetres_per_unit(unit: object, path: Path) -> float:
    """Millimetres in one unit of the file; Slicer writes a word or a coded entry."""
    word = unit
    if isinstance(unit, list) and unit:
        word = unit[0]
    elif isinstance(unit, dict):
        word = unit.get("codeValue")
    if word in (None, ""):
        return 1.0
    if not isinstance(word, str) or word not in _MILLIMETRES:
        raise LandmarkFileError(
            f"{path}: coordinateUnits {unit!r} is not known; allowed are {', '.join(_MILLIMETRES)}; save it in mm"
        )
    return _MILLIMETRES[word]


def to_world(position: object, to_ras: np.ndarray, label: str, path: Path) -> np.ndarray:
    """Give a position of the file as (3,) RAS mm."""
    try:
        if not isinstance(position, list) or any(isinstance(value, bool) for value in position):
            raise ValueError("not a list of numbers")
        if any(isinstance(value, str) and "_" in value for value in position):
            raise ValueError("1_000 is a number in Python only")
        x, y, z = (float(value) for value in position)
    except (TypeError, ValueError, OverflowError) as error:
        raise LandmarkFileError(
            f"{path}: landmark {label!r} has position {repr(position)[:60]}; give three numbers, or mark the point as "
            "missing or undefined"
        ) from error
    if not all(math.isfinite(value) for value in (x, y, z)):
        raise LandmarkFileError(
            f"{path}: landmark {label!r} has coordinates {position!r} that are not finite; place it again, "
            "or mark the point as missing or undefined"
        )
    return (to_ras @ np.array([x, y, z, 1.0]))[:3]


def to_lps(point: np.ndarray) -> np.ndarray:
    """(D,) world mm to (3,) LPS mm; a 2D point lies in the plane z = 0 (see `landmark_files`)."""
    if len(point) == 2:
        return np.append(point, 0.0)
    return point * np.array([-1.0, -1.0, 1.0])
