"""The fingerprint of a data set: its numbers, without images and without names of cases."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from typing import Any

import nibabel as nib
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from auto_config.bundle_scripts.background import background_box, background_value
from auto_config.bundle_scripts.landmarks import ABSENT, PRESENT, UNKNOWN
from auto_config.datasets.checks import Outside, check_case
from auto_config.datasets.images import Image, read_image
from auto_config.datasets.model import Case, Dataset, Problem
from auto_config.errors import UserError
from auto_config.intensity import ChannelIntensity, measure_channel
from auto_config.symmetry import find_symmetry, left_right_by_names

_FEWEST_FOR_PROCESSES = 8
_MIRRORED_SHARE = 0.75


@dataclass(frozen=True)
class Fingerprint:
    """Numbers of the training cases, JSON-able. Axes are in RAS order (2D: x to the right, y down).

    Args:
        cases: number of cases.
        spatial_dims: 2 or 3.
        channels: of the images.
        landmarks: number of landmarks.
        shapes: voxels of each case after the crop of constant background.
        spacings: mm of each case.
        extents_mm: shape times spacing of each case.
        intensity: for each channel ``min, max`` (all voxels), ``mean, std, p00_5, p99_5`` (body, all cases together),
            ``air`` and ``air_zscore`` (medians over the cases, see `intensity.ChannelIntensity`).
        is_integer: all grey values are whole numbers.
        modality_guess: ``"ct"`` when most cases hold Hounsfield units, else None.
        landmark_extent_mm: extent of the present landmarks of each case that has two or more.
        present: number of cases in which each landmark is present.
        absent: the same, absent.
        unknown: the same, not annotated.
        nearest_landmarks_mm: ``min`` and ``median`` distance from a landmark to the nearest other one; empty if no case
            has two.
        pairs: left-right pairs of landmark indices.
        midline: indices of landmarks that a mirror maps onto themselves.
        left_right_axis_evidence: ``source`` (names, geometry, none), ``residual_mm``, ``spread_mm``, ``reason``.
    """

    cases: int
    spatial_dims: int
    channels: int
    landmarks: int
    shapes: list[list[int]]
    spacings: list[list[float]]
    extents_mm: list[list[float]]
    intensity: list[dict[str, float]]
    is_integer: bool
    modality_guess: str | None
    landmark_extent_mm: list[list[float]]
    present: list[int]
    absent: list[int]
    unknown: list[int]
    nearest_landmarks_mm: dict[str, float]
    pairs: list[list[int]]
    midline: list[int]
    left_right_axis_evidence: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """A dictionary that JSON can hold."""
        return asdict(self)

    @classmethod
    def from_dict(cls, mapping: Mapping[str, Any]) -> Fingerprint:
        """The fingerprint that `to_dict` gave."""
        return cls(**mapping)


@dataclass(frozen=True)
class CaseNumbers:
    """What is measured in one image; axes in RAS order."""

    shape: tuple[int, ...]
    spacing: tuple[float, ...]
    channels: tuple[ChannelIntensity, ...]


def fingerprint(
    dataset: Dataset,
    *,
    without: Collection[str] = (),
    outside: Outside = "error",
    workers: int | None = None,
    progress: bool = True,
) -> tuple[Fingerprint, list[Problem]]:
    """Read every image once, check it, and measure the data set.

    Args:
        dataset: cases with images and landmarks.
        without: names of cases that are checked but not measured, such as test cases.
        outside: what a landmark outside its image is, see `datasets.checks.check_case`.
        workers: processes; None for one on each core. With 1 or few cases everything runs in this process.
        progress: show a bar on standard error.

    Returns:
        The fingerprint of the cases without errors, and all problems in the order of the cases.

    Raises:
        UserError: no case can be measured; the message holds the first problem.
    """
    results = list(_measure_all(dataset, outside, workers, progress))
    problems = [problem for _, found in results for problem in found]
    used = [
        (case, numbers)
        for case, (numbers, _) in zip(dataset.cases, results, strict=True)
        if numbers is not None and case.name not in without
    ]
    if not used:
        first = next(
            (problem.message for problem in problems if problem.severity == "error"), "it holds no training case"
        )
        raise UserError(f"{dataset.source}: none of the {len(dataset.cases)} cases can be used: {first}")
    problems += _mirrored_cases(dataset)
    return summarise(dataset.names, dataset.spatial_dims, used), problems


def summarise(names: Sequence[str], spatial_dims: int, used: Sequence[tuple[Case, CaseNumbers]]) -> Fingerprint:
    """The fingerprint of measured cases.

    Args:
        names: landmark names of the data set.
        spatial_dims: 2 or 3.
        used: cases with their numbers, at least one.
    """
    numbers = [measured for _, measured in used]
    points = np.stack([_points(case, names, spatial_dims) for case, _ in used])
    status = np.stack([_status(case, names) for case, _ in used])
    symmetry = find_symmetry(names, points)
    channels = min(len(measured.channels) for measured in numbers)
    everything = [channel for measured in numbers for channel in measured.channels]
    return Fingerprint(
        cases=len(used),
        spatial_dims=spatial_dims,
        channels=channels,
        landmarks=len(names),
        shapes=[list(measured.shape) for measured in numbers],
        spacings=[[round(edge, 6) for edge in measured.spacing] for measured in numbers],
        extents_mm=[
            [round(edge * step, 4) for edge, step in zip(measured.shape, measured.spacing, strict=True)]
            for measured in numbers
        ],
        intensity=[_cohort([measured.channels[index] for measured in numbers]) for index in range(channels)],
        is_integer=all(channel.integer for channel in everything),
        modality_guess="ct" if 2 * sum(channel.hounsfield for channel in everything) > len(everything) else None,
        landmark_extent_mm=[
            [round(float(edge), 4) for edge in np.ptp(shape, axis=0)]
            for shape in (case_points[np.isfinite(case_points[:, 0])] for case_points in points)
            if len(shape) > 1
        ],
        present=[int(count) for count in (status == PRESENT).sum(axis=0)],
        absent=[int(count) for count in (status == ABSENT).sum(axis=0)],
        unknown=[int(count) for count in (status == UNKNOWN).sum(axis=0)],
        nearest_landmarks_mm=_nearest(points),
        pairs=[list(pair) for pair in symmetry.pairs],
        midline=list(symmetry.midline),
        left_right_axis_evidence={
            "source": symmetry.source,
            "residual_mm": None if symmetry.residual_mm is None else round(symmetry.residual_mm, 4),
            "spread_mm": None if symmetry.spread_mm is None else round(symmetry.spread_mm, 4),
            "reason": symmetry.reason,
        },
    )


def measure_case(
    case: Case, names: Sequence[str], outside: Outside = "error"
) -> tuple[CaseNumbers | None, list[Problem]]:
    """Read one image, once.

    Returns:
        Its numbers (None if it has errors) and its problems.
    """
    try:
        image = read_image(case.image)
    except UserError as error:
        return None, [Problem("error", str(error), case.name)]
    problems = check_case(case, image, names, outside)
    if any(problem.severity == "error" for problem in problems):
        return None, problems
    box = background_box(image.array)
    problems += _cropped_landmarks(case, names, image, box)
    background = background_value(image.array)
    array = image.array[(slice(None), *box)]
    order = np.argsort(nib.orientations.io_orientation(image.affine)[:, 0])
    spacing = np.linalg.norm(image.affine[:-1, :-1], axis=0)
    numbers = CaseNumbers(
        shape=tuple(int(array.shape[1 + axis]) for axis in order),
        spacing=tuple(float(spacing[axis]) for axis in order),
        channels=tuple(
            measure_channel(channel, None if background is None else float(background[index]))
            for index, channel in enumerate(array)
        ),
    )
    return (None if any(problem.severity == "error" for problem in problems) else numbers), problems


def _measure_all(
    dataset: Dataset, outside: Outside, workers: int | None, progress: bool
) -> Iterator[tuple[CaseNumbers | None, list[Problem]]]:
    count = len(dataset.cases)
    processes = min(workers or _cores(), count)
    columns = (TextColumn("reading images"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not progress, transient=True) as bar:
        task = bar.add_task("", total=count)
        if processes <= 1 or count < _FEWEST_FOR_PROCESSES:
            for case in dataset.cases:
                yield measure_case(case, dataset.names, outside)
                bar.advance(task)
            return
        # Spawned, not forked: a caller may have torch's threads or a GPU open.
        with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
            futures = [pool.submit(measure_case, case, dataset.names, outside) for case in dataset.cases]
            for future in futures:
                yield future.result()
                bar.advance(task)


def _cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _points(case: Case, names: Sequence[str], spatial_dims: int) -> np.ndarray:
    """``(L, D)`` RAS mm, NaN where not present."""
    if case.landmarks is None:
        return np.full((len(names), spatial_dims), np.nan)
    ordered = case.landmarks.ordered(names)
    return np.where((ordered.status == PRESENT)[:, None], ordered.points, np.nan)


def _status(case: Case, names: Sequence[str]) -> np.ndarray:
    if case.landmarks is None:
        return np.full(len(names), UNKNOWN, dtype=np.int8)
    return case.landmarks.ordered(names).status


def _cropped_landmarks(case: Case, names: Sequence[str], image: Image, box: Sequence[slice]) -> list[Problem]:
    """No present landmark may lie in the constant background that is cropped away."""
    points = _points(case, names, image.array.ndim - 1)
    inverse = np.linalg.inv(image.affine)
    voxels = points @ inverse[:-1, :-1].T + inverse[:-1, -1]
    # Half a voxel is the border of the outermost voxel; a hundredth takes up rounding in files.
    low = np.array([part.start for part in box]) - 0.51
    high = np.array([part.stop for part in box]) - 0.49
    lost = np.isfinite(voxels[:, 0]) & ((voxels < low) | (voxels > high)).any(axis=1)
    size = image.array.shape[1:]
    return [
        Problem(
            "error",
            f"{image.path}: landmark {names[index]!r} lies in constant background that is cropped away (box "
            f"{[[part.start, part.stop] for part in box]} of {list(size)} voxels); correct the point or mark it absent",
            case.name,
            names[index],
        )
        for index in map(int, np.flatnonzero(lost))
    ]


def _cohort(channels: Sequence[ChannelIntensity]) -> dict[str, float]:
    body = np.concatenate([channel.body for channel in channels]).astype(np.float64)
    low, high = np.percentile(body, [0.5, 99.5])
    return {
        "min": min(channel.minimum for channel in channels),
        "max": max(channel.maximum for channel in channels),
        "mean": float(body.mean()),
        "std": float(body.std()),
        "p00_5": float(low),
        "p99_5": float(high),
        "air": float(np.median([channel.air for channel in channels])),
        "air_zscore": float(np.median([channel.air_zscore for channel in channels])),
    }


def _nearest(points: np.ndarray) -> dict[str, float]:
    nearest: list[float] = []
    for shape in points:
        here = shape[np.isfinite(shape[:, 0])]
        if len(here) > 1:
            distance = np.linalg.norm(here[:, None] - here[None], axis=-1)
            np.fill_diagonal(distance, np.inf)
            nearest += distance.min(axis=1).tolist()
    return {"min": round(min(nearest), 4), "median": round(float(np.median(nearest)), 4)} if nearest else {}


def _mirrored_cases(dataset: Dataset) -> list[Problem]:
    """Cases in which landmarks called left lie on the right: the sign of x may be wrong."""
    sided = left_right_by_names(dataset.names)
    if not sided or dataset.spatial_dims != 3:
        return []
    left, right = np.array(sided).T
    problems = []
    for case in dataset.cases:
        x = _points(case, dataset.names, dataset.spatial_dims)[:, 0]
        known = np.isfinite(x[left]) & np.isfinite(x[right])
        if known.any() and np.mean(x[left][known] > x[right][known]) >= _MIRRORED_SHARE:
            message = (
                f"{case.image[0]}: landmarks called left lie right of their partners ({int(known.sum())} pairs); "
                "check if image or points are mirrored"
            )
            problems.append(Problem("warning", message, case.name, dataset.names[left[known][0]]))
    return problems
