"""Problems that only show when the cases are compared with each other. Pure functions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from auto_config.datasets.checks.duplicates import duplicate_problems
from auto_config.datasets.checks.exchanges import exchanged_pairs, impossible_points
from auto_config.datasets.checks.patients import patient_problems
from auto_config.datasets.checks.scales import image_scale_problems, point_scale_problems
from auto_config.datasets.checks.splits import untrained_landmarks
from auto_config.datasets.images import Header
from auto_config.datasets.model.dataset import Case, Dataset, Problem, present_points
from auto_config.datasets.model.names import left_right_pairs
from auto_config.datasets.model.units import unit_problems

_SPACING_RATIO = 10.0
_FEWEST_POINTS = 4
_MOST_REFERENCES = 15
# A mirrored fit must be this much better before a case is called mirrored; flat point sets never reach it.
_MIRROR_RATIO = 0.5
_TURNED_DEGREES = 120.0
_ALIGNED_DEGREES = 60.0
_SWAPPED_SHARE = 0.75


def cohort_problems(
    dataset: Dataset,
    cases: Sequence[Case],
    headers: Mapping[str, Header],
    digests: Mapping[str, str] | None = None,
    known: Sequence[Problem] = (),
) -> list[Problem]:
    """Everything that only the cohort shows; `inspect` and `create` ask the same.

    Args:
        dataset: For its names and axes.
        cases: Its cases, with landmarks outside their images turned absent where that was asked for.
        headers: Name of the case to its header, for those that could be read.
        digests: Name of the case to `duplicates.voxel_digest` of its image; None where the voxels were not read.
        known: Problems of the cases themselves; of a case whose points are in another frame, its shape says no more.
    """
    framed = {problem.case for problem in known if problem.topic == "frame"}
    frameless = {problem.case for problem in known if problem.topic == "no frame"}
    configurations = [
        problem
        for problem in check_configurations(cases)
        if problem.case not in framed and (problem.case not in frameless or problem.severity == "error")
    ]
    told = framed | frameless | {problem.case for problem in configurations}
    tests = {case.name for case in cases if case.split == "test"}
    # A mirrored case has every pair and many points wrong; one problem says it.
    others = [case for case in cases if case.name not in told]
    return [
        *check_headers(headers),
        *unit_problems(headers),
        *image_scale_problems(headers),
        *(
            problem
            for problem in point_scale_problems(cases, dataset.names, dataset.spatial_dims)
            if problem.case not in framed
        ),
        *configurations,
        *check_sides(dataset, cases),
        *exchanged_pairs(dataset, others),
        *impossible_points(dataset, others),
        *duplicate_problems(cases, digests or {}),
        *patient_problems(cases, dataset.source),
        *untrained_landmarks(cases, dataset.names, tests, dataset.source),
    ]


def check_headers(headers: Mapping[str, Header]) -> list[Problem]:
    """Find cases whose number of channels or voxel size does not fit the others.

    Args:
        headers: Name of the case to its header.
    """
    # A 4D image is an error of its own.
    headers = {name: header for name, header in headers.items() if header.volumes == 1}
    if not headers:
        return []
    problems: list[Problem] = []
    usual_channels = Counter(header.channels for header in headers.values()).most_common(1)[0][0]
    spacings = {name: float(np.prod(header.spacing) ** (1 / len(header.spacing))) for name, header in headers.items()}
    usual_spacing = float(np.median(list(spacings.values())))
    for name, header in headers.items():
        if header.channels != usual_channels:
            message = (
                f"{header.path}: image has {header.channels} channels, most cases have {usual_channels}; "
                "give every case the same channels in the same order"
            )
            problems.append(Problem("error", message, name))
        ratio = spacings[name] / usual_spacing if usual_spacing > 0 else 1.0
        if ratio > _SPACING_RATIO or 0 < ratio < 1 / _SPACING_RATIO:
            message = (
                f"{header.path}: voxels of {spacings[name]:.4g} mm, the usual case has {usual_spacing:.4g} mm; if the "
                "unit of length is another one, save image and points in mm"
            )
            problems.append(Problem("warning", message, name))
    return problems


def check_configurations(cases: Sequence[Case]) -> list[Problem]:
    """Find cases whose points are the mirror image of the others', or turned as by a swap of RAS and LPS.

    Each case is laid on up to 15 others by the best rotation, with and without reflection (Kabsch 1976, Acta Cryst.
    A32:922). Against more than half of them it must look mirrored or turned. Points alone are compared, so a mistake
    that all cases share is not seen.

    Args:
        cases: Cases with landmarks in the same order.

    Returns:
        An error for each mirrored case, a warning for each turned one.
    """
    usable = [case for case in cases if case.landmarks is not None and case.landmarks.spatial_dims == 3]
    step = max(1, len(usable) // _MOST_REFERENCES)
    references = usable[::step]
    problems: list[Problem] = []
    for case in usable:
        mirrored, turned, compared = 0, 0, 0
        for reference in references:
            if reference is case:
                continue
            verdict = _compare(case, reference)
            if verdict is None:
                continue
            compared += 1
            mirrored += verdict == "mirrored"
            turned += verdict == "turned"
        if 2 * mirrored > compared:
            message = (
                f"{case.image[0]}: the landmarks are the mirror image of those of most other cases; left and right "
                "names are swapped, or one coordinate has the wrong sign, correct them"
            )
            problems.append(Problem("error", message, case.name))
        elif 2 * turned > compared:
            message = (
                f"{case.image[0]}: the landmarks are turned by half a turn about the z axis against most other cases; "
                "if they were saved as LPS but read as RAS (or the other way round), correct the coordinate system"
            )
            problems.append(Problem("warning", message, case.name))
    return problems


def check_sides(dataset: Dataset, cases: Sequence[Case]) -> list[Problem]:
    """Find landmarks called left that lie right of their partners in nearly the whole data set.

    This is the mistake that all cases share, such as the sign of x, which `check_configurations` cannot see.

    Args:
        dataset: For its names and axes.
        cases: Its cases.
    """
    pairs = left_right_pairs(dataset.names)
    if not pairs or dataset.spatial_dims != 3 or not cases:
        return []
    left, right = np.array(pairs).T
    x = np.stack([present_points(case, dataset.names, dataset.spatial_dims)[:, 0] for case in cases])
    known = np.isfinite(x[:, left]) & np.isfinite(x[:, right])
    if not known.any() or np.mean((x[:, left] > x[:, right])[known]) < _SWAPPED_SHARE:
        return []
    message = (
        f"{dataset.source}: landmarks called left, such as {dataset.names[pairs[0][0]]!r}, lie right of their partners "
        "in nearly all cases; check if images or points are mirrored, or left means the observer's left"
    )
    return [Problem("warning", message)]


def _compare(case: Case, reference: Case) -> str | None:
    """``"mirrored"``, ``"turned"`` or ``"same"``; None with too few common points."""
    if case.landmarks is None or reference.landmarks is None:
        return None
    common = case.landmarks.present & reference.landmarks.present
    if np.count_nonzero(common) < _FEWEST_POINTS:
        return None
    moving, fixed = case.landmarks.points[common], reference.landmarks.points[common]
    moving, fixed = moving - moving.mean(axis=0), fixed - fixed.mean(axis=0)
    left, strengths, right = np.linalg.svd(moving.T @ fixed)
    chirality = np.sign(np.linalg.det(left @ right))
    # Squared error of the best rotation, and of the best rotation with reflection; both up to rounding at 0.
    power = np.sum(moving**2) + np.sum(fixed**2) - 2 * (strengths[0] + strengths[1])
    rotated = max(power - 2 * chirality * strengths[2], 0.0)
    reflected = max(power + 2 * chirality * strengths[2], 0.0)
    if chirality < 0 and np.sqrt(reflected) < _MIRROR_RATIO * np.sqrt(rotated):
        return "mirrored"
    rotation = left @ np.diag([1.0, 1.0, chirality]) @ right
    turned_back = np.diag([-1.0, -1.0, 1.0]) @ rotation
    if _degrees(rotation) > _TURNED_DEGREES and _degrees(turned_back) < _ALIGNED_DEGREES:
        return "turned"
    return "same"


def _degrees(rotation: np.ndarray) -> float:
    """Angle of a (3, 3) rotation."""
    return float(np.degrees(np.arccos(np.clip((np.trace(rotation) - 1) / 2, -1, 1))))
