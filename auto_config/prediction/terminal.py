"""What `predict` says at its end of the cases that somebody should look at."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from auto_config.wording import counted

_ORDER = {"failed": 0, "check": 1}


def print_verdicts(verdicts: Mapping[str, Mapping[str, Any]], predicted: int) -> bool:
    """One table of the cases that are not ok, the failed ones first, and a line on what was not judged.

    Args:
        verdicts: ``verdict`` and ``reasons`` of each case, as ``run.json`` has them.
        predicted: number of predicted cases.

    Returns:
        Whether all cases are ok.
    """
    console = Console(highlight=False)
    doubtful = sorted(
        (case for case, found in verdicts.items() if found["verdict"] in _ORDER),
        key=lambda case: _ORDER[verdicts[case]["verdict"]],
    )
    if doubtful:
        table = Table("case", "verdict", "reason", title=f"{counted(len(doubtful), 'case')} to look at")
        for case in doubtful:
            found = verdicts[case]
            table.add_row(*(escape(text) for text in (case, found["verdict"], found["reasons"][0])))
        console.print(table)
    gaps = list(dict.fromkeys(what for found in verdicts.values() for what in found.get("not_judged", ())))
    if gaps:
        console.print(f"not judged: {', '.join(gaps)}", markup=False, soft_wrap=True)
    if predicted and not verdicts:
        line = "no verdicts: an earlier version made the bundle; create it again to get them"
        console.print(line, markup=False, soft_wrap=True)
    return not doubtful
