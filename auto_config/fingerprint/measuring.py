"""Read, check and measure images: one read for each case, in parallel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import nibabel as nib
import numpy as np

from auto_config.bundle_scripts.grid.background import background_box, background_value
from auto_config.bundle_scripts.grid.grids import apply_affine
from auto_config.choices import Outside
from auto_config.datasets.checks.cases import check_case, outside_absent
from auto_config.datasets.checks.duplicates import voxel_digest
from auto_config.datasets.checks.frames import CheckedCase, explain_frames, greys_of
from auto_config.datasets.images import Header, Image, read_image
from auto_config.datasets.model.dataset import Case, Dataset, Problem
from auto_config.errors import UserError
from auto_config.fingerprint.intensity import ChannelIntensity, measure_channel
from auto_config.running.parallel import map_cases


@dataclass(frozen=True)
class CaseNumbers:
    """What is measured in one image; axes in RAS order.

    Args:
        shape: voxels after the crop of constant background.
        spacing: mm.
        middle: world mm of the middle of that crop, which is the middle of the planned grid.
        channels: grey values.
    """

    shape: tuple[int, ...]
    spacing: tuple[float, ...]
    middle: tuple[float, ...]
    channels: tuple[ChannelIntensity, ...]


@dataclass(frozen=True)
class MeasuredCase:
    """One case after its image was read.

    Args:
        case: with landmarks outside the image turned absent where that was asked for.
        header: of its image; None if it cannot be read.
        numbers: of its image; None if the case has errors.
        problems: of the case.
        digest: of its voxels, see `duplicates.voxel_digest`; None if the case has errors.
        greys: of its points, see `checks.frames.greys_of`; None if the case has errors.
    """

    case: Case
    header: Header | None
    numbers: CaseNumbers | None
    problems: tuple[Problem, ...]
    digest: str | None = None
    greys: np.ndarray | None = None


def measure_cases(dataset: Dataset, *, outside: Outside = "error", workers: int | None = None) -> list[MeasuredCase]:
    """Read, check and measure every case once, in parallel, with a progress bar.

    Args:
        dataset: cases with images and landmarks.
        outside: what a landmark outside its image is, ``"error"`` or ``"absent"``.
        workers: processes, see `parallel.map_cases`.

    Returns:
        One for each case, in the order of the data set.

    Raises:
        UserError: `workers` is below 1, or a process was killed.
    """
    measure = partial(measure_case, names=dataset.names, outside=outside)
    measured = map_cases(measure, dataset.cases, workers=workers, label="reading images")
    checked = [
        CheckedCase(case, found.header, found.problems, found.greys)
        for case, found in zip(dataset.cases, measured, strict=True)
    ]
    explained = explain_frames(dataset, checked, outside=outside, headers_only=False, workers=workers)
    return [_with_problems(found, problems) for found, problems in zip(measured, explained, strict=True)]


def _with_problems(measured: MeasuredCase, problems: tuple[Problem, ...]) -> MeasuredCase:
    if any(problem.severity == "error" for problem in problems):
        return replace(measured, problems=problems, numbers=None, digest=None)
    return replace(measured, problems=problems)


def measure_case(case: Case, names: Sequence[str], outside: Outside = "error") -> MeasuredCase:
    """Read, check and measure one image.

    Args:
        case: with the paths of its image.
        names: landmark names of the data set.
        outside: what a landmark outside its image is, ``"error"`` or ``"absent"``.
    """
    try:
        image = read_image(case.image, case.pixel_spacing)
    except UserError as error:
        return MeasuredCase(case, None, None, (Problem("error", str(error), case.name),))
    problems = check_case(case, image, names, outside)
    if any(problem.severity == "error" for problem in problems):
        return MeasuredCase(case, image.header, None, tuple(problems))
    if outside == "absent":
        case = outside_absent(case, image.header)
    greys = greys_of(image, case, names, problems)
    return MeasuredCase(case, image.header, _measure(image), tuple(problems), voxel_digest(image.array), greys)


def _measure(image: Image) -> CaseNumbers:
    background = background_value(image.array)
    box = background_box(image.array)
    array = image.array[(slice(None), *box)]
    middle = apply_affine(image.affine, np.array([(part.start + part.stop - 1) / 2 for part in box]))
    order = np.argsort(nib.orientations.io_orientation(image.affine)[:, 0])
    spacing = np.linalg.norm(image.affine[:-1, :-1], axis=0)
    return CaseNumbers(
        shape=tuple(int(array.shape[1 + axis]) for axis in order),
        spacing=tuple(float(spacing[axis]) for axis in order),
        middle=tuple(float(x) for x in middle),
        channels=tuple(
            measure_channel(channel, None if background is None else float(background[index]))
            for index, channel in enumerate(array)
        ),
    )
