"""The points of single raters, read from a data set that has the cases of a calibration."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from auto_config.bundle_scripts.points.instances import read_instances
from auto_config.bundle_scripts.points.landmark_names import quoted
from auto_config.calibration.others.other_cases import bundle_pixel_spacing
from auto_config.calibration.out_of_fold import LANDMARKS, OutOfFold
from auto_config.calibration.planned import planned_value
from auto_config.calibration.raters.points import FEWEST, RaterPoints, rater_points
from auto_config.datasets import Case, read_dataset
from auto_config.errors import UserError

_NAMED = 3
_SAME = 1e-3
"""Mm (pixels) between the consensus of two sources that are the same one."""
_SCRIPT = "scripts/inference/calibration.py"


def read_raters(bundle: Path, source: Path) -> dict[str, Case]:
    """The cases of a data set that have raters, by name; before anything is predicted.

    Args:
        bundle: folder of the bundle.
        source: data set in any format that `read_dataset` takes.

    Raises:
        UserError: the source cannot be read, no case has two raters, or the bundle's own scripts know of none.
    """
    script = bundle / _SCRIPT
    if script.is_file() and "rater_covariance_mm2" not in script.read_text(encoding="utf-8"):
        raise UserError(
            f"{bundle}: its scripts are of an earlier version, whose ellipsoids would leave the raters out; create and "
            "train it again with this version, or leave --raters out"
        )
    spacing = bundle_pixel_spacing(bundle)
    dataset, problems = read_dataset(source)
    if dataset.unit == "px" and spacing is not None:
        dataset, problems = read_dataset(source, pixel_spacing=spacing)
    wrong = {one.case for one in problems if one.severity == "error"}
    cases = {case.name: case for case in dataset.cases if case.raters and case.name not in wrong}
    if max((len(case.raters) for case in cases.values()), default=0) < FEWEST:
        raise UserError(
            f"{source}: --raters has no case with {FEWEST} raters or more; give a data set whose cases have the points "
            "of several people (formats.md says how), or leave --raters out"
        )
    return cases


def points_of_raters(bundle: Path, source: Path, cases: Mapping[str, Case], found: OutOfFold) -> RaterPoints:
    """What raters say of the cases that a bundle predicted.

    Args:
        bundle: folder of the bundle.
        source: for messages.
        cases: of `read_raters`; further ones count for nothing, and a predicted case that is not among them counts with
            its truth.
        found: the predictions.

    Raises:
        UserError: none of the predicted cases has two raters, or one has another consensus than the predictions.
    """
    instances = read_instances(bundle / LANDMARKS)
    if max((len(cases[name].raters) for name in found.cases if name in cases), default=0) < FEWEST:
        raise UserError(
            f"{source}: --raters has {FEWEST} raters for none of the {len(found.cases)} unseen cases "
            f"({quoted(found.cases, _NAMED)}); give the data set that they come from"
        )
    for row, name in enumerate(found.cases):
        if name in cases and (landmarks := cases[name].landmarks) is not None:
            _check_consensus(source, name, landmarks.ordered(instances.names).points, found.truth[row])
    raters = [cases[name].raters if name in cases else {} for name in found.cases]
    pose = planned_value(bundle, "pose")
    any_pose = isinstance(pose, dict) and pose.get("kind") == "free"
    return rater_points(raters, found, instances, any_pose=any_pose)


def _check_consensus(source: Path, case: str, points: np.ndarray, truth: np.ndarray) -> None:
    """Refuse points that are not those that predictions were compared with: of other images, or in another frame."""
    apart = np.linalg.norm(points[:, None] - truth[None, : len(points)], axis=-1)
    known = np.isfinite(points).all(axis=-1) & np.isfinite(truth[: len(points)]).all(axis=-1)
    # Ends that may change places stand in either order.
    if known.any() and np.nanmin(apart[:, known], axis=0).max() > max(_SAME, 1e-5 * np.nanmax(np.abs(truth))):
        raise UserError(
            f"{source}: case '{case}' has other points than those that the bundle was calibrated with; give --raters "
            "the data set that the bundle was made from, or with --data that one"
        )
