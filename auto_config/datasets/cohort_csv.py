"""One CSV table for a whole cohort, with a line for each landmark of each case.

Columns, in any order and case:

- the case: ``case`` (or ``image``, ``id``, ``subject``, ``file``, ``filename``): name or path of its image; with both
  ``case`` and ``image``, ``image`` is the path;
- the landmark: ``landmark`` (or ``label``, ``name``, ``point``);
- the point, its system in the name: ``x_ras_mm, y_ras_mm, z_ras_mm`` or ``x_lps_mm, ...`` (also ``x_ras, ...``), or
  ``x, y, z`` with a column ``coordinate_system`` of ``RAS`` or ``LPS``;
- optional: ``status`` (present, absent, unknown) or ``present`` (1, 0); ``split`` (training, test), ``fold``,
  ``group``.

A line without coordinates is unknown unless its status says more. ``predictions.csv`` of `predict` has this form.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from auto_config.bundle_scripts.landmark_files import read_text
from auto_config.bundle_scripts.landmarks import ABSENT, PRESENT, STATUS_WORDS, UNKNOWN, LandmarkFileError, LandmarkSet
from auto_config.datasets.entries import Entry, Reading, absolute, find_files
from auto_config.datasets.images import IMAGE_SUFFIXES, image_stem, image_suffix
from auto_config.datasets.model import Problem
from auto_config.errors import UserError

_CASE_COLUMNS = ("case", "image", "id", "subject", "file", "filename")
_LANDMARK_COLUMNS = ("landmark", "label", "name", "point")
_SIGNS = {"RAS": (1.0, 1.0, 1.0), "LPS": (-1.0, -1.0, 1.0)}
_STATUS = {"present": PRESENT, **STATUS_WORDS}
_PRESENT = {"1": PRESENT, "true": PRESENT, "yes": PRESENT, "0": ABSENT, "false": ABSENT, "no": ABSENT}
_SPLITS = {"training": "training", "train": "training", "test": "test", "testing": "test"}


@dataclass
class _Rows:
    """The lines of one case, as they are read."""

    names: list[str] = field(default_factory=list)
    points: list[tuple[float, float, float]] = field(default_factory=list)
    status: list[int] = field(default_factory=list)
    image: str = ""
    extra: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Columns:
    """Which columns hold what."""

    case: str
    image: str
    landmark: str
    point: tuple[str, str, str]
    system: str | None
    """The system of all points, or None where the column ``coordinate_system`` says it."""


def is_cohort_csv(path: Path) -> bool:
    """Whether a table has columns for case, landmark and coordinates."""
    try:
        _columns(_table(path)[0], path)
    except (UserError, LandmarkFileError):
        return False
    return True


def read_cohort_csv(source: Path) -> Reading:
    """Read a cohort table and find its images.

    Images are looked for as paths relative to the table's folder, then by name (with or without ending) below it.

    Args:
        source: The table, with commas, semicolons or tabs.

    Returns:
        The cases; wrong lines and cases without image as problems.

    Raises:
        UserError: The table has no columns for case, landmark or point, or points without declared system.
    """
    try:
        header, lines = _table(source)
    except LandmarkFileError as error:
        raise UserError(str(error)) from error
    columns = _columns(header, source)
    reading = Reading([], [])
    cases: dict[str, _Rows] = {}
    broken: set[str] = set()
    for number, line in lines:
        case = line.get(columns.case, "")
        try:
            _add(cases.setdefault(case, _Rows()), line, columns, f"{source}: line {number}")
        except UserError as error:
            reading.problems.append(Problem("error", str(error), case or None, line.get(columns.landmark) or None))
            broken.add(case)
    images = _image_index(source.parent)
    for case, rows in cases.items():
        if case in broken:
            continue
        candidates = _candidates(rows.image, images, source.parent)
        if not candidates:
            message = (
                f"{source}: no image for case {case!r} below {source.parent}; add it, or give its path in a column "
                "'image', until then the case is left out"
            )
            reading.problems.append(Problem("warning", message, case))
            continue
        try:
            reading.entries.append(_entry(case, rows, candidates, source))
        except UserError as error:
            reading.problems.append(Problem("error", str(error), case))
    used = {entry.image[0] for entry in reading.entries}
    mentioned = {image_stem(Path(rows.image)) for rows in cases.values()}
    for path in find_files(source.parent, IMAGE_SUFFIXES):
        if absolute(path) not in used and image_stem(path) not in mentioned:
            message = f"{path}: no line in {source.name} names this image; add its landmarks, until then it is left out"
            reading.problems.append(Problem("warning", message, image_stem(path)))
    return reading


def _table(path: Path) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """Column names in lower case, and the lines with their numbers."""
    lines = read_text(path).splitlines()
    if not lines:
        raise UserError(f"{path}: the table is empty; give a header line and a line for each landmark")
    delimiter = max(",;\t", key=lines[0].count)
    header = [name.strip().lower() for name in next(csv.reader(lines[:1], delimiter=delimiter))]
    reader = csv.reader(lines[1:], delimiter=delimiter)
    rows = [
        (reader.line_num + 1, dict(zip(header, (value.strip() for value in values), strict=False)))
        for values in reader
        if any(value.strip() for value in values)
    ]
    return header, rows


def _columns(header: list[str], path: Path) -> _Columns:
    shown = ", ".join(header)
    case = next((name for name in _CASE_COLUMNS if name in header), None)
    landmark = next((name for name in _LANDMARK_COLUMNS if name in header), None)
    if case is None or landmark is None:
        missing, names = ("case", _CASE_COLUMNS) if case is None else ("landmark", _LANDMARK_COLUMNS)
        raise UserError(f"{path}: no column for the {missing} among {shown}; name one of them {' or '.join(names)}")
    image = "image" if "image" in header else case
    for system in _SIGNS:
        for ending in (f"_{system.lower()}_mm", f"_{system.lower()}"):
            point = (f"x{ending}", f"y{ending}", f"z{ending}")
            if set(point) <= set(header):
                return _Columns(case, image, landmark, point, system)
    if {"x", "y", "z", "coordinate_system"} <= set(header):
        return _Columns(case, image, landmark, ("x", "y", "z"), None)
    raise UserError(
        f"{path}: no columns x_ras_mm, y_ras_mm, z_ras_mm or x_lps_mm, y_lps_mm, z_lps_mm among {shown}; rename the "
        "columns of the coordinates to say their system, in mm"
    )


def _add(rows: _Rows, line: Mapping[str, str], columns: _Columns, where: str) -> None:
    """Add one line to its case."""
    name = line.get(columns.landmark, "")
    if not line.get(columns.case) or not name:
        raise UserError(f"{where}: has no case or no landmark name; fill it in or remove the line")
    if name in rows.names:
        raise UserError(f"{where}: landmark {name!r} occurs twice in case {line[columns.case]!r}; remove one of them")
    system = columns.system or line.get("coordinate_system", "").upper()
    if system not in _SIGNS:
        raise UserError(f"{where}: coordinate_system is {system!r}; allowed are RAS and LPS")
    texts = [line.get(column, "") for column in columns.point]
    status = _status(line, where, has_point=any(texts))
    point = (math.nan, math.nan, math.nan)
    if status == PRESENT:
        try:
            x, y, z = (sign * float(text) for sign, text in zip(_SIGNS[system], texts, strict=True))
        except ValueError as error:
            raise UserError(
                f"{where}: landmark {name!r} has coordinates {', '.join(map(repr, texts))}; give three numbers in mm"
            ) from error
        if not all(math.isfinite(value) for value in (x, y, z)):
            raise UserError(
                f"{where}: landmark {name!r} has coordinates {', '.join(texts)} that are not finite; place it again, "
                "or leave them empty"
            )
        point = (x, y, z)
    rows.names.append(name)
    rows.points.append(point)
    rows.status.append(status)
    rows.image = rows.image or line.get(columns.image, "")
    for key in ("split", "fold", "group"):
        value = line.get(key, "")
        if value and rows.extra.setdefault(key, value) != value:
            raise UserError(
                f"{where}: {key} is {value!r}, but {rows.extra[key]!r} in another line of the case; make them equal"
            )


def _status(line: Mapping[str, str], where: str, *, has_point: bool) -> int:
    word = line.get("status", "").lower()
    if word:
        if word not in _STATUS:
            raise UserError(f"{where}: status is {word!r}; allowed are {', '.join(_STATUS)}")
        return _STATUS[word]
    word = line.get("present", "").lower()
    if word:
        if word not in _PRESENT:
            raise UserError(f"{where}: present is {word!r}; allowed are 1 and 0")
        return _PRESENT[word]
    return PRESENT if has_point else UNKNOWN


def _image_index(folder: Path) -> dict[str, list[Path]]:
    """Images below `folder` by file name and by name without ending."""
    index: dict[str, list[Path]] = {}
    for path in find_files(folder, IMAGE_SUFFIXES):
        for key in {path.name, image_stem(path)}:
            index.setdefault(key, []).append(path)
    return index


def _candidates(value: str, images: Mapping[str, list[Path]], folder: Path) -> list[Path]:
    """Images that a value of the table may mean."""
    direct = folder / value
    if image_suffix(direct) and direct.is_file():
        return [direct]
    return images.get(value) or images.get(Path(value).name) or []


def _entry(case: str, rows: _Rows, candidates: Sequence[Path], source: Path) -> Entry:
    if len(candidates) > 1:
        listed = " and ".join(str(path.relative_to(source.parent)) for path in candidates)
        raise UserError(f"{source}: case {case!r} fits several images, {listed}; keep one, or name its path")
    try:
        landmarks = LandmarkSet(tuple(rows.names), np.array(rows.points), np.array(rows.status, dtype=np.int8))
    except ValueError as error:
        raise UserError(f"{source}: case {case!r}: {error}") from error
    split = rows.extra.get("split", "training").lower()
    if split not in _SPLITS:
        raise UserError(f"{source}: case {case!r}: split is {split!r}; allowed are training and test")
    fold = rows.extra.get("fold")
    if fold is not None and not fold.isdecimal():
        raise UserError(f"{source}: case {case!r}: fold is {fold!r}; give a number from 0 on, or leave it empty")
    return Entry(
        name=image_stem(Path(case)),
        image=(absolute(candidates[0]),),
        landmarks=landmarks,
        label=str(source),
        split=_SPLITS[split],
        fold=None if fold is None else int(fold),
        group=rows.extra.get("group"),
    )
