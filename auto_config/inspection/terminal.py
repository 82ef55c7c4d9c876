"""What `inspect` prints: the summary, the table of landmarks, the problems; and the problems that `create` refuses."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from auto_config.datasets.model.dataset import Problem
from auto_config.errors import UserError
from auto_config.inspection.problems import problem_lines
from auto_config.inspection.table import LandmarkRow
from auto_config.wording import counted

_SHOWN_ROWS = 40
_SHOWN_LINES = 20  # of each severity, before a bundle is written


def print_summary(console: Console, summary: Sequence[tuple[str, str]]) -> None:
    """A line for each title."""
    for title, text in summary:
        console.print(f"[bold]{title:>18}[/bold]  {escape(text)}")


def print_landmarks(console: Console, rows: Sequence[LandmarkRow], unit: str) -> None:
    """A line for each landmark; of very many, for those that are not in all cases or stray farthest."""
    shown = rows
    if len(rows) > _SHOWN_ROWS:
        farthest = sorted(rows, key=lambda row: (row.absent + row.unknown, np.nan_to_num(row.spread)), reverse=True)
        shown = farthest[:_SHOWN_ROWS]
    table = Table(box=None, padding=(0, 2, 0, 0))
    for number, title in enumerate(("landmark", "present", "absent", "unknown", f"spread {unit}")):
        table.add_column(title, justify="right" if number else "left", no_wrap=True)
    for row in shown:
        spread = "" if np.isnan(row.spread) else f"{row.spread:.3g}"
        table.add_row(escape(row.name), str(row.present), str(row.absent), str(row.unknown), spread)
    if shown:
        console.print(table)
    if len(shown) < len(rows):
        said = "those in the fewest cases first; --report has all"
        console.print(f"... and {counted(len(rows) - len(shown), 'landmark')} more, {said}")


def print_problems(console: Console, problems: Sequence[Problem]) -> None:
    """A line for each kind of problem, and how many there are."""
    errors = sum(problem.severity == "error" for problem in problems)
    if not problems:
        console.print("[green]no problem found[/green]")
        return
    for severity, line in problem_lines(problems):
        colour = "red" if severity == "error" else "yellow"
        console.print(f"[{colour}]{severity}[/{colour}]: {escape(line)}")
    warnings = counted(len(problems) - errors, "warning")
    console.print(f"{counted(errors, 'error')} that would train wrongly, {warnings}")


def refuse_errors(problems: Sequence[Problem], console: Console) -> None:
    """Print warnings and errors, one line for each kind; of very many the first.

    Raises:
        UserError: if there is an error; it says how many there are.
    """
    errors = [problem for problem in problems if problem.severity == "error"]
    for kind, group in (("warning", [p for p in problems if p.severity == "warning"]), ("error", errors)):
        lines = [line for _, line in problem_lines(group)]
        for line in lines[:_SHOWN_LINES]:
            console.print(f"{kind}: {line}", markup=False, soft_wrap=True)
        if len(lines) > _SHOWN_LINES:
            console.print(f"{kind}: ... and {len(lines) - _SHOWN_LINES} more lines; `auto_config inspect` prints all")
    if errors:
        noun = "problem" if len(errors) == 1 else "problems"
        raise UserError(
            f"no bundle was written: {len(errors)} {noun} above would train wrongly; correct the data first"
        )
