"""Problems of the division into training and test cases. Pure functions."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np

from auto_config.datasets.model.dataset import Case, Problem, present_points

_FEW = 3
_SHOWN = 5


def untrained_landmarks(
    cases: Sequence[Case], names: Sequence[str], test: Collection[str], source: Path
) -> list[Problem]:
    """Find landmarks that test cases have and no training case has: no network can learn them.

    Args:
        cases: all cases.
        names: of the landmarks.
        test: names of the test cases.
        source: of the data set.

    Returns:
        One warning, with the landmarks and their test cases; none where nothing is divided.
    """
    training = [case for case in cases if case.name not in test and case.landmarks is not None]
    tests = [case for case in cases if case.name in test and case.landmarks is not None]
    if not training or not tests:
        return []
    seen, asked = _has(training, names), _has(tests, names)
    lost = np.flatnonzero(~seen.any(axis=0) & asked.any(axis=0))
    if not len(lost):
        return []
    shown = ", ".join(repr(names[one]) for one in lost[:_SHOWN])
    more = f" and {len(lost) - _SHOWN} more" if len(lost) > _SHOWN else ""
    first = tests[int(np.argmax(asked[:, lost[0]]))].name
    noun, verb, those = ("landmark", "is", "it") if len(lost) == 1 else ("landmarks", "are", "them")
    message = (
        f"{source}: {noun} {shown}{more} {verb} present in test cases, such as {first!r}, and in no training case, so "
        f"no training can learn {those}; move a case that has {those} to the training, or choose with --landmarks"
    )
    return [Problem("warning", message, None, names[lost[0]])]


def few_cases(folds: Mapping[str, int], test: Collection[str], source: Path) -> list[Problem]:
    """Say what 1 or 2 training cases mean.

    Args:
        folds: name of each training case to its fold.
        test: names of the test cases.
        source: of the data set.

    Returns:
        One warning where there are so few.
    """
    if not 0 < len(folds) < _FEW:
        return []
    held_out = "" if test else "no case is left for a test, and "
    if len(set(folds.values())) == 1:
        means = "nothing can validate or calibrate: train with `--fold none`"
    else:
        means = "each training learns from one case and is validated on the other: its error says little"
    count = "1 training case" if len(folds) == 1 else f"{len(folds)} training cases"
    return [Problem("warning", f"{source}: has {count} only: {held_out}{means}; annotate more cases")]


def _has(cases: Sequence[Case], names: Sequence[str]) -> np.ndarray:
    """``(N, L)`` whether a case has a landmark."""
    dims = next(case.landmarks.spatial_dims for case in cases if case.landmarks is not None)
    return np.stack([np.isfinite(present_points(case, names, dims)[:, 0]) for case in cases])
