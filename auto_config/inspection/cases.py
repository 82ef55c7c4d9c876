"""Each case read once and checked: what was found in it, and its picture where a page is wanted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from auto_config.choices import Outside
from auto_config.datasets.checks.cases import check_case, outside_absent
from auto_config.datasets.checks.duplicates import voxel_digest
from auto_config.datasets.checks.frames import CheckedCase, explain_frames, greys_of
from auto_config.datasets.images import Header, read_header, read_image
from auto_config.datasets.model.dataset import Case, Dataset, Problem
from auto_config.errors import UserError
from auto_config.running.parallel import map_cases


@dataclass(frozen=True)
class CaseReport:
    """What was found in one case.

    Args:
        case: The case, with landmarks outside its image turned absent where that was asked for.
        header: Header of its image, or None where it could not be read.
        problems: Its problems.
        picture: JPEG of slices with the points, or None.
        digest: Of its voxels, or None where they were not read.
        greys: Of its points, see `checks.frames.greys_of`; None where the voxels were not read.
    """

    case: Case
    header: Header | None
    problems: tuple[Problem, ...]
    picture: bytes | None = None
    digest: str | None = None
    greys: np.ndarray | None = None


def inspect_cases(
    dataset: Dataset, *, outside: Outside, headers_only: bool, pictures: bool, workers: int | None
) -> list[CaseReport]:
    """Check all cases in parallel, with a progress bar.

    Returns:
        One report for each case, in the order of the data set.

    Raises:
        UserError: `workers` is below 1, or a process was killed.
    """
    check = partial(inspect_case, names=dataset.names, outside=outside, headers_only=headers_only, pictures=pictures)
    reports = map_cases(
        check, dataset.cases, workers=workers, label="reading headers" if headers_only else "reading images"
    )
    checked = [
        CheckedCase(case, found.header, found.problems, found.greys)
        for case, found in zip(dataset.cases, reports, strict=True)
    ]
    explained = explain_frames(dataset, checked, outside=outside, headers_only=headers_only, workers=workers)
    return [replace(found, problems=problems) for found, problems in zip(reports, explained, strict=True)]


def inspect_case(
    case: Case, *, names: Sequence[str], outside: Outside, headers_only: bool, pictures: bool
) -> CaseReport:
    """Read and check one case; a file that cannot be read is one of its problems."""
    try:
        read = read_header if headers_only else read_image
        image = read(case.image, case.pixel_spacing)
    except UserError as error:
        return CaseReport(case, None, (Problem("error", str(error), case.name),))
    problems = check_case(case, image, names, outside)
    header = image if isinstance(image, Header) else image.header
    usable = not any(problem.severity == "error" and problem.landmark is None for problem in problems)
    picture = None
    if pictures and usable and not isinstance(image, Header):
        from auto_config.inspection.report import case_picture

        picture = case_picture(image, case.landmarks)
    if outside == "absent" and usable:
        case = outside_absent(case, header)
    digest = None if isinstance(image, Header) else voxel_digest(image.array)
    greys = None if isinstance(image, Header) else greys_of(image, case, names, problems)
    return CaseReport(case, header, tuple(problems), picture, digest, greys)
