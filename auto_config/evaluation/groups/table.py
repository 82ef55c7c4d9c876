"""One row of numbers for each value of a column: for ``metrics.json``, a CSV table, the terminal and the report."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from rich.markup import escape
from rich.table import Table

from auto_config.evaluation.comparison import Comparison
from auto_config.evaluation.metrics import mean_with_interval
from auto_config.evaluation.report.sections import table
from auto_config.evaluation.tables import in_percent, with_unit

WITHOUT = "(none)"
"""The row of cases of which nothing is said."""

_ON_TERMINAL = ("cases", "mean error", "95 % interval", "mean shape")


def by_column(
    comparison: Comparison, column: str, values: Mapping[str, str], thresholds: Sequence[float]
) -> dict[str, Any]:
    """Errors of the cases of each value, in ascending order of the values; those of unsaid cases come last.

    Args:
        comparison: Predictions and truth.
        column: Its name.
        values: What it says of each case, by the case's name.
        thresholds: Distances of the success rates.

    Returns:
        ``column``, and ``values`` with, for each value, ``cases``, ``mre_mm`` (``mre_px``), ``sdr``, ``mre_interval``
        (bootstrap over cases, or None) and ``mean_shape`` (mean error in the same unit, or None).
    """
    said = np.array([values.get(case, "") for case in comparison.cases], dtype=object)
    order = sorted({value for value in said if value}, key=_natural)
    found: dict[str, Any] = {}
    for value in [*order, ""] if (said == "").any() else order:
        rows = said == value
        baseline = comparison.baseline_errors[rows]
        known = baseline[np.isfinite(baseline)]
        found[value or WITHOUT] = {
            "cases": int(rows.sum()),
            **mean_with_interval(comparison.errors[rows], thresholds, comparison.unit),
            "mean_shape": float(known.mean()) if known.size else None,
        }
    return {"column": column, "values": found}


def _natural(value: str) -> tuple[float, str]:
    """Numbers by their size, then words."""
    try:
        return float(value), ""
    except ValueError:
        return float("inf"), value


def _rows(found: Mapping[str, Any], unit: str) -> tuple[list[str], list[list[str]]]:
    some = next(iter(found["values"].values()))
    rates = list(some["sdr"])
    heads = [found["column"], "cases", "mean error", "95 % interval", "median", "95th percentile", "mean shape"]
    rows = []
    for value, row in found["values"].items():
        errors, interval = row[f"mre_{unit}"], row["mre_interval"]
        ends = "" if interval is None else f"{interval[0]:.3g} to {interval[1]:.3g} {unit}"
        numbers = [with_unit(errors[key], unit) for key in ("median", "p95")]
        shares = [in_percent(row["sdr"][rate]) for rate in rates]
        mean, shape = with_unit(errors["mean"], unit), with_unit(row["mean_shape"], unit)
        rows.append([value, str(row["cases"]), mean, ends, *numbers, shape, *shares])
    return [*heads, *(f"within {rate} {unit}" for rate in rates)], rows


def group_table(found: Mapping[str, Any], unit: str) -> Table:
    """For the terminal: what fits beside names."""
    heads, rows = _rows(found, unit)
    shown = [number for number, head in enumerate(heads) if head in _ON_TERMINAL or not number]
    drawn = Table(title=escape(f"by {found['column']}"), title_justify="left")
    for number in shown:
        drawn.add_column(escape(heads[number]), justify="right" if number else "left", no_wrap=not number)
    for row in rows:
        drawn.add_row(*(escape(row[number]) for number in shown))
    return drawn


def group_section(found: Mapping[str, Any] | None, unit: str) -> str:
    """For the report; empty where nobody asked."""
    if not found:
        return ""
    heads, rows = _rows(found, unit)
    return f"<h2>By {html.escape(heads[0])}</h2>\n{table(heads, rows)}"
