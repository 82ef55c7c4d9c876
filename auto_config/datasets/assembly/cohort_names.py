"""Names that only the cohort shows to be wrong: each file has its own, or some files have numbers and others words."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from auto_config.bundle_scripts.points.landmarks import LandmarkSet
from auto_config.datasets.formats.shared.entries import Entry
from auto_config.datasets.model.dataset import Problem

# Slicer's default label: the name of the point list and a number (``%N-%d``).
_COUNTED = re.compile(r"(.+)-(\d+)", re.DOTALL)


def common_stem(names: Sequence[str]) -> str | None:
    """What all names of a file begin with, if the rest of each is ``-NUMBER``; else None."""
    matches = [_COUNTED.fullmatch(name) for name in names]
    stems = {match[1] if match else None for match in matches}
    return next(iter(stems)) if len(stems) == 1 else None


def without_stems(entries: list[Entry], source: Path) -> tuple[list[Entry], list[Problem]]:
    """Call points 1, 2, ... in the order of the file where each file's labels begin with its own point list's name.

    Args:
        entries: The cases as read; they are kept as they are unless every file's labels are one stem and a number, and
            most stems are a file's own.
        source: The data set, named in the line.

    Returns:
        The cases, and one line that says what was done, or an error where the files differ in the number of points.
    """
    sets = [(entry, entry.landmarks) for entry in entries if entry.landmarks is not None and len(entry.landmarks)]
    stems = [common_stem(landmarks.names) for _, landmarks in sets]
    if len(sets) < 2 or None in stems or 2 * len(set(stems)) <= len(stems):
        return entries, []
    if any(landmarks.instances for _, landmarks in sets):
        return entries, []
    numbers = [[name.rpartition("-")[2] for name in landmarks.names] for _, landmarks in sets]
    first, other = sets[0], next((one for one in sets if len(one[1]) != len(sets[0][1])), None)
    example = f"{first[1].names[0]!r} in {first[0].label}"
    if other is not None:
        message = (
            f"{other[0].label}: has {len(other[1])} points, {first[0].label} has {len(first[1])}, and labels are the "
            f"name of each point list and a number ({example}), so nothing says which point is which; give each point "
            "the same label in all files, or give --names order if the last points are those that are missing"
        )
        return entries, [Problem("error", message, other[0].name)]
    same = all(found == numbers[0] for found in numbers)
    order = "" if same else ", in the order of each file, as the numbers differ"
    message = (
        f"{source}: labels are the name of each point list and a number ({example}); the points are called 1 to "
        f"{len(first[1])}{order}"
    )
    return [_counted(entry) for entry in entries], [Problem("warning", message)]


def _counted(entry: Entry) -> Entry:
    raters = {rater: _numbered(found) for rater, found in entry.raters.items()}
    return replace(entry, landmarks=None if entry.landmarks is None else _numbered(entry.landmarks), raters=raters)


def _numbered(landmarks: LandmarkSet) -> LandmarkSet:
    if common_stem(landmarks.names) is None:
        return landmarks
    return replace(landmarks, names=tuple(str(number) for number in range(1, len(landmarks) + 1)))


def mixed_names(entries: Sequence[Entry]) -> list[Problem]:
    """An error for each case whose points have numbers for names while most cases have words, or the reverse.

    Where labels are numbers in all files, `point_names` has chosen one way for them; here some files have words.
    """
    sets = [(entry, entry.landmarks) for entry in entries if entry.landmarks is not None and len(entry.landmarks)]
    numbered = [entry for entry, landmarks in sets if all(name.isdecimal() for name in landmarks.names)]
    worded = [entry for entry, landmarks in sets if not any(name.isdecimal() for name in landmarks.names)]
    if not numbered or not worded:
        return []
    return [
        Problem(
            "error",
            f"{entry.label}: points are called by numbers, in {worded[0].label} by words; give each point the same "
            "label in all files, or fill in the description of every point in all files with numbers",
            entry.name,
        )
        for entry in numbered
    ]
