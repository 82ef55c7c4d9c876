"""Points that are no points: 0, 0 or -1, -1, -1 where a table has a missing landmark.

Numbers are compared as the file has them. In memory points are world mm, so they are brought back: into voxels of the
image, or into LPS, by what a format writes.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from auto_config.bundle_scripts.points.landmarks import LandmarkSet
from auto_config.datasets.formats.shared.entries import Entry
from auto_config.datasets.formats.shared.options import ReadOptions, world_to_voxel
from auto_config.datasets.formats.shared.points import Value, landmark_set, rows_of
from auto_config.datasets.formats.shared.tables import System
from auto_config.datasets.model.dataset import Problem
from auto_config.errors import UserError

_USUAL = (0.0, -1.0, -9.0, -99.0, -999.0, -9999.0, -99999.0, 999.0, 9999.0, 99999.0)
"""Numbers that programs and people write into all coordinates of a point that is not there."""
# Points went to world mm and back; files have no more digits than this.
_TOLERANCE = 1e-6


@dataclass(frozen=True)
class MissingValue:
    """What was said of marks of missing points.

    Args:
        marks: The coordinates of each mark, one number for all of them or one for each.
        said: Whether something was said; ``none`` says that all points are real.
    """

    marks: tuple[tuple[float, ...], ...] = ()
    said: bool = False


class _Found(NamedTuple):
    case: str
    landmark: str
    number: float
    in_voxels: bool
    label: str


def parsed_missing_value(text: str | float | None) -> MissingValue:
    """The value of ``--missing_value``: ``0``, ``-1,-1``, several as ``0/-1``, or ``none``.

    Raises:
        UserError: Something else.
    """
    if text is None:
        return MissingValue()
    if str(text).strip().lower() == "none":
        return MissingValue((), said=True)
    try:
        marks = tuple(tuple(float(number) for number in mark.split(",")) for mark in str(text).split("/"))
    except ValueError:
        marks = ()
    if not marks or not all(len(mark) <= 3 and all(map(math.isfinite, mark)) for mark in marks):
        raise UserError(
            f"--missing_value is {str(text)[:60]!r}; give the coordinates that mark a missing point, such as 0 or "
            "-1,-1, several with a slash between them, or none if all points are real"
        )
    return MissingValue(marks, said=True)


def without_marks(
    entries: Sequence[Entry],
    value: MissingValue,
    *,
    missing: str,
    written: Collection[System],
    options: ReadOptions,
    source: Path,
) -> tuple[list[Entry], list[Problem]]:
    """Take marked points for what `missing` says, and find points that look like marks.

    Args:
        entries: Cases with their landmarks.
        value: What was said.
        missing: ``"unknown"`` or ``"absent"``.
        written: What the numbers of the format may be; empty where it has none.
        options: How images are read.
        source: The data set, named in problems.

    Raises:
        UserError: A mark has another number of coordinates than the points.
    """
    if not written:
        return list(entries), []
    kept: list[Entry] = []
    found: list[_Found] = []
    counts = [0] * len(value.marks)
    for entry in entries:
        landmarks, raters = entry.landmarks, dict(entry.raters)
        if landmarks is not None:
            rows, marks = _rows(landmarks, entry, written, options)
            if not value.said or value.marks:
                found += [one for row, own in zip(rows, marks, strict=True) for one in _usual(entry, row, own, written)]
            landmarks = _unmarked(landmarks, rows, marks, value, missing, counts)
            for rater, own_set in raters.items():
                raters[rater] = _unmarked(own_set, *_rows(own_set, entry, written, options), value, missing, counts)
        kept.append(replace(entry, landmarks=landmarks, raters=raters))
    problems = [
        Problem("warning", _taken(mark, count, missing, source))
        for mark, count in zip(value.marks, counts, strict=True)
    ]
    said = {mark[0] for mark in value.marks if len(set(mark)) == 1}
    left = [one for one in found if one.number not in said]
    return kept, problems + _suspicious(left, entries, value, source)


def _rows(
    landmarks: LandmarkSet, entry: Entry, written: Collection[System], options: ReadOptions
) -> tuple[list[tuple[str, Value]], list[list[list[float]]]]:
    """The rows of a set, and for each of them its coordinates in the systems that the file may have."""
    rows = list(rows_of(landmarks))
    places = [place for place, (_, value) in enumerate(rows) if not isinstance(value, str)]
    forms: list[list[list[float]]] = [[] for _ in rows]
    if not places:
        return rows, forms
    points = np.array([rows[place][1] for place in places], dtype=float)
    for system in written:
        turned = points
        if system == "lps":
            turned = points * np.array([-1.0, -1.0, 1.0])[: points.shape[1]]
        elif system == "voxel":
            try:
                turned = world_to_voxel(options.header(entry.image), points)
            except UserError:  # the case itself will say what is wrong with its image
                turned = np.full_like(points, np.nan)
        for place, point in zip(places, turned.tolist(), strict=True):
            forms[place].append(point)
    return rows, forms


def _is_mark(forms: Sequence[Sequence[float]], mark: Sequence[float]) -> bool:
    """Whether one of the forms of a point is a mark; plain numbers, because a data set may have a million points."""
    wanted = mark if len(mark) > 1 or not forms else tuple(mark) * len(forms[0])
    return any(all(abs(a - b) < _TOLERANCE for a, b in zip(form, wanted, strict=True)) for form in forms)


def _unmarked(  # noqa: PLR0917 - a set as `_rows` gives it, and what is done with it
    landmarks: LandmarkSet,
    rows: Sequence[tuple[str, Value]],
    forms: Sequence[Sequence[Sequence[float]]],
    value: MissingValue,
    missing: str,
    counts: list[int],
) -> LandmarkSet:
    """The set with the word `missing` for each marked point; of many instances the marked ones are left out."""
    for mark in value.marks:
        if len(mark) not in (1, landmarks.spatial_dims):
            raise UserError(
                f"--missing_value {_text(mark)} has {len(mark)} coordinates, points have {landmarks.spatial_dims}; "
                "give one number, or one for each coordinate"
            )
    kept: list[tuple[str, Value]] = []
    marked = False
    for (name, point), own in zip(rows, forms, strict=True):
        place = next((place for place, mark in enumerate(value.marks) if _is_mark(own, mark)), None)
        if place is not None:
            counts[place] += 1
            marked = True
        kept.append((name, point if place is None else missing))
    if not marked:
        return landmarks
    present = {name for name, point in kept if not isinstance(point, str)}
    kept = [row for row in kept if row[0] not in present or not isinstance(row[1], str)]
    return landmark_set(kept, spatial_dims=landmarks.spatial_dims, many=tuple(landmarks.instances), where="")


def _usual(
    entry: Entry, row: tuple[str, Value], forms: Sequence[Sequence[float]], written: Collection[System]
) -> list[_Found]:
    """The point as one that looks like a mark, if it does."""
    numbers = [number for number in _USUAL if any(abs(form[0] - number) < _TOLERANCE for form in forms)]
    return [
        _Found(entry.name, row[0], number, "voxel" in written, entry.label)
        for number in numbers
        if _is_mark(forms, (number,))
    ][:1]


def _taken(mark: Sequence[float], count: int, missing: str, source: Path) -> str:
    if not count:
        return f"{source}: --missing_value {_text(mark)}: no point is that; correct the option, or leave it out"
    points = "1 point is" if count == 1 else f"{count} points are"
    return (
        f"{source}: {points} {_text(mark)} and taken as {missing}, as --missing_value says; choose with --missing "
        "unknown or absent"
    )


def _suspicious(found: Sequence[_Found], entries: Sequence[Entry], value: MissingValue, source: Path) -> list[Problem]:
    """One problem for each number that stands in all coordinates of points: an error where it repeats."""
    groups: dict[float, list[_Found]] = {}
    for one in found:
        groups.setdefault(one.number, []).append(one)
    groups = {number: own for number, own in groups.items() if not _is_origin(number, own, entries)}
    option = "/".join([*map(_text, value.marks), *(f"{number:g}" for number in groups)])
    problems = []
    for number, own in groups.items():
        first = own[0]
        landmarks = {one.landmark for one in own}
        repeats = len(landmarks) > 1 or (first.in_voxels and len(own) > 1)
        shown = ", ".join([f"{number:g}"] * _dims(entries))
        if len(own) == 1:
            what = f"case {first.case!r}: landmark {first.landmark!r} is exactly {shown}"
        else:
            names = "1 landmark" if len(landmarks) == 1 else f"{len(landmarks)} landmarks"
            such = f"{first.landmark!r} in case {first.case!r}"
            what = f"{len(own)} points of {names} are exactly {shown}, such as {such}"
        where = first.label if len({one.label for one in own}) == 1 else source
        message = (
            f"{where}: {what}; if that marks a missing point, say --missing_value {option}, if it is real, "
            "--missing_value none"
        )
        severe = repeats and not value.said
        case, landmark = (first.case, first.landmark) if len(own) == 1 else (None, None)
        problems.append(Problem("error" if severe else "warning", message, case, landmark))
    return problems


def _is_origin(number: float, found: Sequence[_Found], entries: Sequence[Entry]) -> bool:
    """Whether one landmark lies at 0, 0, 0 mm in most cases: the origin of a coordinate system such as AC-PC."""
    if number or found[0].in_voxels or len({one.landmark for one in found}) > 1:
        return False
    return len(entries) > 1 and 2 * len(found) > len(entries)


def _dims(entries: Sequence[Entry]) -> int:
    return next(entry.landmarks.spatial_dims for entry in entries if entry.landmarks is not None)


def _text(mark: Sequence[float]) -> str:
    return ",".join(f"{number:g}" for number in mark)
