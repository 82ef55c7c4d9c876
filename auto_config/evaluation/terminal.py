"""What `evaluate` prints: the key numbers, and a line for each thing that they do not show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from auto_config.datasets.model.dataset import Problem
from auto_config.evaluation.baseline import verdict
from auto_config.evaluation.comparison import Comparison
from auto_config.evaluation.groups.table import group_table
from auto_config.evaluation.instances import instance_lines
from auto_config.evaluation.level_sets import KIND as LEVEL_SET
from auto_config.evaluation.published.rows import Published, published_table
from auto_config.evaluation.report.page import notes
from auto_config.evaluation.report.verdicts import verdict_line
from auto_config.evaluation.tables import terminal_table
from auto_config.wording import counted

WORST_NAMED = 3


def print_results(
    comparison: Comparison, numbers: Mapping[str, Any], page: Path, papers: Sequence[Published] | None = None
) -> None:
    """The table of key numbers, then lines.

    Args:
        comparison: Of predictions and truth.
        numbers: Content of ``metrics.json``.
        page: File of the report.
        papers: Published figures to print, too.
    """
    console = Console()
    console.print(terminal_table(numbers))
    if by := numbers.get("by"):
        console.print(group_table(by, comparison.unit))
    if papers is not None:
        console.print(published_table(papers, numbers))
    baseline, unit = numbers["mean_shape_baseline"], comparison.unit
    key = f"mre_{unit}"
    said = verdict(numbers[key]["mean"], baseline[key]["mean"] if baseline else None, unit)
    further = [*instance_lines(numbers.get("instances"), unit), *cost_lines(numbers.get("cost"))]
    judged = verdict_line(numbers.get("verdicts"), unit)
    lines = [said, *worst_lines(numbers), *judged, *key_lines(numbers), *further, *notes(comparison)]
    for line in [*lines, f"Report: {page}"]:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def worst_lines(numbers: Mapping[str, Any]) -> list[str]:
    """A line for the terminal with the landmarks of the largest mean errors, where there are several to choose from."""
    unit = numbers["unit"]
    means = {name: row[f"mre_{unit}"]["mean"] for name, row in numbers["per_landmark"].items()}
    known = {name: mean for name, mean in means.items() if mean is not None}
    if len(known) < 2:
        return []
    worst = sorted(known, key=lambda name: -known[name])[: min(WORST_NAMED, len(known) - 1)]
    return [f"Largest mean errors: {', '.join(f'{name} {known[name]:.3g} {unit}' for name in worst)}."]


def key_lines(numbers: Mapping[str, Any]) -> list[str]:
    """A line for the terminal on presence, regions and the other model, where there are any."""
    lines = []
    presence, regions, other = numbers["presence"], numbers["regions"], numbers.get("other_model")
    if presence["auroc"] is not None:
        lines.append(
            f"Presence: AUROC {presence['auroc']:.3f}, F1 {presence['f1_present']:.3f} present and "
            f"{presence['f1_absent']:.3f} absent."
        )
    if regions:
        shares = [_share_line(row, level) for level, row in regions["ball"].items() if row["count"]]
        drawn = [
            f"; of level sets, {_share_line(row, level)}"
            for level, row in regions.get(LEVEL_SET, {}).items()
            if row["count"]
        ]
        lines.append(f"True points inside of their regions: {', '.join(shares)}{''.join(drawn)}.")
    if other:
        row = other["all"]
        ends = "" if row["interval"] is None else f" ({row['interval'][0]:.3g} to {row['interval'][1]:.3g})"
        lines.append(
            f"Compared with {other['name']}, in {counted(row['cases'], 'case')} of both: "
            f"{row['difference']:+.3g}{ends} {numbers['unit']} mean error; below 0 these predictions are better."
        )
    return lines


def cost_lines(cost: Mapping[str, Any] | None) -> list[str]:
    """A line for the terminal on the time and the memory that the prediction took, where they are known."""
    if not cost or cost["seconds_median"] is None:
        return []
    said = f"Prediction: {cost['seconds_median']:.3g} s a case (median)"
    if cost["peak_memory_mb"] is not None:
        said += f", largest memory of the process {cost['peak_memory_mb']:.0f} MB"
    if cost["peak_gpu_memory_mb"] is not None:
        said += f", of the GPU {cost['peak_gpu_memory_mb']:.0f} MB"
    return [f"{said}."]


def _share_line(row: Mapping[str, Any], level: str) -> str:
    """How many points a kind of region holds; a region without a bound holds everything, and says nothing by that."""
    infinite = row["infinite"]
    said = "" if not infinite else " (all infinite)" if infinite == 1 else f" ({100 * infinite:.0f} % infinite)"
    return f"{100 * row['share']:.0f} % at {level}{said}"


def print_errors(problems: Sequence[Problem]) -> None:
    """One line on standard error for each case of the truth that cannot be read, and so is not evaluated."""
    console = Console(stderr=True)
    for problem in problems:
        if problem.severity == "error":
            console.print(f"error: {problem.message}", markup=False, highlight=False, soft_wrap=True)
