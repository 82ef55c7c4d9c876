"""Which cases are held out for the test, and which fold validates on which."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from auto_config.bundle_scripts.points.landmark_text import read_text
from auto_config.bundle_scripts.points.landmarks import UNKNOWN, LandmarkFileError
from auto_config.datasets.model.dataset import Case
from auto_config.errors import UserError
from auto_config.methods.plan import Decision

_SMALLEST_FOLD_COUNT = 2


@dataclass(frozen=True)
class Split:
    """The split of a data set.

    Args:
        test: names of the held-out cases, in the order of the data set.
        folds: the fold in whose validation each training case is, by name.
        unannotated: names of cases without any annotated landmark; they are in neither.
        decisions: ``test`` and ``folds`` for the plan; numbers only, no case names.
    """

    test: tuple[str, ...]
    folds: Mapping[str, int]
    unannotated: tuple[str, ...]
    decisions: Mapping[str, Decision]


def make_split(
    cases: Sequence[Case],
    *,
    folds: int = 5,
    test_fraction: float = 0.2,
    test_names: Collection[str] | None = None,
    seed: int = 0,
) -> Split:
    """Split cases into test and folds; the same cases, options and seed give the same split, in any order.

    Marks of the source are kept: its test cases are the test (unless `test_names` says otherwise), its folds the folds.
    Else the split is stratified by the folder of the image and by which landmarks are annotated, and cases of one group
    stay together. Where the source marks a validation list only (fold 0), that list is exactly fold 0; the other cases
    make the test and the other folds.

    Args:
        cases: of the data set.
        folds: number of folds, 2 or more; fewer if there are fewer groups.
        test_fraction: share to hold out where neither the source nor `test_names` says which; 0 for none, below 1.
        test_names: names of the test cases.
        seed: of the shuffling.

    Raises:
        UserError: an option is not allowed, or `test_names` holds unknown names, every case, or half a group.
    """
    if folds < _SMALLEST_FOLD_COUNT:
        raise UserError(f"--folds must be {_SMALLEST_FOLD_COUNT} or more, got {folds}")
    if not 0 <= test_fraction < 1:
        raise UserError(f"--test_fraction must be 0 or more and below 1, got {test_fraction:g}")
    annotated = [case for case in cases if _is_annotated(case)]
    unannotated = tuple(case.name for case in cases if not _is_annotated(case))
    rng = np.random.default_rng(seed)
    test, test_decision = _test_cases(cases, annotated, test_fraction, test_names, rng)
    training = [case for case in annotated if case.name not in test]
    assigned, fold_decision = _folds(training, folds, seed, rng)
    return Split(
        test=tuple(case.name for case in cases if case.name in test),
        folds={case.name: assigned[case.name] for case in training},
        unannotated=tuple(name for name in unannotated if name not in test),
        decisions={"test": test_decision, "folds": fold_decision},
    )


def read_test_file(path: Path) -> list[str]:
    """Names of test cases from a text file with one a line, or a JSON list.

    Raises:
        UserError: the file cannot be read, is empty, or holds something else or a name twice.
    """
    try:
        text = read_text(path)
    except LandmarkFileError as error:
        raise UserError(f"{error} (test cases are a text file with one case name a line)") from error
    names = _json_names(path, text) if text.lstrip().startswith(("[", "{")) else text.split("\n")
    names = [name.strip() for name in names if name.strip()]
    if not names:
        raise UserError(f"{path}: holds no case name; write one a line")
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise UserError(f"{path}: case {twice[0]!r} is a duplicate; name each test case once")
    return names


def _json_names(path: Path, text: str) -> list[str]:
    try:
        names = json.loads(text)
    except ValueError as error:
        raise UserError(f"{path}: is no JSON ({error}); give a list of names or one name a line") from error
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise UserError(f"{path}: must be a JSON list of case names, or text with one name a line")
    return names


def number_to_train_on(cases: Sequence[Case], test_names: Collection[str] | None) -> int:
    """How many annotated cases are no test cases yet, by the data set or by the user."""
    test = test_names if test_names is not None else {case.name for case in cases if case.split == "test"}
    return sum(_is_annotated(case) and case.name not in test for case in cases)


def _is_annotated(case: Case) -> bool:
    return case.landmarks is not None and bool((case.landmarks.status != UNKNOWN).any())


def _test_cases(
    cases: Sequence[Case],
    annotated: Sequence[Case],
    fraction: float,
    wanted: Collection[str] | None,
    rng: np.random.Generator,
) -> tuple[set[str], Decision]:
    if wanted is not None:
        test = _wanted_test(cases, annotated, wanted)
        return test, Decision({"from": "file", "cases": len(test)}, "test cases given by the user")
    test = {case.name for case in cases if case.split == "test"}
    if test:
        return test, Decision({"from": "source", "cases": len(test)}, "the data set marks its test cases")
    # Cases that the source gives a fold stay in it, as long as there are others to draw from.
    test = _drawn_test([case for case in annotated if case.fold is None] or annotated, fraction, rng)
    reason = f"{fraction:.0%} held out, stratified by folder and by annotated landmarks, groups kept together"
    return test, Decision({"from": "fraction", "fraction": fraction, "cases": len(test)}, reason)


def _wanted_test(cases: Sequence[Case], annotated: Sequence[Case], wanted: Collection[str]) -> set[str]:
    test = set(wanted)
    unknown = sorted(test - {case.name for case in cases})
    if unknown:
        raise UserError(
            f"--test names case {unknown[0]!r}, which is not in the data set ({len(unknown)} such); its cases are "
            f"called {', '.join(repr(case.name) for case in cases[:3])}, ..."
        )
    if test >= {case.name for case in annotated}:
        raise UserError("--test names every case with landmarks; leave some for training")
    groups = {case.group for case in cases if case.group is not None and case.name in test}
    split = next((case for case in annotated if case.group in groups and case.name not in test), None)
    if split is not None:
        raise UserError(
            f"--test names a part of group {split.group!r} only, case {split.name!r} is missing; groups stay together"
        )
    return test


def _drawn_test(cases: Sequence[Case], fraction: float, rng: np.random.Generator) -> set[str]:
    """From the stratum that is owed most, its next group, until the number is reached."""
    left = min(round(fraction * len(cases)), len(cases) - 1)
    strata = _strata(cases, rng)
    owed = {key: fraction * sum(len(unit) for unit in units) for key, units in strata.items()}
    test: set[str] = set()
    while left > 0:
        fitting = [key for key, units in strata.items() if units and len(units[0]) <= left]
        if not fitting:
            break
        key = max(fitting, key=lambda stratum: owed[stratum])
        unit = strata[key].pop(0)
        owed[key] -= len(unit)
        left -= len(unit)
        test |= {case.name for case in unit}
    return test


def _folds(
    training: Sequence[Case], folds: int, seed: int, rng: np.random.Generator
) -> tuple[dict[str, int], Decision]:
    marked = {case.name: case.fold for case in training if case.fold is not None}
    if training and len(marked) == len(training):
        count = max(marked.values()) + 1
        return marked, Decision({"from": "source", "count": count}, "the data set says which fold each case is in")
    strata = _strata([case for case in training if case.fold is None], rng)
    units = sum(len(stratum) for stratum in strata.values())
    # A lone fold 0 is a validation list: with others in it there would be nothing left to train on.
    first = 1 if marked and max(marked.values()) == 0 else 0
    count = max(marked.values()) + 1 if marked and not first else first + max(1, min(folds - first, units))
    assigned = dict(marked)
    total = Counter(marked.values())
    for stratum in strata.values():
        here: Counter[int] = Counter()
        for unit in stratum:
            fold = min(range(first, count), key=lambda number: (here[number], total[number], number))
            assigned.update({case.name: fold for case in unit})
            here[fold] += len(unit)
            total[fold] += len(unit)
    reason = f"{count} folds, stratified by folder and by annotated landmarks, groups kept together, seed {seed}"
    if first:
        reason = f"fold 0 is the validation list of the data set, the others are drawn: {reason}"
    elif marked:
        reason = f"folds of the data set; cases without one: {reason}"
    elif count < folds:
        reason += f"; {folds} were wanted, there are only {units} cases or groups"
    return assigned, Decision({"from": "seed", "count": count, "seed": seed}, reason)


def _strata(cases: Sequence[Case], rng: np.random.Generator) -> dict[tuple[str, ...], list[list[Case]]]:
    """Shuffled groups of cases by stratum; large groups first, so that small ones can even them out."""
    groups: dict[tuple[str, str], list[Case]] = defaultdict(list)
    for case in sorted(cases, key=lambda one: one.name):
        groups[("case", case.name) if case.group is None else ("group", case.group)].append(case)
    # A folder for each case says nothing about strata.
    folders = {str(case.image[0].parent) for case in cases}
    by_folder = 2 * len(folders) <= len(groups)
    strata: dict[tuple[str, ...], list[list[Case]]] = defaultdict(list)
    for _, unit in sorted(groups.items()):
        first = unit[0]
        strata[(str(first.image[0].parent) if by_folder else "", *_annotated_names(first))].append(unit)
    for key in sorted(strata):
        rng.shuffle(strata[key])  # type: ignore[arg-type] # a list of lists is shuffled in place
        strata[key].sort(key=len, reverse=True)
    return dict(sorted(strata.items()))


def _annotated_names(case: Case) -> list[str]:
    if case.landmarks is None:
        return []
    return sorted(
        name for name, status in zip(case.landmarks.names, case.landmarks.status, strict=True) if status != UNKNOWN
    )
