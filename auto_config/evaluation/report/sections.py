"""Sections of the report beyond errors: presence, regions, measures, another model. Empty where there is nothing."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from auto_config.evaluation.comparison import Comparison
from auto_config.evaluation.measures import measured
from auto_config.evaluation.report.uncertainty_charts import (
    bland_altman,
    coverage_chart,
    reliability_chart,
    roc_chart,
)
from auto_config.evaluation.tables import three_digits
from auto_config.inspection.problems import counted


def presence_section(presence: Mapping[str, Any]) -> str:
    """Confusion of present and absent, ROC curve and reliability of the probability."""
    if not presence["absent"]:
        return ""
    rows = [
        (f"truly {truth}", str(presence[f"{truth}_predicted_present"]), str(presence[f"{truth}_predicted_absent"]))
        for truth in ("present", "absent")
    ]
    parts = [
        "<h2>Is the landmark there?</h2>",
        table(("", "called present", "called absent"), rows),
        f"<p>F1 of present {_share(presence['f1_present'])}, of absent {_share(presence['f1_absent'])}.</p>",
    ]
    if presence["auroc"] is not None:
        parts += [
            f"<p>The probability of presence ranks with an area under the ROC curve of {presence['auroc']:.3f}; its "
            f"expected calibration error is {presence['expected_calibration_error']:.3f}.</p>",
            '<div class="charts">',
            roc_chart(np.array(presence["roc"][0]), np.array(presence["roc"][1]), presence["auroc"]),
            reliability_chart(presence["reliability"]),
            "</div>",
        ]
    return "\n".join(parts)


def region_section(
    regions: Mapping[str, Any] | None, calibration: Mapping[str, Any] | None, dims: int, length: str = "mm"
) -> str:
    """Coverage and sizes of the regions, beside what they promise."""
    if regions is None or calibration is None:
        return ""
    unit = f"{length}{'³' if dims == 3 else '²'}"
    rows = [
        (
            f"{kind} {float(level):.0%}",
            _percent(row["share"]),
            str(row["count"]),
            f"{three_digits(row['median_size'])} {unit}",
            f"{three_digits(row['mean_size'])} {unit}",
            _percent(row["infinite"]),
        )
        for kind, levels in regions.items()
        for level, row in levels.items()
    ]
    heads = ("region", "true points inside", "points", "median size", "mean size", "infinite")
    notes = "".join(f"<p>{html.escape(note)}</p>" for note in calibration.get("notes") or [])
    return "\n".join(
        [
            "<h2>Do the regions hold what they promise?</h2>",
            f"<p>Conformal regions, calibrated on {counted(calibration.get('cases') or 0, 'case')} that the networks "
            "had not seen. On few cases the share inside varies by chance. Level sets are those that `predict "
            "--regions` wrote, at the level of the prediction; they are counted voxel by voxel.</p>",
            f'<div class="wide">{table(heads, rows)}</div>',
            f'<div class="charts">{coverage_chart(regions)}</div>',
            notes,
        ]
    )


def measure_section(comparison: Comparison, measures: Mapping[str, Any]) -> str:
    """Agreement of predicted and true measures, with a Bland-Altman plot for each."""
    if not measures:
        return ""
    rows, charts = [], []
    for measure in comparison.measures:
        row = measures[measure.name]
        unit = row["unit"]
        limits = "-" if row["limits"] is None else " to ".join(three_digits_signed(x) for x in row["limits"])
        numbers = (three_digits(row["mean_absolute_error"]), three_digits_signed(row["bias"]), limits)
        rows.append((measure.name, *(f"{x} {unit}".strip() for x in numbers), str(row["cases"])))
        values = [measured(points, comparison.names, measure) for points in (comparison.predicted, comparison.truth)]
        charts.append(bland_altman(values[0], values[1], row, measure.name, unit))
    heads = ("measure", "mean absolute error", "bias", "limits of agreement", "cases")
    return "\n".join(
        [
            "<h2>Measures</h2>",
            f'<div class="wide">{table(heads, rows)}</div>',
            "<p>Each dot is a case: predicted minus true against the mean of both. The lines are the bias and the "
            "limits between which 95 % of normal differences lie (Bland and Altman).</p>",
            f'<div class="charts">{"".join(charts)}</div>',
        ]
    )


def comparison_section(other: Mapping[str, Any] | None, unit: str) -> str:
    """Two models on the same cases."""
    if other is None:
        return ""
    total = other["all"]
    rows = [
        (name, *_difference(row, unit), _p_value(row["p_value_holm"]))
        for name, row in other["per_landmark"].items()
        if row["difference"] is not None
    ]
    heads = ("landmark", "difference", "95 % interval", "p (Holm)")
    said = _difference(total, unit)
    return "\n".join(
        [
            f"<h2>Compared with {html.escape(other['name'])}</h2>",
            f"<p>On {counted(total['cases'], 'case')} that both predicted, the mean error differs by {said[0]} "
            f"(95 % interval {said[1]}; below 0, this model is better), p = {_p_value(total['p_value'])} "
            "(Wilcoxon's signed-rank test of the cases' mean errors).</p>",
            f'<div class="wide">{table(heads, rows)}</div>',
        ]
    )


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """An HTML table; the first cell of a row is its head."""
    head = "".join(f"<th>{html.escape(word)}</th>" for word in heads)
    body = "".join(
        f"<tr><th>{html.escape(first)}</th>{''.join(f'<td>{html.escape(cell)}</td>' for cell in cells)}</tr>\n"
        for first, *cells in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def three_digits_signed(value: float | None) -> str:
    """Three digits that count, with a minus where there is one."""
    if value is None:
        return "-"
    return f"-{three_digits(-value)}" if value < 0 else three_digits(value)


def _difference(row: Mapping[str, Any], unit: str) -> tuple[str, str]:
    interval = row["interval"]
    ends = "-" if interval is None else " to ".join(three_digits_signed(end) for end in interval)
    return f"{three_digits_signed(row['difference'])} {unit}", f"{ends} {unit}"


def _p_value(value: float | None) -> str:
    if value is None:
        return "-"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f} %"
