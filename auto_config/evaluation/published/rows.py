"""Accuracy that papers report on public data sets, kept as data (``rows.json``) and shown beside one's own.

A figure is worth a comparison only on the same split and the same truth, so each row says which it has, and what is
known to weaken it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

from rich.table import Table

from auto_config.errors import UserError
from auto_config.evaluation.tables import in_percent, three_digits

THRESHOLDS = ("2", "2.5", "3", "4")
"""Distances in mm for which papers report how many landmarks are found."""


@dataclass(frozen=True)
class Published:
    """One row of a paper.

    Attributes:
        data: Data set, as `convert --from` calls it.
        split: Which of its cases were tested, and on which the method was trained.
        method: As the paper calls it.
        mean_mm: Mean radial error.
        source: Who reports it.
        sd_mm: Its standard deviation, None where it is not reported.
        sdr_percent: Share of landmarks found, in percent, by threshold in mm.
        note: What weakens the figure, or which truth it has.
    """

    data: str
    split: str
    method: str
    mean_mm: float
    source: str
    sd_mm: float | None = None
    sdr_percent: Mapping[str, float] = field(default_factory=dict)
    note: str = ""


@cache
def published() -> tuple[Published, ...]:
    """All rows, in the order of the file."""
    text = files("auto_config.evaluation.published").joinpath("rows.json").read_text(encoding="utf-8")
    return tuple(Published(**row) for row in json.loads(text))


def published_rows(name: str) -> tuple[Published, ...]:
    """The rows of a data set.

    Raises:
        UserError: There is none of this name.
    """
    rows = tuple(row for row in published() if row.data == name)
    if not rows:
        known = ", ".join(dict.fromkeys(row.data for row in published()))
        raise UserError(f"--compare_published is {name!r}; published figures are known of {known}")
    return rows


def published_table(rows: Sequence[Published], numbers: Mapping[str, Any]) -> Table:
    """These predictions in the first row, then the published ones, by split and then by mean error.

    Args:
        rows: Of one data set.
        numbers: Content of ``metrics.json``, in mm.
    """
    table = Table()
    table.add_column("method")
    table.add_column("mean mm", justify="right")
    for threshold in THRESHOLDS:
        table.add_column(f"{threshold} mm", justify="right")
    table.add_column("split, source", style="dim")
    ours = {f"{float(threshold):g}": rate for threshold, rate in numbers["sdr"].items()}
    found = (in_percent(ours.get(threshold)) for threshold in THRESHOLDS)
    table.add_row("these predictions", three_digits(numbers["mre_mm"]["mean"]), *found, "", style="bold")
    order = list(dict.fromkeys(row.split for row in rows))
    for row in sorted(rows, key=lambda row: (order.index(row.split), row.mean_mm)):
        rates = [in_percent(row.sdr_percent.get(threshold)) for threshold in THRESHOLDS]
        where = "; ".join(filter(None, (row.split, row.source, row.note)))
        table.add_row(row.method, f"{row.mean_mm:g}", *rates, where)
    return table
