"""Write a data set as one table, long or wide; `cohort_csv` reads both."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Any

from auto_config.bundle_scripts.files.text import atomic_write_text
from auto_config.datasets.formats.shared.points import Value, rows_of
from auto_config.datasets.formats.shared.target import Target
from auto_config.datasets.model.dataset import Case

FILE_NAME = "points.csv"


def write_cohort_csv(target: Target) -> None:
    """Write ``points.csv`` with a line for each landmark, or instance of one, of each case."""
    header = ["case", "landmark", *_endings(target), "status", "split", "fold", "group", *_image_columns(target)]
    blank = [""] * target.dataset.spatial_dims
    lines = []
    for case in target.cases:
        placed = _placed(target, case)
        for name, value in rows_of(target.landmarks(case)):
            point, status = (blank, value) if isinstance(value, str) else ([*map(repr, value)], "present")
            lines.append([target.stem(case), name, *point, status, *placed])
    _write(target, header, lines)


def write_wide_csv(target: Target) -> None:
    """Write ``points.csv`` with a line for each case and a group of columns for each landmark, or instance of one."""
    found: list[dict[str, list[Value]]] = []
    for case in target.cases:
        values: dict[str, list[Value]] = {}
        for name, value in rows_of(target.landmarks(case)):
            values.setdefault(name, []).append(value)
        found.append(values)
    groups = [
        (name, number)
        for name in target.dataset.names
        for number in range(max((len(values.get(name, ())) for values in found), default=0))
    ]
    endings = _endings(target)
    columns = [f"{name}_{ending}" for name, _ in groups for ending in endings]
    header = ["case", *columns, "split", "fold", "group", *_image_columns(target)]
    lines = []
    for case, values in zip(target.cases, found, strict=True):
        cells: list[str] = []
        for name, number in groups:
            value = values[name][number] if number < len(values.get(name, ())) else ""
            cells += [value] * len(endings) if isinstance(value, str) else [*map(repr, value)]
        lines.append([target.stem(case), *cells, *_placed(target, case)])
    _write(target, header, lines)


def _endings(target: Target) -> list[str]:
    """Names of the columns of a point."""
    if target.dataset.spatial_dims == 3:
        return ["x_ras_mm", "y_ras_mm", "z_ras_mm"]
    return [f"{axis}_{target.dataset.unit}" for axis in "xy"]


def _image_columns(target: Target) -> list[str]:
    channels = max((len(case.image) for case in target.cases), default=1)
    return ["image", *(f"image_{number}" for number in range(2, channels + 1))]


def _placed(target: Target, case: Case) -> list[Any]:
    paths = target.image_paths(case)
    columns = len(_image_columns(target))
    fold = "" if case.fold is None else case.fold
    return [case.split, fold, case.group or "", *paths, *[""] * (columns - len(paths))]


def _write(target: Target, header: Sequence[str], lines: Iterable[Sequence[Any]]) -> None:
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n", quoting=csv.QUOTE_ALL).writerow(header)
    csv.writer(stream, lineterminator="\n").writerows(lines)
    atomic_write_text(target.file(FILE_NAME), stream.getvalue())
