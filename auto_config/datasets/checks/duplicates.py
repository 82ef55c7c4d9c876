"""Images that are there twice, and test cases that are training cases under another name."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence

import numpy as np

from auto_config.datasets.model.dataset import Case, Problem


def voxel_digest(array: np.ndarray) -> str:
    """A fingerprint of the voxels alone: equal for files whose voxels are, whatever their headers say.

    Args:
        array: ``(C, *shape)`` as it is stored.
    """
    content = hashlib.blake2b(repr(array.shape).encode(), digest_size=16)
    content.update(np.ascontiguousarray(array).data)
    return content.hexdigest()


def duplicate_problems(cases: Sequence[Case], digests: Mapping[str, str]) -> list[Problem]:
    """Find images that several cases share.

    Args:
        cases: Cases with the split that their source declares.
        digests: Name of the case to `voxel_digest` of its image.

    Returns:
        An error for a test case whose image is that of a training case; else a warning: the two may come into
        different folds, and then the validation is no test.
    """
    test = {case.name for case in cases if case.split == "test"}
    problems = leak_problems(cases, digests, test)
    told = {problem.case for problem in problems}
    for group in _groups(cases, digests):
        rest = [case for case in group if case.name not in told]
        apart = len({case.group for case in rest}) > 1 or any(case.group is None for case in rest)
        if len(rest) > 1 and apart:
            names = ", ".join(repr(case.name) for case in rest[1:4]) + (" and others" if len(rest) > 4 else "")
            what = "image of case" if len(rest) == 2 else "images of cases"
            message = (
                f"{rest[0].image[0]}: has the same voxels as the {what} {names}; leave all but one out, or "
                "give them one group, so that they stay together"
            )
            problems.append(Problem("warning", message, rest[0].name))
    return problems


def leak_problems(cases: Sequence[Case], digests: Mapping[str, str], test: Collection[str]) -> list[Problem]:
    """Find test cases whose image is that of a training case: the test would look better than the model is.

    Args:
        cases: all cases.
        digests: as `duplicate_problems` has it.
        test: names of the test cases.
    """
    problems = []
    for group in _groups(cases, digests):
        training = [case for case in group if case.name not in test]
        if not training:
            continue
        problems += [
            Problem(
                "error",
                f"{case.image[0]}: test case {case.name!r} has the same voxels as training case {training[0].name!r}; "
                "leave one of them out, or give both one group, so that they stay together",
                case.name,
            )
            for case in group
            if case.name in test
        ]
    return problems


def _groups(cases: Sequence[Case], digests: Mapping[str, str]) -> list[list[Case]]:
    """Cases that share an image, in their order."""
    found: dict[str, list[Case]] = {}
    for case in cases:
        if case.name in digests:
            found.setdefault(digests[case.name], []).append(case)
    return [group for group in found.values() if len(group) > 1]
