"""The fingerprint of a data set: its numbers, without images and without names of cases."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from auto_config.bundle_scripts.points.landmarks import ABSENT, PRESENT, UNKNOWN
from auto_config.datasets.checks.cohort import cohort_problems
from auto_config.datasets.model.dataset import Case, Dataset, Problem, present_points
from auto_config.datasets.model.units import common_pixel_spacing, unit_of
from auto_config.errors import UserError
from auto_config.fingerprint.instances import exchangeable_numbers, many_numbers
from auto_config.fingerprint.intensity import ChannelIntensity
from auto_config.fingerprint.measuring import MeasuredCase
from auto_config.fingerprint.places import where_landmarks_lie
from auto_config.fingerprint.pose import grid_frame, how_cases_lie
from auto_config.fingerprint.symmetry import find_symmetry


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
        channel_guesses: The same for each channel; empty in fingerprints of older versions.
        unit: ``"px"`` for pictures whose pixel size nobody knows; numbers in mm are then in pixels.
        pixel_spacing: Pixel size (x, y) in mm that was given with the data, else None.
        many: landmarks of which a case may have any number, see `instances.many_numbers`.
        pose: how the cases lie, see `pose.how_cases_lie`; empty in fingerprints of older versions.
        places: where the landmarks lie, see `places.where_landmarks_lie`; empty in fingerprints of older versions, and
            beside plans with two stages, which do not ask for it.
        exchangeable: pairs whose points may change places, see `instances.exchangeable_numbers`.
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
    channel_guesses: list[str | None] = field(default_factory=list)
    unit: str = "mm"
    pixel_spacing: list[float] | None = None
    many: list[dict[str, Any]] = field(default_factory=list)
    exchangeable: list[dict[str, Any]] = field(default_factory=list)
    pose: dict[str, Any] = field(default_factory=dict)
    places: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """A dictionary that JSON can hold; without places where there are none."""
        return {name: value for name, value in asdict(self).items() if name != "places" or value}

    @classmethod
    def from_dict(cls, mapping: Mapping[str, Any]) -> Fingerprint:
        """The fingerprint that `to_dict` gave."""
        return cls(**mapping)


def all_problems(dataset: Dataset, measured: Sequence[MeasuredCase]) -> list[Problem]:
    """Problems of the cases in their order, then those that only the cohort shows."""
    problems = [problem for one in measured for problem in one.problems]
    headers = {one.case.name: one.header for one in measured if one.header is not None}
    return problems + cohort_problems(dataset, [one.case for one in measured], headers, digests_of(measured), problems)


def digests_of(measured: Sequence[MeasuredCase]) -> dict[str, str]:
    """Name of the case to the digest of its voxels, for the cases without errors."""
    return {one.case.name: one.digest for one in measured if one.digest is not None}


def summarise(dataset: Dataset, measured: Sequence[MeasuredCase], *, without: Collection[str] = ()) -> Fingerprint:
    """The fingerprint of measured cases.

    Args:
        dataset: for its names and axes.
        measured: cases; those with errors do not count.
        without: names of cases that do not count, such as test cases.

    Raises:
        UserError: no case is left; the message holds the first problem.
    """
    used = [(one.case, one.numbers) for one in measured if one.numbers is not None and one.case.name not in without]
    if not used:
        errors = [problem.message for one in measured for problem in one.problems if problem.severity == "error"]
        why = errors[0] if errors else "it has no training case; hold out fewer cases"
        raise UserError(f"{dataset.source}: no case of {len(measured)} can be used: {why}")
    names, spatial_dims = dataset.names, dataset.spatial_dims
    numbers = [of_case for _, of_case in used]
    points = np.stack([present_points(case, names, spatial_dims) for case, _ in used])
    status = np.stack([_status(case, names) for case, _ in used])
    properties, cases = dataset.properties.for_names(names), [case for case, _ in used]
    # One of many points says nothing about the shape.
    single = np.where(np.isin(names, properties.many)[:, None], np.nan, points)
    loose = np.isin(names, [*properties.many, *(name for pair in properties.exchangeable for name in pair)])
    headers = {one.case.name: one.header for one in measured if one.header is not None}
    frames = [grid_frame(headers[case.name].affine) if spatial_dims == 3 else None for case, _ in used]
    pose = how_cases_lie(np.where(loose[:, None], np.nan, points), frames)
    symmetry = find_symmetry(names, single, declared=properties.pairs, any_axis=pose.get("beyond", 0) > 1)
    channels = min(len(one.channels) for one in numbers)
    everything = [channel for one in numbers for channel in one.channels]
    return Fingerprint(
        cases=len(used),
        spatial_dims=spatial_dims,
        channels=channels,
        landmarks=len(names),
        shapes=[list(one.shape) for one in numbers],
        spacings=[[round(edge, 6) for edge in one.spacing] for one in numbers],
        extents_mm=[
            [round(edge * step, 4) for edge, step in zip(one.shape, one.spacing, strict=True)] for one in numbers
        ],
        intensity=[_cohort([one.channels[index] for one in numbers]) for index in range(channels)],
        is_integer=all(channel.integer for channel in everything),
        modality_guess=_guess(everything),
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
        channel_guesses=[_guess([one.channels[index] for one in numbers]) for index in range(channels)],
        unit=unit_of([one.header for one in measured if one.header is not None]),
        pixel_spacing=common_pixel_spacing(dataset),
        many=many_numbers(names, properties, cases),
        exchangeable=exchangeable_numbers(names, properties, cases, spatial_dims),
        pose=pose,
        places=where_landmarks_lie(np.where(loose[:, None], np.nan, points), [one.middle for _, one in used], frames),
    )


def _guess(channels: Sequence[ChannelIntensity]) -> str | None:
    return "ct" if 2 * sum(channel.hounsfield for channel in channels) > len(channels) else None


def _status(case: Case, names: Sequence[str]) -> np.ndarray:
    if case.landmarks is None:
        return np.full(len(names), UNKNOWN, dtype=np.int8)
    return case.landmarks.ordered(names).status


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
