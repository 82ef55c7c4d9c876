"""How a cohort table is laid out: a line for each landmark (long), or a line for each case (wide)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from auto_config.bundle_scripts.points.landmarks import duplicate_names
from auto_config.datasets.formats.shared.tables import (
    CASE_COLUMNS,
    ENDINGS,
    IMAGE_COLUMNS,
    LANDMARK_COLUMNS,
    PointColumns,
    System,
)
from auto_config.errors import UserError

_AXES = "xyz"
# Rows and columns of a picture's array, as scikit-image and MATLAB count them: a column is x, a row is y.
_AXIS_WORDS = {"row": "y", "col": "x", "column": "x"}
_AXIS = "(?P<axis>[xyz]|" + "|".join(_AXIS_WORDS) + ")"
SAYING_COLUMNS = ("status", "present", "split", "fold", "group", "coordinate_system")
"""Columns that say something of a line."""
_SYSTEM = "(" + "|".join(re.escape(ending) for ending in ENDINGS) + ")"
# ``AC_x_ras_mm``, ``x_AC``, ``x1``, in this order: a name may itself begin or end with x.
_WIDE = (
    re.compile(rf"(?P<name>.+)[ _.\-]{_AXIS}(?P<ending>{_SYSTEM})", re.IGNORECASE | re.DOTALL),
    re.compile(rf"{_AXIS}[ _.\-](?P<name>.+?)(?P<ending>{_SYSTEM})", re.IGNORECASE | re.DOTALL),
    re.compile(rf"(?P<axis>[xyz])(?P<name>\d+)(?P<ending>{_SYSTEM})", re.IGNORECASE),
    re.compile(rf"(?P<name>[^xyz]*\d+)(?P<axis>[xyz])(?P<ending>{_SYSTEM})", re.IGNORECASE),
)


@dataclass(frozen=True)
class Layout:
    """Which columns of a table hold what.

    Args:
        header: Column names in lower case, for the columns that are not points.
        case: Name of the column of the case.
        image: Names of the columns of the image's path, one for each channel.
        landmark: Name of the column of the landmark's name; None in a wide table.
        point: Columns of the point in a long table; those of the first landmark in a wide one.
        points: Landmark and columns of each point of a wide table; a landmark may occur more than once.
        per_line: Whether a column ``coordinate_system`` says the system of each line.
        unread: Columns of a wide table that are named as coordinates and belong to no point.
    """

    header: tuple[str, ...]
    case: str
    image: tuple[str, ...]
    landmark: str | None
    point: PointColumns
    points: tuple[tuple[str, PointColumns], ...] = ()
    per_line: bool = False
    unread: tuple[str, ...] = ()

    @property
    def places(self) -> frozenset[int]:
        """Places of all columns of coordinates."""
        return frozenset(place for points in (self.point, *(own for _, own in self.points)) for place in points.places)


def table_layout(header: Sequence[str], path: Path) -> Layout:
    """Find the columns of a table.

    Raises:
        UserError: There are none for case, landmark or point, or a needed one occurs twice.
    """
    lower = tuple(name.lower() for name in header)
    shown = ", ".join(header)[:300]
    case = next((name for name in CASE_COLUMNS if name in lower), None)
    if case is None:
        raise UserError(f"{path}: no column for the case among {shown}; name one of them {' or '.join(CASE_COLUMNS)}")
    channels = (f"image_{number}" for number in range(2, len(lower)))
    first = next((name for name in IMAGE_COLUMNS if name in lower), None)
    image = (first, *(name for name in channels if name in lower)) if first else (case,)
    landmark = next((name for name in LANDMARK_COLUMNS if name in lower), None)
    point = _long_point(lower)
    if landmark is not None and point is not None:
        used = {*(lower[place] for place in point.places), case, landmark, *image, *SAYING_COLUMNS}
        if repeated := duplicate_names(name for name in lower if name in used):
            raise UserError(f"{path}: column {repeated[0]!r} occurs twice; keep one of them")
        return Layout(lower, case, image, landmark, point, per_line="coordinate_system" in lower)
    points = _wide_points(header, path)
    if points and landmark is None:
        return Layout(lower, case, image, None, points[0][1], points, unread=_unread(header, points))
    if landmark is None:
        raise UserError(
            f"{path}: no column for the landmark among {shown}; name one of them {' or '.join(LANDMARK_COLUMNS)}, or "
            "give a line for each case with columns such as AC_x_ras_mm, AC_y_ras_mm, AC_z_ras_mm, or AC_x, AC_y"
        )
    raise UserError(
        f"{path}: no columns of a point among {shown}; rename the coordinates: of pictures to x, y (pixels) or "
        "x_mm, y_mm, of volumes to x_ras_mm, y_ras_mm, z_ras_mm, to x_lps_mm, ... or to x_voxel, ..."
    )


def _unread(header: Sequence[str], points: tuple[tuple[str, PointColumns], ...]) -> tuple[str, ...]:
    """Columns that are named as coordinates, and that no point has."""
    used = {place for _, columns in points for place in columns.places}
    return tuple(
        name
        for place, name in enumerate(header)
        if place not in used and any(pattern.fullmatch(name) for pattern in _WIDE)
    )


def _long_point(header: tuple[str, ...]) -> PointColumns | None:
    for dims in (3, 2):
        # A picture's pixels are the same number whatever its pixel size is said to be.
        order = sorted(ENDINGS, key=lambda ending: ENDINGS[ending] != "voxel") if dims == 2 else list(ENDINGS)
        for ending in order:
            names = [f"{axis}{ending}" for axis in _AXES[:dims]]
            if set(names) <= set(header) and _fits(ending, dims):
                return PointColumns(tuple(map(header.index, names)), _system(ending, dims))
    if {"i", "j", "k"} <= set(header):
        return PointColumns(tuple(header.index(axis) for axis in "ijk"), "voxel")
    for column in ("col", "column"):
        for ending in ("", "_px", "_pixel"):
            if {column + ending, f"row{ending}"} <= set(header):
                return PointColumns((header.index(column + ending), header.index(f"row{ending}")), "voxel")
    return None


def _fits(ending: str, dims: int) -> bool:
    """Whether an ending can stand for points of so many coordinates: RAS and LPS are 3D."""
    return dims == 3 or ENDINGS[ending] not in ("ras", "lps")


def _system(ending: str, dims: int) -> System | None:
    return "mm" if dims == 2 and ending == "_mm" else ENDINGS[ending]


def _wide_points(header: Sequence[str], path: Path) -> tuple[tuple[str, PointColumns], ...]:
    """The points of a wide table in the order of their first columns; empty where it has none."""
    for pattern in _WIDE:
        groups: dict[tuple[str, str], dict[str, list[int]]] = {}
        for place, column in enumerate(header):
            match = pattern.fullmatch(column)
            # ``x_ras_mm`` is a point without a name, and not one of the landmark ``ras``.
            if match and f"_{match['name']}{match['ending']}".lower() not in ENDINGS:
                key = (match["name"], match["ending"].lower())
                axis = match["axis"].lower()
                groups.setdefault(key, {}).setdefault(_AXIS_WORDS.get(axis, axis), []).append(place)
        groups = {key: axes for key, axes in groups.items() if {"x", "y"} <= axes.keys()}
        if groups:
            return _joined(groups, path)
    return ()


def _joined(groups: dict[tuple[str, str], dict[str, list[int]]], path: Path) -> tuple[tuple[str, PointColumns], ...]:
    points: list[tuple[int, str, PointColumns]] = []
    for (name, ending), axes in groups.items():
        counts = {len(places) for places in axes.values()}
        if len(counts) > 1:
            raise UserError(f"{path}: landmark {name!r} has not equally many columns of x, y and z; complete them")
        dims = 3 if "z" in axes else 2
        if not _fits(ending, dims):
            raise UserError(f"{path}: landmark {name!r} has columns {ending.lstrip('_')} of x and y but no z; add it")
        columns = zip(*(axes[axis] for axis in _AXES[:dims]), strict=True)
        points += [(places[0], name, PointColumns(places, _system(ending, dims))) for places in columns]
    kinds = {(columns.spatial_dims, columns.system) for *_, columns in points}
    if len(kinds) > 1:
        raise UserError(f"{path}: its landmarks have columns of different systems; give all of them in one system")
    return tuple((name, columns) for _, name, columns in sorted(points, key=lambda point: point[0]))
