"""CSV and TSV tables: their lines, and the columns that say where a case belongs and what a point is."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from auto_config.bundle_scripts.points.landmark_text import read_text
from auto_config.bundle_scripts.points.landmarks import LandmarkFileError
from auto_config.choices import Coordinates
from auto_config.datasets.formats.shared.options import voxel_to_world
from auto_config.datasets.images import Header
from auto_config.errors import UserError

System = Literal["ras", "lps", "voxel", "mm"]
"""What the numbers of a point are; ``mm`` are world mm of a picture."""

IMAGE_COLUMNS = ("image", "image_path", "file_path", "img")
CASE_COLUMNS = ("case", "image", "id", "subject", "file", "filename", *IMAGE_COLUMNS[1:])
LANDMARK_COLUMNS = ("landmark", "label", "name", "point")

# The ending of a column name to its system, the surest first; None leaves it open.
ENDINGS: dict[str, System | None] = {
    "_ras_mm": "ras",
    "_ras": "ras",
    "_lps_mm": "lps",
    "_lps": "lps",
    "_voxel": "voxel",
    "_vox": "voxel",
    "_pixel": "voxel",
    "_px": "voxel",
    "_mm": None,
    "": None,
}
SYSTEM_WORDS: dict[str, System] = {"ras": "ras", "lps": "lps", "ijk": "voxel", "voxel": "voxel", "pixel": "voxel"}
_SPLITS = {"training": "training", "train": "training", "test": "test", "testing": "test"}
_LPS = np.array([-1.0, -1.0, 1.0])
_LARGEST_FOLD = 10**6
_DECIMAL_COMMA = re.compile(r"[-+]?\d*,\d+([eE][-+]?\d+)?", re.ASCII)


Lines = list[tuple[int, list[str]]]
"""Lines of a table: the number in the file, and the cells."""


def read_table(path: Path) -> tuple[list[str], Lines]:
    """The first two of `read_delimited`."""
    return read_delimited(path)[:2]


def read_delimited(path: Path) -> tuple[list[str], Lines, str]:
    """Column names, the lines with their numbers, the delimiter; cells without blanks at their ends, no empty lines.

    The delimiter is the comma, semicolon or tab that the first line has most of; a first line ``sep=;``, which Excel
    writes and reads, says it.

    Raises:
        UserError: The file cannot be read, is empty, or is not a table.
    """
    try:
        text = read_text(path)
    except LandmarkFileError as error:
        raise UserError(str(error)) from error
    first = re.sub(r'"(?:[^"]|"")*"', "", text.lstrip("\r\n").split("\n", 1)[0])
    said = re.fullmatch(r"sep=([,;\t])", first.rstrip("\r"), flags=re.IGNORECASE)
    delimiter = said[1] if said else _delimiter(first)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    rows: list[tuple[int, list[str]]] = []
    try:
        for values in reader:
            cells = [value.strip() for value in values]
            if any(cells) and not (said and not rows and cells[0].lower() == "sep="):
                rows.append((reader.line_num, cells))
    except csv.Error as error:
        raise UserError(f"{path}: line {reader.line_num}: is not a table ({error}); save it again as CSV") from error
    if not rows:
        raise UserError(f"{path}: the table is empty; give a header line and a line for each landmark")
    return rows[0][1], rows[1:], delimiter


def _delimiter(line: str) -> str:
    """What most likely separates the cells of a line; a comma in a number between semicolons or tabs does not."""
    for sign in ";\t":
        commas = [cell for cell in line.split(sign) if "," in cell]
        if sign in line and commas and all(_DECIMAL_COMMA.fullmatch(cell.strip()) for cell in commas):
            return sign
    return max(",;\t", key=line.count)


def with_decimal_points(lines: Lines, places: Collection[int], delimiter: str, path: Path) -> Lines:
    """The lines with decimal points for the decimal commas of coordinates, which spreadsheets of many countries write.

    Only where the comma does not separate cells; there a number with a comma stays what it is, an error.

    Args:
        lines: Lines of a table.
        places: Columns of the coordinates.
        delimiter: What separates the cells.
        path: The table, named in errors.

    Raises:
        UserError: Some numbers have a comma and others a point, so that one of them may separate thousands.
    """
    cells = [(number, cells[place]) for number, cells in lines for place in places if place < len(cells)]
    commas = [(number, cell) for number, cell in cells if "," in cell] if delimiter != "," else []
    if not commas:
        return lines
    if points := [(number, cell) for number, cell in cells if "." in cell]:
        raise UserError(
            f"{path}: line {commas[0][0]} has {commas[0][1][:60]!r} with a comma, line {points[0][0]} "
            f"{points[0][1][:60]!r} with a point; write all numbers with a decimal point, or all with a decimal comma"
        )
    return [
        (number, [with_decimal_point(cell) if place in places else cell for place, cell in enumerate(cells)])
        for number, cells in lines
    ]


def with_decimal_point(text: str) -> str:
    """A number with a decimal comma as one with a decimal point; any other text as it is."""
    return text.replace(",", ".") if _DECIMAL_COMMA.fullmatch(text) else text


def row_of(header: Sequence[str], values: Sequence[str], where: str) -> dict[str, str]:
    """The cells of a line by the names of their columns.

    Raises:
        UserError: The line has more cells than there are columns.
    """
    if any(values[len(header) :]):
        raise UserError(
            f"{where}: has {len(values)} cells for {len(header)} columns; put quotes around names with commas, and "
            "write numbers with a point, or put semicolons between the cells of numbers with a decimal comma"
        )
    return dict(zip(header, values, strict=False))


def stated(cell: str) -> str:
    """What a cell says: nothing where it is NaN, which pandas and R write for an empty one."""
    return "" if cell.lower() == "nan" else cell


def placement(row: Mapping[str, str], where: str) -> tuple[str, int | None, str | None]:
    """Split, fold and group of a line that has them in columns of these names; empty cells say nothing.

    Raises:
        UserError: A split or a fold that does not exist.
    """
    split = stated(row.get("split", "")) or "training"
    if split.lower() not in _SPLITS:
        raise UserError(f"{where}: split is {split!r}; allowed are training and test")
    fold = stated(row.get("fold", ""))
    if fold and not (fold.isascii() and fold.isdecimal() and len(fold) < len(str(_LARGEST_FOLD))):
        raise UserError(f"{where}: fold is {fold[:60]!r}; give a number from 0 on, or leave it empty")
    return _SPLITS[split.lower()], int(fold) if fold else None, stated(row.get("group", "")) or None


@dataclass(frozen=True)
class PointColumns:
    """The columns of a point.

    Args:
        places: Their places in the header, two or three, x first.
        system: What their names say; None where they leave it open.
    """

    places: tuple[int, ...]
    system: System | None

    @property
    def spatial_dims(self) -> int:
        """Number D of coordinates."""
        return len(self.places)


def resolved_system(columns: PointColumns, wanted: Coordinates | None, path: Path) -> System:
    """What the numbers of a table are, by the names of its columns and by what was said.

    A picture's ``x, y`` are pixels and its ``x_mm, y_mm`` world mm; in 3D nothing is assumed.

    Raises:
        UserError: Nobody says it, or columns and `wanted` contradict each other.
    """
    said: System | None = None if wanted is None else "mm" if wanted == "mm" else SYSTEM_WORDS[wanted]
    if columns.spatial_dims == 2 and said in ("ras", "lps"):
        raise UserError(
            f"{path}: points have two coordinates, which are not {said.upper()}; use --coordinates pixel or mm"
        )
    if columns.spatial_dims == 3 and said == "mm":
        raise UserError(f"{path}: points in mm of a volume are RAS or LPS; say --coordinates ras or lps")
    if columns.system is not None:
        if said is not None and said != columns.system:
            raise UserError(
                f"{path}: --coordinates is {wanted}, but the columns are named as {columns.system}; rename them or "
                "leave the option out"
            )
        return columns.system
    if said is not None:
        return said
    if columns.spatial_dims == 2:
        return "voxel"
    raise UserError(
        f"{path}: the coordinates may be RAS or LPS mm or voxel indices; say it with --coordinates ras, lps or voxel, "
        "or rename the columns to x_ras_mm, y_ras_mm, z_ras_mm, to x_lps_mm, ... or to x_voxel, ..."
    )


def to_world(points: np.ndarray, system: System, header: Header | None) -> np.ndarray:
    """Points (N, D) of a table in world mm.

    Args:
        points: As the table has them.
        system: What they are.
        header: The image; only ``voxel`` needs it.

    Raises:
        UserError: The image has another number of axes than the points.
    """
    if system == "lps":
        return points * _LPS
    if system == "voxel" and header is not None:
        return voxel_to_world(header, points)
    return points
