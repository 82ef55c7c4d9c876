"""One CSV or TSV table for a cohort: long, with a line for each landmark of each case, or wide, one for each case.

Columns, in any order:

- the case: ``case`` (or ``image``, ``id``, ``subject``, ``file``, ``filename``): name or path of its image; with both
  ``case`` and ``image``, ``image`` is the path (``image_2``, ... those of further channels);
- long: the landmark, ``landmark`` (or ``label``, ``name``, ``point``), and its point, its system in the names:
  ``x_ras_mm, y_ras_mm, z_ras_mm``, ``x_lps_mm, ...``, ``x_voxel, ...`` (also ``i, j, k``), or ``x, y, z`` with a column
  ``coordinate_system`` or the option ``--coordinates``; of pictures ``x_px, y_px``, ``x, y`` or ``row, col`` in pixels,
  or ``x_mm, y_mm``;
- wide: ``AC_x_ras_mm, AC_y_ras_mm, AC_z_ras_mm, PC_x_ras_mm, ...``, also ``x_AC``, ``x1, y1``, with the same endings;
- optional: ``status`` (present, absent, unknown) or ``present`` (1, 0) in long tables; ``split`` (training, test),
  ``fold``, ``group``.

A line without coordinates is unknown unless its status says more; in a wide table the words ``absent`` and ``unknown``
stand in the cells, and empty cells are a landmark that the case lacks. A landmark declared ``many`` has a line, or a
group of columns, for each instance. ``predictions.csv`` of `predict` is a long table.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from auto_config.bundle_scripts.points.landmarks import ABSENT, PRESENT, STATUS_WORDS, UNKNOWN
from auto_config.datasets.formats.shared.case_files import find_images
from auto_config.datasets.formats.shared.entries import Entry, Reading, absolute
from auto_config.datasets.formats.shared.image_names import ImageNames, named_stem, without_zeros, zeros_problem
from auto_config.datasets.formats.shared.options import ReadOptions
from auto_config.datasets.formats.shared.points import Value, is_word, landmark_set, numbers
from auto_config.datasets.formats.shared.tables import (
    SYSTEM_WORDS,
    System,
    placement,
    read_delimited,
    read_table,
    resolved_system,
    row_of,
    stated,
    to_world,
    with_decimal_points,
)
from auto_config.datasets.formats.tables.layout import SAYING_COLUMNS, Layout, table_layout
from auto_config.datasets.images import image_stem
from auto_config.datasets.model.dataset import Problem
from auto_config.datasets.model.names import mistyped
from auto_config.errors import UserError

_STATUS = {"present": PRESENT, **STATUS_WORDS}
_PRESENT = {"1": PRESENT, "true": PRESENT, "yes": PRESENT, "0": ABSENT, "false": ABSENT, "no": ABSENT}
_WORDS = {status: word for word, status in STATUS_WORDS.items()}


@dataclass
class _Rows:
    """The landmarks of one case, as they are read: name, point in the table's system or status word, system."""

    landmarks: list[tuple[str, Value, System]] = field(default_factory=list)
    images: tuple[str, ...] = ()
    extra: dict[str, str] = field(default_factory=dict)


def is_cohort_csv(path: Path) -> bool:
    """Whether a table has columns for case, landmark and coordinates."""
    try:
        table_layout(read_table(path)[0], path)
    except UserError:
        return False
    return True


def read_cohort_csv(source: Path, options: ReadOptions) -> Reading:
    """Read a cohort table and find its images.

    Images are looked for as paths relative to the table's folder, then by name (with or without ending) below it.

    Args:
        source: The table, with commas, semicolons or tabs.
        options: How to read.

    Returns:
        The cases; wrong lines and cases without image as problems.

    Raises:
        UserError: The table has no columns for case, landmark or point, or points without declared system.
    """
    header, lines, delimiter = read_delimited(source)
    layout = table_layout(header, source)
    lines = with_decimal_points(lines, layout.places, delimiter, source)
    system = None if layout.per_line else resolved_system(layout.point, options.coordinates, source)
    reading = Reading([], [], spatial_dims=layout.point.spatial_dims)
    if layout.unread:
        listed = ", ".join(map(repr, layout.unread))[:200]
        message = f"{source}: columns {listed} are not read, they are no whole point; complete or rename them"
        reading.problems.append(Problem("warning", message))
    if slip := mistyped(layout.header, SAYING_COLUMNS):
        message = f"{source}: column {slip[0]!r} is not read; if {slip[1]!r} is meant, rename it"
        reading.problems.append(Problem("warning", message))
    cases: dict[str, _Rows] = {}
    broken: set[str] = set()
    for number, values in lines:
        where = f"{source}: line {number}"
        row = dict(zip(layout.header, values, strict=False))
        case = row.get(layout.case, "")
        try:
            row = row_of(layout.header, values, where)
            _add(cases, row, values, layout=layout, system=system, many=options.many, where=where)
        except UserError as error:
            name = row.get(layout.landmark, "") if layout.landmark else ""
            reading.problems.append(Problem("error", str(error), case or None, name or None))
            broken.add(case)
    systems = {system for rows in cases.values() for *_, system in rows.landmarks}
    reading = replace(reading, written=frozenset(systems))
    _, files = find_images(source.parent, source.parent)
    images = ImageNames(files, source.parent)
    shortened: list[tuple[str, Path]] = []
    for case, rows in cases.items():
        if case in broken:
            continue
        try:
            paths = _images(case, rows, images, source)
            if paths is None:
                message = (
                    f"{source}: no image for case {case!r} below {source.parent}; add it, or give its path in a column "
                    "'image', until then the case is left out"
                )
                reading.problems.append(Problem("warning", message, case))
                continue
            written = zip(rows.images or (case,), paths, strict=True)
            shortened += [(name, path) for name, path in written if without_zeros(name, path)]
            reading.entries.append(_entry(case, rows, paths, source, options, layout.point.spatial_dims))
        except UserError as error:
            reading.problems.append(Problem("error", str(error), case))
    used = {path for entry in reading.entries for path in entry.image}
    reading.problems.extend(zeros_problem(shortened, source))
    named = [*broken, *cases, *(image for rows in cases.values() for image in rows.images)]
    mentioned = {absolute(path) for name in named for path in images.find(name)}
    for path in files:
        if absolute(path) not in used | mentioned:
            message = f"{path}: no line in {source.name} names this image; add its landmarks, until then it is left out"
            reading.problems.append(Problem("warning", message, image_stem(path)))
    return reading


def _add(
    cases: dict[str, _Rows],
    row: Mapping[str, str],
    values: Sequence[str],
    *,
    layout: Layout,
    system: System | None,
    many: Collection[str],
    where: str,
) -> None:
    """Add one line to its case."""
    case = row.get(layout.case, "")
    name = row.get(layout.landmark, "") if layout.landmark else ""
    if not case or (layout.landmark and not name):
        raise UserError(f"{where}: has no case or no landmark name; fill it in or remove the line")
    if layout.landmark is None and case in cases:
        raise UserError(f"{where}: case {case!r} occurs twice; keep one of the lines")
    rows = cases.setdefault(case, _Rows())
    if layout.landmark is None:
        assert system is not None  # a wide table has no system of its own for each line
        for landmark, columns in layout.points:
            texts = _cells(values, columns.places)
            value = _wide_value(texts, f"{where}: landmark {landmark!r}")
            if value is not None:
                rows.landmarks.append((landmark, value, system))
    else:
        if system is None:
            word = row.get("coordinate_system", "")
            system = SYSTEM_WORDS.get(word.lower())
            if system is None or (layout.point.spatial_dims == 2 and system != "voxel"):
                allowed = "RAS, LPS and voxel" if layout.point.spatial_dims == 3 else "pixel"
                raise UserError(f"{where}: coordinate_system is {word!r}; allowed are {allowed}")
        if name not in many and any(name == other for other, *_ in rows.landmarks):
            raise UserError(
                f"{where}: landmark {name!r} occurs twice in case {case!r}; remove one of them, or declare it in "
                'landmarks.json with "instances": "many"'
            )
        texts = _cells(values, layout.point.places)
        rows.landmarks.append((name, _long_value(row, texts, f"{where}: landmark {name!r}"), system))
    if layout.image != (layout.case,):
        rows.images = rows.images or tuple(row[column] for column in layout.image if row.get(column))
    for key in ("split", "fold", "group"):
        value = stated(row.get(key, ""))
        if value and rows.extra.setdefault(key, value) != value:
            raise UserError(
                f"{where}: {key} is {value!r}, but {rows.extra[key]!r} in another line of the case; make them equal"
            )


def _cells(values: Sequence[str], places: Sequence[int]) -> list[str]:
    """The cells of a point; one of NaN only, which pandas and R write for missing numbers, has empty cells."""
    texts = [values[place] if place < len(values) else "" for place in places]
    return texts if any(map(stated, texts)) else [""] * len(texts)


def _long_value(row: Mapping[str, str], texts: list[str], where: str) -> Value:
    status = _status(row, where, has_point=any(texts))
    if status != PRESENT:
        return _WORDS[status]
    count = "three" if len(texts) == 3 else "two"
    return numbers(texts, where, f"give {count} numbers, with a point, or leave all of them empty")


def _wide_value(texts: list[str], where: str) -> Value | None:
    words = {text.lower() for text in texts if text}
    if not words:
        return None
    if len(words) == 1 and is_word(word := words.pop()):
        return word
    return numbers(texts, where, "give a number in each of its columns, or absent or unknown, or leave all empty")


def _status(row: Mapping[str, str], where: str, *, has_point: bool) -> int:
    word = stated(row.get("status", "")).lower()
    if word:
        if word not in _STATUS:
            raise UserError(f"{where}: status is {word!r}; allowed are {', '.join(_STATUS)}")
        return _STATUS[word]
    word = stated(row.get("present", "")).lower()
    if word:
        if word not in _PRESENT:
            raise UserError(f"{where}: present is {word!r}; allowed are 1 and 0")
        return _PRESENT[word]
    return PRESENT if has_point else UNKNOWN


def _images(case: str, rows: _Rows, images: ImageNames, source: Path) -> tuple[Path, ...] | None:
    """The image of a case, one path for each channel; None where one of them is not there."""
    found = []
    for value in rows.images or (case,):
        candidates = images.find(value)
        if not candidates:
            return None
        if len(candidates) > 1:
            listed = " and ".join(str(path.relative_to(source.parent)) for path in candidates)
            raise UserError(f"{source}: case {case!r} fits several images, {listed}; keep one, or name its path")
        found.append(absolute(candidates[0]))
    return tuple(found)


def _entry(  # noqa: PLR0917
    case: str, rows: _Rows, images: tuple[Path, ...], source: Path, options: ReadOptions, dims: int
) -> Entry:
    split, fold, group = placement(rows.extra, f"{source}: case {case!r}")
    systems = {system for _, value, system in rows.landmarks if not isinstance(value, str)}
    header = options.header(images) if systems & {"voxel", "mm"} else None
    if header is not None and "mm" in systems and header.unit == "px":
        raise UserError(
            f"{header.path}: its pixel size is not known, but {source.name} has points in mm; give --pixel_spacing"
        )
    world: list[tuple[str, Value]] = [
        (name, value if isinstance(value, str) else to_world(np.array([value]), system, header)[0].tolist())
        for name, value, system in rows.landmarks
    ]
    return Entry(
        # Beside a column of paths the case is a name; without it, the image's own name counts.
        name=named_stem(case) if rows.images else image_stem(images[0]),
        image=images,
        landmarks=landmark_set(world, spatial_dims=dims, many=options.many, where=f"{source}: case {case!r}"),
        label=str(source),
        split=split,
        fold=fold,
        group=group,
    )
