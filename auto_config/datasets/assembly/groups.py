"""Which cases belong together, so that training and test share no patient: BIDS subjects, or a CSV with the groups."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from auto_config.datasets.formats.shared.entries import Entry
from auto_config.datasets.formats.shared.image_names import meant_name
from auto_config.datasets.formats.shared.tables import read_table, row_of, stated
from auto_config.datasets.model.dataset import Dataset, Problem
from auto_config.errors import UserError

_SUBJECT = re.compile(r"(?:^|_)(sub-[A-Za-z0-9]+)(?=_|$)")


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


def with_groups(dataset: Dataset, path: Path) -> Dataset:
    """The data set with the groups of a CSV with the columns case and group.

    Raises:
        UserError: if the file cannot be read, lacks a column, or names a case that is not there.
    """
    try:
        header, lines = read_table(path)
    except UserError as error:
        raise UserError(f"{error} (groups are a CSV with the columns case,group)") from error
    header = [name.lower() for name in header]
    if not lines or not {"case", "group"} <= set(header):
        raise UserError(f"{path}: needs the columns case,group and at least one line below them")
    names = {case.name for case in dataset.cases}
    rows = [row_of(header, values, f"{path}: line {number}") for number, values in lines]
    cases = [row.get("case", "") for row in rows]
    cases = [meant_name(case, names) or case for case in cases]
    groups = {case: stated(row.get("group", "")) or None for case, row in zip(cases, rows, strict=True)}
    unknown = sorted(set(groups) - names)
    if unknown:
        raise UserError(f"{path}: names case {unknown[0]!r}, which is not in the data set ({len(unknown)} such)")
    return replace(dataset, cases=tuple(replace(case, group=groups.get(case.name)) for case in dataset.cases))


def cases_of_groups(dataset: Dataset, wanted: Sequence[str]) -> list[str]:
    """Names of the cases of some groups, as `create --test_groups` holds them back.

    Args:
        dataset: As it was read; its cases have their groups.
        wanted: Names of groups.

    Raises:
        UserError: One of the groups does not exist.
    """
    known = sorted({case.group for case in dataset.cases if case.group is not None})
    for name in wanted:
        if name not in known:
            some = ", ".join(known[:5]) + (", ..." if len(known) > 5 else "")
            raise UserError(
                f"--test_groups: {dataset.source} has no group {name!r}, it has {some or 'none'}; groups are declared "
                "in cases.csv beside the data, or with --groups"
            )
    return [case.name for case in dataset.cases if case.group in wanted]


def meant_cases(dataset: Dataset, names: Sequence[str]) -> list[str]:
    """The cases that a person names, who may have written a file's ending or other letters; others as they are."""
    known = {case.name for case in dataset.cases}
    return [meant_name(name, known) or name for name in names]
