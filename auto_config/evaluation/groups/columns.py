"""What a declared column says of each case: its group, fold or split, or a further column of the data set."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from auto_config.datasets import Dataset
from auto_config.datasets.assembly.case_table import FILE_NAME as CASE_TABLE
from auto_config.datasets.formats.shared.image_names import meant_name
from auto_config.datasets.formats.shared.tables import read_table, row_of, stated
from auto_config.errors import UserError

PLACES = ("group", "split", "fold")
"""Columns that each format has."""


def column_values(dataset: Dataset, column: str) -> dict[str, str]:
    """The value of a column for each case of a data set.

    Args:
        dataset: As it was read.
        column: ``group``, ``split`` or ``fold``, a column of the ``cases.csv`` that lies in the folder of the data set,
            or a key of the cases of a data list.

    Returns:
        Text by the name of the case; cases without a value are left out.

    Raises:
        UserError: No case has a value, and what columns there are.
    """
    own = {name: {case.name: getattr(case, name) for case in dataset.cases} for name in PLACES}
    further = {**_of_datalist(dataset), **_of_table(dataset)}
    values = own.get(column.lower(), further.get(column.lower(), {}))
    found = {case: str(value) for case, value in values.items() if value is not None and str(value) != ""}
    if not found:
        has = [name for name, rows in {**further, **own}.items() if any(value is not None for value in rows.values())]
        folder = dataset.source if dataset.source.is_dir() else dataset.source.parent
        raise UserError(
            f"--by {column}: {dataset.source} says it of no case; it has {', '.join(sorted(has)) or 'nothing'}, and "
            f"{folder / CASE_TABLE} may have further columns beside case and group"
        )
    return found


def _of_table(dataset: Dataset) -> dict[str, dict[str, Any]]:
    """Columns of ``cases.csv`` by their names in small letters."""
    folder = dataset.source if dataset.source.is_dir() else dataset.source.parent
    path = folder / CASE_TABLE
    if not path.is_file():
        return {}
    header, lines = read_table(path)
    header = [name.lower() for name in header]
    known = {case.name for case in dataset.cases}
    found: dict[str, dict[str, Any]] = {name: {} for name in header if name not in ("case", *PLACES)}
    for number, values in lines:
        row = row_of(header, values, f"{path}: line {number}")
        case = meant_name(row.get("case", ""), known) or row.get("case", "")
        for name, rows in found.items():
            if case in known and (said := stated(row.get(name, ""))):
                rows[case] = said
    return found


def _of_datalist(dataset: Dataset) -> dict[str, dict[str, Any]]:
    """Keys of the cases of a data list whose values are words or numbers, by their names in small letters."""
    if dataset.format != "datalist" or not dataset.source.is_file():
        return {}
    document = json.loads(dataset.source.read_text(encoding="utf-8"))
    known = {case.name for case in dataset.cases}
    found: dict[str, dict[str, Any]] = {}
    for item in (item for part in document.values() if isinstance(part, list) for item in part):
        if not isinstance(item, Mapping) or item.get("case") not in known:
            continue
        for key, value in item.items():
            if key not in ("case", "image", "label", *PLACES) and isinstance(value, str | int | float):
                found.setdefault(key.lower(), {})[item["case"]] = value
    return found
