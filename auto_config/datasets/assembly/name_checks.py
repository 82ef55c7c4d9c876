"""Problems with the names of landmarks over the cases of a data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from auto_config.datasets.formats.shared.entries import Entry, natural_key
from auto_config.datasets.model.dataset import Problem
from auto_config.datasets.model.names import name_variants, similar_name


def all_names(entries: list[Entry]) -> tuple[str, ...]:
    """All names in the order in which the cases have them; numbers in the order of numbers."""
    names = list(
        dict.fromkeys(name for entry in entries if entry.landmarks is not None for name in entry.landmarks.names)
    )
    return tuple(sorted(names, key=natural_key) if all(name.isdecimal() for name in names) else names)


def name_problems(
    entries: list[Entry],
    names: tuple[str, ...],
    missing: str,
    source: Path,
    *,
    everything: bool,
    labels_judged: bool = False,
) -> list[Problem]:
    """Names that differ between cases: variants of one name are an error, a name that some cases lack a warning.

    Names that most cases have for themselves are one error, unless an error has said so already (`labels_judged`).
    """
    holders = {
        name: [entry for entry in entries if entry.landmarks is not None and name in entry.landmarks.names]
        for name in dict.fromkeys([*names, *all_names(entries)])
    }
    holding = {name: {entry.name for entry in found} for name, found in holders.items()}
    problems = []
    told: set[str] = set()
    for first, second in name_variants(list(holders)):
        if holding[first] & holding[second]:
            continue  # both in one case: two landmarks
        if not holders[first] or not holders[second]:
            continue
        rare, common = sorted((first, second), key=lambda name: len(holders[name]))
        count = len(holders[common])
        message = (
            f"{_where(holders[rare][0], entries)}: landmark {rare!r} is called {common!r} in {count} other "
            f"{'case' if count == 1 else 'cases'}; "
            "rename it, or they become two landmarks"
        )
        problems.append(Problem("error", message, holders[rare][0].name, rare))
        told |= {first, second}
    for name in names:
        count = len(holders[name])
        if not count:
            there = ", ".join(other for other, having in holders.items() if having)[:200]
            if not there:
                continue  # no case could be read: that is the problem, and it is told
            message = f"{source}: landmark {name!r} is in no case; correct the name, there are {there}"
            problems.append(Problem("error", message, None, name))
        elif count < len(entries) and name not in told:
            without = next(entry for entry in entries if entry.name not in holding[name])
            slip = _slip(name, holding)
            if slip is not None:
                # One line for both, about the file that holds the rare one.
                told |= {name, slip}
                rare, common = sorted((name, slip), key=lambda one: len(holders[one]))
                without = holders[rare][0]
                others = f"{len(holders[common])} other{'' if len(holders[common]) == 1 else 's'}"
                message = (
                    f"landmark {rare!r} is in {len(holders[rare])} of {len(entries)} cases only, {common!r} in "
                    f"{others}; if {common!r} is meant, rename it, otherwise"
                )
                name = rare  # noqa: PLW2901 - the warning is about this one
            else:
                message = f"has no landmark {name!r}, which is in {count} of {len(entries)} cases only;"
            taken = f"it is taken as {missing} in the others, choose with --missing unknown or absent"
            message = f"{_where(without, entries)}: {message} {taken}"
            problems.append(Problem("warning", message, without.name, name))
        elif not any(entry.landmarks is not None and _is_present(entry, name) for entry in entries):
            message = f"{source}: landmark {name!r} is present in no case; leave it out with --landmarks"
            problems.append(Problem("error", message, None, name))
    if not labels_judged and (lonely := _names_of_their_own(holding, told, source, entries)) is not None:
        problems = [problem for problem in problems if problem.severity == "error"]
        problems.append(lonely)
    left_out = [] if everything else [name for name in holders if name not in names]
    if left_out:
        message = f"{source}: {len(left_out)} landmarks are left out by choice: {', '.join(left_out)[:200]}"
        problems.append(Problem("warning", message))
    elif unexpected := [name for name in holders if name not in names]:
        one = len(unexpected) == 1
        which = f"landmark {unexpected[0]!r} is" if one else f"{len(unexpected)} landmarks are"
        those = "" if one else f": {', '.join(unexpected)[:200]}"
        message = (
            f"{holders[unexpected[0]][0].label}: {which} not in the list 'landmarks' of "
            f"{source.name if source.is_file() else 'landmarks.json or the data list'}{those}; the list has to name "
            f"all: add {'it' if one else 'them'} there, rename {'it' if one else 'them'}, or choose with --landmarks"
        )
        problems.append(Problem("error", message, holders[unexpected[0]][0].name, unexpected[0]))
    return problems


def _names_of_their_own(
    holding: Mapping[str, set[str]], told: set[str], source: Path, entries: Sequence[Entry]
) -> Problem | None:
    """An error where most cases have mostly names that no other case has: there would be nothing to learn from.

    Args:
        holding: Every name to the names of the cases that have it.
        told: Names whose likely spelling is named already.
        source: The data set.
        entries: The cases; of Slicer's files, the order of the points may be their names.
    """
    by_case: dict[str, list[bool]] = {}
    for name, cases in holding.items():
        for case in cases:
            by_case.setdefault(case, []).append(len(cases) == 1 and name not in told)
    lonely = [case for case, alone in by_case.items() if 2 * sum(alone) > len(alone)]
    if len(by_case) < 2 or 2 * len(lonely) <= len(by_case):
        return None
    count = sum(len(cases) == 1 for cases in holding.values())
    example = next(name for name, cases in holding.items() if len(cases) == 1 and cases <= set(lonely))
    shared = sum(len(cases) > 1 for cases in holding.values())
    what = "no landmark is in two cases" if not shared else f"{count} of {len(holding)} landmarks are in one case only"
    sizes = sorted({len(alone) for alone in by_case.values()})
    if len(sizes) == 1:
        of_slicer = all(entry.label.lower().endswith((".mrk.json", ".fcsv")) for entry in entries)
        order = ", or, if the points stand in the same order in all files, give --names order" if of_slicer else ""
        reason = (
            f"each case has {sizes[0]}, so that the names seem to be each file's own; give the same point the same "
            f"name in all files{order}"
        )
    else:
        reason = (
            f"the cases have {sizes[0]} to {sizes[-1]}, so that other structures seem to be marked in each, or names "
            "were typed freely; give the same point the same name in all files"
        )
    return Problem("error", f"{source}: {what}, such as {example!r}; {reason}", None, example)


def _where(entry: Entry, entries: list[Entry]) -> str:
    """What holds the landmarks of a case; of a file that holds several cases, with the name of the case."""
    shared = sum(other.label == entry.label for other in entries) > 1
    return f"{entry.label}: case {entry.name!r}" if shared else entry.label


def _slip(name: str, holding: Mapping[str, set[str]]) -> str | None:
    """A name that looks like another one, no case having both: one of them may be a slip of the pen.

    Args:
        name: The name.
        holding: Every name to the names of the cases that have it.
    """
    return similar_name(name, [other for other, cases in holding.items() if cases and cases.isdisjoint(holding[name])])


def _is_present(entry: Entry, name: str) -> bool:
    landmarks = entry.landmarks
    return landmarks is not None and name in landmarks.names and bool(landmarks.present[landmarks.names.index(name)])
