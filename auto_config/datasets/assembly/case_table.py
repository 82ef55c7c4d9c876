"""``cases.csv``: split, fold and group of the cases of a data set whose files have no place for them.

Columns ``case`` and any of ``split`` (training, test), ``fold`` and ``group``; it lies in the folder of the data set.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from auto_config.bundle_scripts.files.text import atomic_write_text
from auto_config.datasets.formats.shared.entries import Entry
from auto_config.datasets.formats.shared.image_names import meant_name
from auto_config.datasets.formats.shared.tables import placement, read_table, row_of
from auto_config.datasets.model.dataset import Case, Problem
from auto_config.datasets.model.names import mistyped
from auto_config.errors import UserError

FILE_NAME = "cases.csv"
_COLUMNS = ("case", "split", "fold", "group")


def has_placement(cases: Sequence[Case]) -> bool:
    """Whether any case is a test case or has a fold or a group."""
    return any(case.split != "training" or case.fold is not None or case.group is not None for case in cases)


def write_case_table(path: Path, rows: Sequence[tuple[str, Case]]) -> None:
    """Write a ``cases.csv`` for cases by the name that they have on disk, atomically."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for name, case in rows:
        writer.writerow([name, case.split, "" if case.fold is None else case.fold, case.group or ""])
    atomic_write_text(path, stream.getvalue())


def place_entries(path: Path, entries: Sequence[Entry]) -> tuple[list[Entry], list[Problem]]:
    """Give entries their split, fold and group from a ``cases.csv``.

    Args:
        path: The table.
        entries: Cases as their format gives them.

    Returns:
        The same cases, and what is wrong in the table; a case with a wrong line is left out with an error.

    Raises:
        UserError: The table cannot be read.
    """
    header, lines = read_table(path)
    header = [name.lower() for name in header]
    if "case" not in header:
        raise UserError(f"{path}: has no column 'case'; give the columns {', '.join(_COLUMNS)}, or remove the file")
    if not {"split", "fold", "group"} & set(header):
        raise UserError(f"{path}: has none of the columns split, fold and group; name them so, or remove the file")
    known = {entry.name for entry in entries}
    placed: dict[str, tuple[str, int | None, str | None]] = {}
    problems: list[Problem] = []
    if slip := mistyped(header, _COLUMNS):
        message = f"{path}: column {slip[0]!r} is not read; if {slip[1]!r} is meant, rename it"
        problems.append(Problem("warning", message))
    wrong: set[str] = set()
    for number, values in lines:
        row = dict(zip(header, values, strict=False))
        written, where = row.get("case", ""), f"{path}: line {number}"
        name = meant_name(written, known) or written
        if name not in known:
            message = f"{where}: case {name!r} is not in the data set; correct or remove the line"
            problems.append(Problem("warning", message, name or None))
            continue
        try:
            if name in placed:
                raise UserError(f"{where}: case {name!r} occurs twice; remove one of the lines")
            placed[name] = placement(row_of(header, values, where), where)
        except UserError as error:
            problems.append(Problem("error", str(error), name))
            wrong.add(name)
    found = []
    for entry in entries:
        if entry.name in wrong:
            continue
        split, fold, group = placed.get(entry.name, (entry.split, entry.fold, entry.group))
        found.append(replace(entry, split=split, fold=fold, group=group))
    return found, problems
