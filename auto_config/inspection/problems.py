"""Problems of a data set as lines to read: those of one kind together, not a line for each of a thousand cases."""

from __future__ import annotations

import re
from collections.abc import Sequence

from auto_config.datasets.model.dataset import Problem

_SHOWN_PER_GROUP = 3
_SHOWN_NAMES = 12
_NUMBER = r"[-+]?\d[\d.e+-]*"


def counted(count: int, noun: str) -> str:
    """A number with its noun: ``1 error``, ``2 errors``."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def shortened(texts: Sequence[str]) -> str:
    """The first texts of a list, and how many more there are."""
    more = f", and {len(texts) - _SHOWN_NAMES} more" if len(texts) > _SHOWN_NAMES else ""
    return ", ".join(texts[:_SHOWN_NAMES]) + more


def group_problems(problems: Sequence[Problem]) -> list[list[Problem]]:
    """Put problems of one kind together: those whose messages differ only in files, names and numbers.

    Returns:
        Groups in the order of their first problem, errors before warnings.
    """
    groups: dict[tuple[str, str], list[Problem]] = {}
    for problem in problems:
        kind = re.sub(rf"^[^:]*: |'[^']*'|\"[^\"]*\"|[(\[][^)\]]*[)\]]|{_NUMBER}|\S*/\S*", "", problem.message)
        groups.setdefault((problem.severity, kind), []).append(problem)
    return sorted(groups.values(), key=lambda group: group[0].severity != "error")


def problem_lines(problems: Sequence[Problem]) -> list[tuple[str, str]]:
    """Say every problem, in as few lines as tell all of it.

    Problems of one kind that say of each case the same, but for its file and numbers, are one line, with their number
    and the cases. Where each says something of its own, such as a landmark, three are told and the cases of the others
    are listed.

    Returns:
        Severity and line, errors before warnings.
    """
    lines: list[tuple[str, str]] = []
    for group in group_problems(problems):
        severity, first = group[0].severity, group[0].message
        shown = _SHOWN_PER_GROUP
        if len(group) > _SHOWN_PER_GROUP and len({_without_file(problem.message) for problem in group}) == 1:
            shown = 1
        rest = group[shown:]
        if not rest:
            lines += [(severity, problem.message) for problem in group]
            continue
        cases = list(dict.fromkeys(problem.case or problem.landmark or "-" for problem in rest))
        also = f"and {len(rest)} more of this kind: {shortened(cases)}"
        if shown == 1:
            lines.append((severity, f"{first} ({also})"))
        else:
            lines += [(severity, problem.message) for problem in group[:shown]]
            lines.append((severity, f"... {also}"))
    return lines


def _without_file(message: str) -> str:
    """What a message says without the file that it begins with and without its numbers; names in quotes are kept."""
    said = re.sub(r"^[^:]*: ", "", message)
    return re.sub(rf"('[^']*')|{_NUMBER}", lambda found: found[1] or "", said)
