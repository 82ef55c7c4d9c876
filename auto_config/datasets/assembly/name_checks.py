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
    held = _Held(entries, names)
    problems, told = _variants(held)
    for name in names:
        found = _problem_of(name, held, missing, source, told)
        if found is not None:
            problems.append(found)
    if not labels_judged and (lonely := _names_of_their_own(held.cases, told, source, entries)) is not None:
        problems = [problem for problem in problems if problem.severity == "error"]
        problems.append(lonely)
    others = [name for name in held.entries if name not in names]
    if others:
        problems.append(_left_out(others, source) if not everything else _unexpected(others, held, source))
    return problems


class _Held:
    """Which cases have which names.

    Args:
        entries: all cases.
        names: landmarks of the data set; those of the cases come after them.
    """

    def __init__(self, entries: list[Entry], names: tuple[str, ...]) -> None:
        self.all = entries
        self.entries = {
            name: [entry for entry in entries if entry.landmarks is not None and name in entry.landmarks.names]
            for name in dict.fromkeys([*names, *all_names(entries)])
        }
        """The cases that have each name."""
        self.cases = {name: {entry.name for entry in found} for name, found in self.entries.items()}
        """Their names."""

    def count(self, name: str) -> int:
        """Number of cases that have a name."""
        return len(self.entries[name])

    def where(self, entry: Entry) -> str:
        """What holds the landmarks of a case; of a file that holds several cases, with the name of the case."""
        shared = sum(other.label == entry.label for other in self.all) > 1
        return f"{entry.label}: case {entry.name!r}" if shared else entry.label


def _variants(held: _Held) -> tuple[list[Problem], set[str]]:
    """An error for each two names that are one in other letters, no case having both; and these names."""
    problems, told = [], set()
    for first, second in name_variants(list(held.entries)):
        together = held.cases[first] & held.cases[second]  # two landmarks
        if together or not held.count(first) or not held.count(second):
            continue
        rare, common = sorted((first, second), key=held.count)
        count = held.count(common)
        entry = held.entries[rare][0]
        message = (
            f"{held.where(entry)}: landmark {rare!r} is called {common!r} in {count} other "
            f"{'case' if count == 1 else 'cases'}; rename it, or they become two landmarks"
        )
        problems.append(Problem("error", message, entry.name, rare))
        told |= {first, second}
    return problems, told


def _problem_of(name: str, held: _Held, missing: str, source: Path, told: set[str]) -> Problem | None:
    """What is wrong with one landmark: in no case, in some cases only, or present in none.

    Args:
        name: of the landmark.
        held: which cases have it.
        missing: what it is where a case lacks it.
        source: the data set.
        told: names whose likely spelling is named already; those that are named here are added.
    """
    if not held.count(name):
        there = ", ".join(other for other, having in held.entries.items() if having)[:200]
        if not there:
            return None  # no case could be read: that is the problem, and it is told
        return Problem(
            "error", f"{source}: landmark {name!r} is in no case; correct the name, there are {there}", None, name
        )
    if held.count(name) < len(held.all):
        return None if name in told else _incomplete(name, held, missing, told)
    if not any(_is_present(entry, name) for entry in held.all):
        message = f"{source}: landmark {name!r} is present in no case; leave it out with --landmarks"
        return Problem("error", message, None, name)
    return None


def _incomplete(name: str, held: _Held, missing: str, told: set[str]) -> Problem:
    """A warning for a name that some cases lack; one line for both, if another name looks like it."""
    taken = f"it is taken as {missing} in the others, choose with --missing unknown or absent"
    slip = _slip(name, held.cases)
    if slip is None:
        entry = next(entry for entry in held.all if entry.name not in held.cases[name])
        message = f"has no landmark {name!r}, which is in {held.count(name)} of {len(held.all)} cases only;"
        return Problem("warning", f"{held.where(entry)}: {message} {taken}", entry.name, name)
    told |= {name, slip}
    rare, common = sorted((name, slip), key=held.count)
    entry = held.entries[rare][0]  # the line is about the file that holds the rare one
    others = f"{held.count(common)} other{'' if held.count(common) == 1 else 's'}"
    message = (
        f"landmark {rare!r} is in {held.count(rare)} of {len(held.all)} cases only, {common!r} in {others}; "
        f"if {common!r} is meant, rename it, otherwise"
    )
    return Problem("warning", f"{held.where(entry)}: {message} {taken}", entry.name, rare)


def _left_out(names: Sequence[str], source: Path) -> Problem:
    """A warning for landmarks that were not chosen."""
    message = f"{source}: {len(names)} landmarks are left out by choice: {', '.join(names)[:200]}"
    return Problem("warning", message)


def _unexpected(names: Sequence[str], held: _Held, source: Path) -> Problem:
    """An error for landmarks that cases have and the list of the data set lacks."""
    one = len(names) == 1
    which = f"landmark {names[0]!r} is" if one else f"{len(names)} landmarks are"
    those = "" if one else f": {', '.join(names)[:200]}"
    entry = held.entries[names[0]][0]
    message = (
        f"{entry.label}: {which} not in the list 'landmarks' of "
        f"{source.name if source.is_file() else 'landmarks.json or the data list'}{those}; the list has to name "
        f"all: add {'it' if one else 'them'} there, rename {'it' if one else 'them'}, or choose with --landmarks"
    )
    return Problem("error", message, entry.name, names[0])


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


def _slip(name: str, holding: Mapping[str, set[str]]) -> str | None:
    """A name that looks like another one, no case having both: one of them may be a typo.

    Args:
        name: The name.
        holding: Every name to the names of the cases that have it.
    """
    return similar_name(name, [other for other, cases in holding.items() if cases and cases.isdisjoint(holding[name])])


def _is_present(entry: Entry, name: str) -> bool:
    landmarks = entry.landmarks
    return landmarks is not None and name in landmarks.names and bool(landmarks.present[landmarks.names.index(name)])
