"""Tables of an evaluation: ``per_landmark.csv``, ``per_case.csv`` and what the terminal shows."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from rich.table import Table

from auto_config.evaluation.comparison import Comparison
from auto_config.evaluation.metrics import STATISTICS
from auto_config.inspection.problems import counted


def summary_csv(kind: str, rows: Mapping[str, Any], unit: str = "mm") -> str:
    """A table with one row for each landmark or case.

    Args:
        kind: name of the first column, ``landmark`` or ``case``.
        rows: ``per_landmark`` or ``per_case`` of the metrics.
        unit: of the metrics.

    Returns:
        CSV text: name, statistics in the unit, number of errors and success rates in percent; empty where not known.
    """
    thresholds = list(next(iter(rows.values()))["sdr"]) if rows else []
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    units = [key if key == "n" else f"{key}_{unit}" for key in STATISTICS]
    writer.writerow([kind, *units, *[f"sdr_{threshold}{unit}_percent" for threshold in thresholds]])
    for name, row in rows.items():
        numbers = [*[row[f"mre_{unit}"][key] for key in STATISTICS], *row["sdr"].values()]
        writer.writerow([name, *["" if x is None else round(x, 6) for x in numbers]])
    return stream.getvalue()


def regions_csv(regions: Mapping[str, Any]) -> str:
    """Coverage of the regions: one row for each kind and level; sizes in mm³ (mm² in 2D)."""
    heads = ["region", "level", "share_inside", "count", "median_size", "mean_size", "share_infinite"]
    rows = [
        [kind, level, *(row[key] for key in ("share", "count", "median_size", "mean_size", "infinite"))]
        for kind, levels in regions.items()
        for level, row in levels.items()
    ]
    return _csv(heads, rows)


def measures_csv(cases: Sequence[str], values: Mapping[str, tuple[str, np.ndarray, np.ndarray]]) -> str:
    """Predicted and true measures of each case.

    Args:
        cases: (N,) names.
        values: unit, predicted (N,) and true values (N,) of each measure by its name.
    """
    rows = [
        [case, name, unit, *(float(x[n]) if math.isfinite(x[n]) else None for x in (predicted, true))]
        for name, (unit, predicted, true) in values.items()
        for n, case in enumerate(cases)
    ]
    return _csv(["case", "measure", "unit", "predicted", "true"], rows)


def presence_csv(comparison: Comparison) -> str:
    """Truth, decision and probability of presence of every landmark of every case; unknown ones are left out."""
    has = bool(comparison.confidence.size)
    rows = [
        [
            case,
            name,
            int(comparison.status[n, k]),
            int(comparison.predicted_present[n, k]),
            float(comparison.confidence[n, k]) if has and math.isfinite(comparison.confidence[n, k]) else None,
        ]
        for n, case in enumerate(comparison.cases)
        for k, name in enumerate(comparison.names)
        if comparison.status[n, k] >= 0
    ]
    return _csv(["case", "landmark", "present", "predicted_present", "confidence"], rows)


def other_model_csv(other: Mapping[str, Any], unit: str) -> str:
    """Differences to another model: all landmarks first, then each."""
    heads = ["landmark", f"difference_{unit}", f"low_{unit}", f"high_{unit}", "p_value", "p_value_holm", "cases"]
    rows = [
        [
            name,
            row["difference"],
            *(row["interval"] or [None, None]),
            row["p_value"],
            row.get("p_value_holm"),
            row["cases"],
        ]
        for name, row in [("all", other["all"]), *other["per_landmark"].items()]
    ]
    return _csv(heads, rows)


def _csv(heads: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(heads)
    for row in rows:
        writer.writerow(["" if x is None else round(x, 6) if isinstance(x, float) else x for x in row])
    return stream.getvalue()


def terminal_table(metrics: Mapping[str, Any]) -> Table:
    """The key numbers beside those of the mean-shape baseline."""
    baseline = metrics["mean_shape_baseline"]
    table = Table(
        title=f"{counted(metrics['cases']['evaluated'], 'case')}, "
        f"{counted(metrics['mre_' + metrics['unit']]['n'], 'landmark')}",
        title_justify="left",
    )
    table.add_column("")
    table.add_column("predicted", justify="right")
    table.add_column("mean shape", justify="right", style="dim")
    for label, predicted, of_baseline in key_numbers(metrics, baseline):
        table.add_row(label, predicted, of_baseline)
    return table


def key_numbers(metrics: Mapping[str, Any], baseline: Mapping[str, Any] | None) -> list[tuple[str, str, str]]:
    """Rows (label, predicted, baseline) of the numbers that matter most, as text."""
    unit = metrics["unit"]
    error, other = metrics[f"mre_{unit}"], (baseline or {}).get(f"mre_{unit}", {})
    rows = [
        (label, with_unit(error[key], unit), with_unit(other.get(key), unit))
        for label, key in (
            ("mean radial error", "mean"),
            ("standard deviation", "std"),
            ("median", "median"),
            ("95 % of errors below", "p95"),
            ("largest error", "max"),
        )
    ]
    if interval := metrics.get("mre_interval"):
        ends = " to ".join(three_digits(end) for end in interval)
        rows.insert(1, ("95 % interval of the mean", f"{ends} {unit}", ""))
    rates = (baseline or {}).get("sdr", {})
    rows += [
        (f"found within {threshold} {unit}", in_percent(rate), in_percent(rates.get(threshold)))
        for threshold, rate in metrics["sdr"].items()
    ]
    return rows


def with_unit(value: float | None, unit: str) -> str:
    """A length with three digits that count and its unit, a dash where not known."""
    return "-" if value is None else f"{three_digits(value)} {unit}"


def three_digits(value: float | None) -> str:
    """A number with three digits that count, a dash where not known."""
    if value is None:
        return "-"
    return f"{value:.0f}" if value >= 100 else f"{value:#.3g}"


def in_percent(value: float | None) -> str:
    """Percent with one decimal, a dash where not known."""
    return "-" if value is None else f"{value:.1f} %"
