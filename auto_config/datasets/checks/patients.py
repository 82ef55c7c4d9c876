"""Which cases are scans of one patient, as far as their names say it.

Scans of one patient in training and in test make the test number too good. A BIDS subject is a group by definition;
other names are only a hint, because a number may count patients, scans or sites.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from auto_config.datasets.formats.shared.entries import Entry
from auto_config.datasets.model.dataset import Case, Problem

_SUBJECT = re.compile(r"(?:^|_)(sub-[A-Za-z0-9]+)(?=_|$)")
# Last words of names that tell two scans of a patient apart: a name with another word of the same row is its fellow.
_FELLOWS = (
    re.compile(r"l|r|left|right|lt|rt", re.IGNORECASE),
    re.compile(r"pre|post|preop|postop|baseline|followup|follow-up|fu\d*|bl", re.IGNORECASE),
    re.compile(r"(?:t|tp|v|visit|scan|session|ses-?|run-?|timepoint|time)\d{1,2}", re.IGNORECASE),
)
_LAST_WORD = re.compile(r"(.*\w)[_. -](\w[\w-]*?)", re.DOTALL)
_LAST_DIGIT = re.compile(r"(.*?)(\d{2,})(\d)", re.DOTALL)
_FEW = 5  # scans of one patient; a cohort that is counted through has ten in each ten
_PATIENTS = 3  # so many numbers must have the pattern before a digit is a hint


def with_bids_groups(entries: list[Entry], source: Path) -> tuple[list[Entry], list[Problem]]:
    """Make each BIDS subject a group, where one has several cases and the source declares no group.

    Args:
        entries: The cases; ``sub-LABEL`` in a name is the subject.
        source: The data set, named in the line.

    Returns:
        The cases with their groups, and one line that says so.
    """
    subjects = {entry.name: match[1] for entry in entries if (match := _SUBJECT.search(entry.name))}
    counts: dict[str, int] = {}
    for subject in subjects.values():
        counts[subject] = counts.get(subject, 0) + 1
    several = [subject for subject, count in counts.items() if count > 1]
    if not several or any(entry.group is not None for entry in entries):
        return entries, []
    message = (
        f"{source}: {len(several)} of {len(counts)} BIDS subjects have several cases, {several[0]} has "
        f"{counts[several[0]]}; cases of one subject stay together in the split, choose other groups with --groups"
    )
    grouped = [replace(entry, group=subjects.get(entry.name)) for entry in entries]
    return grouped, [Problem("warning", message)]


def patient_problems(cases: Sequence[Case], source: Path) -> list[Problem]:
    """One warning if names look like several scans of a patient and no case has a group."""
    if any(case.group is not None for case in cases):
        return []
    found = related_names([case.name for case in cases])
    if not found:
        return []
    message = (
        f"{source}: {' and '.join(found[0][:3])} may be scans of one patient, by their names ({len(found)} such "
        "groups); training and test then share patients: give a CSV with the columns case,group with --groups"
    )
    return [Problem("warning", message)]


def related_names(names: Sequence[str]) -> list[list[str]]:
    """Groups of names that look like several scans of one patient, by their last word or their last digit.

    ``P02_L`` and ``P02_R``, ``x_pre`` and ``x_post``, ``x_t1`` and ``x_t2``; ``genius_0800`` and ``genius_0801`` where
    the last digit begins again at 0 or 1 for each of several numbers; ``P02_1`` and ``P02_2`` likewise. Cases that are
    counted through (``case_001`` to ``case_020``) are no groups.

    Returns:
        The groups of two names and more, in the order of `names`.
    """
    for fellows in _FELLOWS:
        stems: dict[str, list[str]] = {}
        for name in names:
            match = _LAST_WORD.fullmatch(name)
            if match and fellows.fullmatch(match[2]):
                stems.setdefault(match[1], []).append(name)
        if groups := [group for group in stems.values() if len(group) > 1]:
            return groups
    return _counted_again(names, re.compile(r"(.*\d)[_. -](\d)", re.DOTALL)) or _counted_again(names, _LAST_DIGIT)


def _counted_again(names: Sequence[str], pattern: re.Pattern[str]) -> list[list[str]]:
    """Names whose last digit counts the scans: it begins again for each stem and stays small."""
    stems: dict[str, list[tuple[int, str]]] = {}
    for name in names:
        match = pattern.fullmatch(name)
        if match is None:
            return []
        stems.setdefault("".join(match.groups()[:-1]), []).append((int(match[match.lastindex or 1]), name))
    firsts = {min(digits)[0] for digits in stems.values()}
    counted = all(
        sorted(digit for digit, _ in found) == list(range(min(found)[0], min(found)[0] + len(found)))
        for found in stems.values()
    )
    groups = [[name for _, name in found] for found in stems.values() if len(found) > 1]
    often = len(stems) >= _PATIENTS and 2 * len(groups) >= len(stems)
    few = all(len(found) <= _FEW for found in stems.values())
    return groups if often and few and counted and firsts in ({0}, {1}) else []
