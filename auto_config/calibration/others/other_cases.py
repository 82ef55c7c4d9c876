"""Calibration on other labelled cases: those of another data set, which no network of the bundle was trained on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track

from auto_config.bundle.opened import OpenBundle, open_bundle
from auto_config.bundle_scripts.points.instances import read_instances
from auto_config.bundle_scripts.points.landmark_names import quoted
from auto_config.bundle_scripts.points.landmarks import UNKNOWN, LandmarkSet
from auto_config.calibration.others.unseen import refuse_seen_files, refuse_seen_images
from auto_config.calibration.out_of_fold import LANDMARKS, OutOfFold, predict_case, stacked
from auto_config.choices import Coordinates, Missing, Outside
from auto_config.datasets import Case, Dataset, Problem, read_dataset
from auto_config.datasets.checks.duplicates import duplicate_problems
from auto_config.datasets.images import read_header
from auto_config.errors import UserError, one_line
from auto_config.fingerprint.measuring import MeasuredCase, measure_cases

SPLITS = ("training", "test")
_NAMED = 3
"""So many names stand in a message."""


@dataclass(frozen=True)
class CaseSource:
    """Where other cases are, and how to read them; the options of `evaluate` for its truth.

    Args:
        source: Data set in any format that `read_dataset` takes.
        format: Read it as this format; None detects it.
        split: Only cases that the source puts into ``training`` or ``test``; None for all.
        cases: Only these cases; None for all.
        missing: What a name that a case lacks means.
        outside: What a point outside its image is.
        coordinates: What the numbers of a table are, if its columns do not say it.
        missing_value: Coordinates that mark a missing point, see `read_dataset`.
        workers: Processes to read images with; None for one on each core.
    """

    source: Path
    format: str | None = None
    split: str | None = None
    cases: Sequence[str] | None = None
    missing: Missing = "unknown"
    outside: Outside = "error"
    coordinates: Coordinates | None = None
    missing_value: str | None = None
    workers: int | None = None

    def __post_init__(self) -> None:
        """Raise UserError for a value that is not allowed."""
        if self.split is not None and self.split not in SPLITS:
            raise UserError(f"--split {self.split}: allowed are {' and '.join(SPLITS)}")
        if self.outside not in ("error", "absent"):
            raise UserError(f"--outside is {self.outside!r}; allowed are error and absent")


def other_cases(
    bundle: Path, given: CaseSource, names: Sequence[str], *, spatial_dims: int, unit: str
) -> tuple[list[dict[str, Any]], list[str]]:
    """Labelled cases to calibrate on, each checked as `create` checks it, none of them a training case.

    Args:
        bundle: Folder of the bundle.
        given: Where they are.
        names: Landmarks of the bundle in channel order.
        spatial_dims: Of the bundle, 2 or 3.
        unit: Of the bundle's points, ``"mm"`` or ``"px"``.

    Returns:
        Items ``{"case", "image": paths, "label": inline, "group"}``, as `out_of_fold.listed_cases` gives them, and
        reservations about them.

    Raises:
        UserError: Nothing to calibrate on, cases with errors, other axes or units than those of the bundle, or a case
            that the networks have seen.
    """
    spacing = bundle_pixel_spacing(bundle)
    dataset, problems = _read(given, spacing)
    _report(problems, given)
    _check_kind(dataset, names, spatial_dims=spatial_dims, unit=unit)
    dataset = replace(dataset, cases=_labelled(_chosen(dataset, given), names, given))
    _check_counts(bundle, dataset.cases)
    refuse_seen_files(bundle, dataset.cases)
    measured = measure_cases(dataset, outside=given.outside, workers=given.workers)
    cases = [replace(one.case, split="training") for one in measured]
    digests = {one.case.name: one.digest for one in measured if one.digest is not None}
    _report([*(problem for one in measured for problem in one.problems), *duplicate_problems(cases, digests)], given)
    if spatial_dims == 2:
        _check_pixel_sizes(measured, spacing, bundle)
    notes = refuse_seen_images(bundle, measured, given.workers)
    labels = [case.landmarks.ordered(names) for case in cases if case.landmarks is not None]
    lacking = [
        name for name, there in zip(names, np.any([one.present for one in labels], axis=0), strict=True) if not there
    ]
    if lacking:
        notes.append(f"no case has {_some(lacking)}, so where that lies is not known")
    return [_item(case, label) for case, label in zip(cases, labels, strict=True)], notes


def predict_other_cases(bundle: Path, items: Sequence[dict[str, Any]], *, device: str | None = None) -> OutOfFold:
    """Predict cases exactly as `predict` does it, with all networks in use.

    Args:
        bundle: Folder of the bundle.
        items: Of `other_cases`.
        device: Such as ``cpu``; None for the bundle's own choice.

    Raises:
        UserError: wrong bundle or weights, or an image that cannot be predicted.
    """
    opened = open_bundle(bundle, device=device)
    rows = [_predicted(opened, item) for item in track(items, description="other cases", transient=True)]
    return stacked(items, rows, None)


def _predicted(opened: OpenBundle, item: dict[str, Any]) -> dict[str, np.ndarray]:
    try:
        return predict_case(opened, item)[0]
    except Exception as error:  # transforms raise whatever they like over an image that they cannot use
        reason, image = one_line(error), str(item["image"][0])
        raise UserError(reason if image in reason else f"{image}: cannot be predicted ({reason})") from error


def bundle_pixel_spacing(bundle: Path) -> tuple[float, float] | None:
    """The pixel size (x, y) in mm with which a bundle reads every picture; None where files say it, or nobody knows."""
    path = bundle / "configs" / "inference.json"
    try:
        spacing = json.loads(path.read_text(encoding="utf-8")).get("pixel_spacing")
    except (OSError, ValueError, AttributeError) as error:
        raise UserError(f"{path}: cannot be read ({error}); give a bundle that `auto_config create` wrote") from error
    return None if spacing is None else (float(spacing[0]), float(spacing[1]))


def _read(given: CaseSource, spacing: tuple[float, float] | None) -> tuple[Dataset, list[Problem]]:
    """Read the source; its pictures have the bundle's pixel size where they do not say another."""

    def read(pixel_spacing: tuple[float, float] | None) -> tuple[Dataset, list[Problem]]:
        return read_dataset(
            given.source,
            format=given.format,
            missing=given.missing,
            coordinates=given.coordinates,
            missing_value=given.missing_value,
            pixel_spacing=pixel_spacing,
        )

    dataset, problems = read(None)
    if dataset.unit == "px" and spacing is not None:
        dataset, problems = read(spacing)
    # A landmark that no case has cannot be trained, and is no harm here.
    return dataset, [problem for problem in problems if problem.case is not None or problem.landmark is None]


def _report(problems: Sequence[Problem], given: CaseSource) -> None:
    """Print problems, a line each; with ``--cases`` those of other cases do not count.

    Raises:
        UserError: one of them is an error.
    """
    wanted = [one for one in problems if given.cases is None or one.case is None or one.case in given.cases]
    console = Console(stderr=True, highlight=False)
    for problem in sorted(wanted, key=lambda one: one.severity == "error"):
        console.print(f"{problem.severity}: {problem.message}", markup=False, soft_wrap=True)
    if errors := sum(problem.severity == "error" for problem in wanted):
        raise UserError(
            f"{given.source}: {errors} {'error' if errors == 1 else 'errors'} above, so nothing was calibrated; "
            "correct the data, or name the cases to take with --cases"
        )


def _check_kind(dataset: Dataset, names: Sequence[str], *, spatial_dims: int, unit: str) -> None:
    if dataset.spatial_dims != spatial_dims:
        raise UserError(
            f"{dataset.source}: has {dataset.spatial_dims}D points, the bundle predicts {spatial_dims}D ones; give "
            "cases of the kind that it was made for"
        )
    if dataset.unit != unit:
        remedy = (
            "state the size of its pixels in landmarks.json (pixel_spacing)"
            if dataset.unit == "px"
            else "give cases whose pixel size is not stated either, or create the bundle with --pixel_spacing"
        )
        raise UserError(f"{dataset.source}: its points are in {dataset.unit}, those of the bundle in {unit}; {remedy}")
    if not set(names) & set(dataset.names):
        raise UserError(
            f"{dataset.source}: has no landmark of the bundle ({_some(names)}), but {_some(dataset.names)}; landmarks "
            "are matched by name"
        )


def _chosen(dataset: Dataset, given: CaseSource) -> tuple[Case, ...]:
    known = [case.name for case in dataset.cases]
    for name in given.cases or ():
        if name not in known:
            raise UserError(f"--cases: '{name}' is not in {given.source}; it has {_some(known)}")
    return tuple(
        case
        for case in dataset.cases
        if (given.split is None or case.split == given.split) and (given.cases is None or case.name in given.cases)
    )


def _labelled(cases: Sequence[Case], names: Sequence[str], given: CaseSource) -> tuple[Case, ...]:
    """The cases with a landmark that somebody looked for."""
    found = tuple(
        case for case in cases if case.landmarks is not None and (case.landmarks.ordered(names).status != UNKNOWN).any()
    )
    if not found:
        raise UserError(f"{given.source}: has no labelled case (of {len(cases)} chosen); give cases with landmarks")
    return found


def _check_counts(bundle: Path, cases: Sequence[Case]) -> None:
    """Refuse several points of a landmark that the bundle was made to find once: only the first would count."""
    known = read_instances(bundle / LANDMARKS)
    once = {name for name, many in zip(known.names, known.many, strict=True) if not many}
    for case in cases:
        for name, points in case.landmarks.instances.items() if case.landmarks is not None else ():
            if name in once and len(points) > 1:
                raise UserError(
                    f"{case.image[0]}: case '{case.name}' has {len(points)} points of landmark '{name}', but the "
                    "bundle finds one; keep that one, or leave the case out with --cases"
                )


def _check_pixel_sizes(measured: Sequence[MeasuredCase], spacing: tuple[float, float] | None, bundle: Path) -> None:
    """Refuse pictures of which the data set and the bundle disagree where a pixel lies."""
    for one in measured:
        if one.header is None:
            continue
        read = read_header(one.case.image, spacing)
        if not np.allclose(read.affine, one.header.affine, rtol=1e-4):
            said, taken = (" x ".join(f"{x:.4g}" for x in header.spacing) for header in (one.header, read))
            raise UserError(
                f"{one.case.image[0]}: has pixels of {said} mm, but {bundle} reads it with {taken} mm (pixel_spacing "
                "in configs/inference.json), so predictions would not fit; leave it out with --cases"
            )


def _item(case: Case, label: LandmarkSet) -> dict[str, Any]:
    return {"case": case.name, "image": list(case.image), "label": label.to_inline(), "group": case.group}


def _some(names: Sequence[str]) -> str:
    """A few names for a message."""
    return quoted(names, _NAMED) or "none"
