"""Which field of Slicer's control points is the name of a landmark: chosen once for all files of a data set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from auto_config.bundle_scripts.points.control_points import PointList
from auto_config.bundle_scripts.points.landmarks import LandmarkFileError, LandmarkSet, duplicate_names
from auto_config.choices import NameField
from auto_config.datasets.formats.shared.entries import Entry, one_form
from auto_config.datasets.model.dataset import Problem

_PREDICTED = "confidence "
"""Descriptions of predicted points begin so (`landmark_note`)."""

Fields = Sequence[tuple[str, str]]
"""Label and description of each point of a file."""


@dataclass(frozen=True)
class Names:
    """The names of the points of each file.

    Args:
        files: A name for each point of each file, in the order that was given.
        notes: What has to be said of a file, by its index.
        note: What has to be said of all files; empty if nothing.
    """

    files: list[list[str]]
    notes: dict[int, str]
    note: str = ""


def chosen_names(files: Sequence[Fields], many: Collection[str] = (), field: NameField | None = None) -> Names:
    """Choose the names of all points of a data set in one way.

    Labels that are words are the names. Where labels are whole numbers, the description of a number in most files is
    its name in all of them, as long as every number has a description, no two have the same, and each file agrees in
    half of its descriptions or more: then a file with other or empty descriptions has typos. Where the numbers only
    count (each file in an order of its own), descriptions are the names if all files have them, each once. Otherwise
    the labels are.

    Args:
        files: Label and description of each point of each file.
        many: Names that may occur more than once in a file.
        field: What was asked for; the rule above, if None.
    """
    labels = [[label for label, _ in rows] for rows in files]
    described = [[_plain(text) for _, text in rows] for rows in files]
    if field == "order":
        return Names([[str(number) for number in range(1, len(rows) + 1)] for rows in files], {})
    if field is not None:
        return Names(described if field == "descriptions" else labels, {})
    numbered = [at for at, rows in enumerate(labels) if rows and all(label.isdecimal() for label in rows)]
    if not any(any(described[at]) for at in numbered):
        return Names(labels, {})
    key = _usual({at: list(zip(labels[at], described[at], strict=True)) for at in numbered})
    if key is not None:
        named = [[key[label] for label in rows] if at in numbered else rows for at, rows in enumerate(labels)]
        notes = {at: _deviations(labels[at], described[at], named[at]) for at in numbered}
        return Names(named, {at: note for at, note in notes.items() if note})
    if all(all(described[at]) and set(many).issuperset(duplicate_names(described[at])) for at in numbered):
        return Names([described[at] if at in numbered else rows for at, rows in enumerate(labels)], {})
    note = (
        "descriptions are not taken for names, because they are empty, repeated or of another point in too many places;"
        " points are called by their labels; correct the descriptions, or choose with --names labels or descriptions"
    )
    return Names(labels, {}, note)


def definitions(points: Sequence[tuple[Sequence[str], Fields]]) -> dict[str, str]:
    """What each landmark is, where the descriptions of its control points say it.

    A description is a definition if it is the same in all files that have one, in two or more and in most of those
    with the landmark; notes of single cases, and those that predictions are written with, are none.

    Args:
        points: Of each file, the name of each point, and its label and description.

    Returns:
        The definition by the name of the landmark, of those that have one.
    """
    counts: Counter[str] = Counter()
    texts: dict[str, Counter[str]] = {}
    for names, rows in points:
        for name, (_, description) in zip(names, rows, strict=True):
            counts[name] += 1
            text = _plain(description)
            if text and text != name and not text.startswith(_PREDICTED):
                texts.setdefault(name, Counter()).update([text])
    return {
        name: next(iter(said))
        for name, said in texts.items()
        if len(said) == 1 and said.total() > 1 and 2 * said.total() > counts[name]
    }


def with_names(
    entries: Sequence[Entry], field: NameField | None, source: object
) -> tuple[list[Entry], list[Problem], dict[str, str]]:
    """Give the control points of all entries their names.

    Args:
        entries: The cases as a reader found them.
        field: What was asked for.
        source: The data set, named in the line about all files.

    Returns:
        The cases with landmarks (those whose own names cannot be used are left out, with an error), the problems, and
        `definitions`.
    """
    lists = [(at, rater, points) for at, entry in enumerate(entries) for rater, points in entry.unnamed.items()]
    many = {name for _, _, points in lists for name in points.many}
    fields = [[(row.label, row.description) for row in points.rows] for _, _, points in lists]
    names = chosen_names(fields, many, field)
    problems = [Problem("warning", f"{source}: {names.note}")] if names.note else []
    done = [replace(entry, unnamed={}) for entry in entries]
    lost = set()
    for index, (at, rater, points) in enumerate(lists):
        case = entries[at].name
        try:
            done[at] = done[at].with_points(_landmarks(points, names.files[index], field), rater)
        except LandmarkFileError as error:
            problems.append(Problem("error", str(error), case))
            if rater is None:
                lost.add(at)
            continue
        if index in names.notes:
            problems.append(Problem("warning", f"{points.path}: {names.notes[index]}", case))
    own = [at for at, (_, rater, _) in enumerate(lists) if rater is None]
    defined = definitions([(names.files[at], fields[at]) for at in own])
    return [entry for at, entry in enumerate(done) if at not in lost], problems, defined


def _landmarks(points: PointList, names: Sequence[str], field: NameField | None) -> LandmarkSet:
    if field == "descriptions" and not all(names):
        row = points.rows[list(names).index("")]
        raise LandmarkFileError(
            f"{points.path}: point {row.label!r} has no description; fill it in, or leave --names descriptions out"
        )
    return points.landmark_set(names)


def _usual(files: dict[int, list[tuple[str, str]]]) -> dict[str, str] | None:
    """The description of each label in most files; None where a label does not stand for one description."""
    found: dict[str, Counter[str]] = {}
    for rows in files.values():
        if duplicate_names(label for label, _ in rows):
            return None
        for label, text in rows:
            found.setdefault(label, Counter()).update([text] if text else [])
    if not all(found.values()) or 2 * sum(any(text for _, text in rows) for rows in files.values()) < len(files):
        return None
    key = {label: texts.most_common(1)[0][0] for label, texts in found.items()}
    if duplicate_names(text.casefold() for text in key.values()):
        return None
    for rows in files.values():
        given = [(label, text) for label, text in rows if text]
        if 2 * sum(_alike(text, key[label]) for label, text in given) < len(given):
            return None
    return key


def _deviations(labels: Sequence[str], described: Sequence[str], names: Sequence[str]) -> str:
    """What to say of a file whose descriptions are not those of the other files; empty if they are."""
    rows = list(zip(labels, described, names, strict=True))
    other = [f"{label} is {text!r}, not {name!r}" for label, text, name in rows if text and not _alike(text, name)]
    empty = [f"{label} ({name!r})" for label, text, name in rows if not text]
    parts = []
    if other:
        parts.append(f"descriptions differ from the other files': {_listed(other)}")
    if empty:
        parts.append(f"descriptions are empty: {_listed(empty)}")
    return "; ".join(parts) + "; points are called as in the other files, by their label" if parts else ""


def _listed(items: Sequence[str]) -> str:
    return ", ".join(items[:3]) + (f" and {len(items) - 3} more" if len(items) > 3 else "")


def _plain(text: str) -> str:
    """A text in one Unicode form, with single blanks."""
    return one_form(" ".join(text.split()))


def _alike(one: str, other: str) -> bool:
    return one.casefold().replace(" ", "") == other.casefold().replace(" ", "")
