"""Points of several raters, for regions that hold the point of any one of them and not only their consensus.

Regions of a consensus say where the mean of the raters lies, which varies less than a rater does. With the points of
single raters each of them is a score, and the raters of a case share its weight: then the region holds the point of a
rater drawn at random, of a new case drawn at random (hierarchical conformal prediction, Lee, Barber and Willett 2023).

How people differ follows the anatomy (along an edge they slide, across it they agree), which heatmaps that learnt a
consensus hardly know. So the mean covariance of the raters about their own middle is added to that of the heatmap.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from auto_config.bundle_scripts.points.instances import Instances, read_instances
from auto_config.bundle_scripts.points.landmark_names import quoted
from auto_config.bundle_scripts.points.landmarks import PRESENT, LandmarkSet
from auto_config.calibration.matched import matched
from auto_config.calibration.others.other_cases import bundle_pixel_spacing
from auto_config.calibration.out_of_fold import LANDMARKS, OutOfFold
from auto_config.errors import UserError

FEWEST = 2
_NAMED = 3
_SAME = 1e-3
"""Mm (pixels) between the consensus of two sources that are the same one."""


@dataclass(frozen=True)
class RaterPoints:
    """What single raters say of the R rows of N predictions.

    Args:
        points: (K, N, R, D) world mm, NaN where a rater did not set one.
        covariance: (L, D, D) mm², of the raters about their middle; 0 where no case has two of them.
        names: (K,) the raters.
    """

    points: np.ndarray
    covariance: np.ndarray
    names: tuple[str, ...]

    @property
    def weights(self) -> np.ndarray:
        """(K, N, R) of each point: those of a row of a case sum to 1, NaN points have 0."""
        known = np.isfinite(self.points).all(axis=-1)
        return known / np.maximum(known.sum(axis=0), 1)

    def notes(self, cases: int) -> list[str]:
        """What a reader of the regions must know."""
        known = np.isfinite(self.points).all(axis=-1)
        several = int((known.any(axis=-1).sum(axis=0) >= FEWEST).sum())
        return [
            f"regions hold the point of any one of the raters ({quoted(self.names, _NAMED)}; {several} of {cases} "
            "cases have several of them), so they hold a consensus more often than their level says",
            "level sets are not known: they are of the consensus alone",
        ]


def points_of_raters(bundle: Path, source: Path, found: OutOfFold, names: Sequence[str]) -> RaterPoints:
    """What the raters of a data set say of the cases that a bundle predicted.

    Args:
        bundle: folder of the bundle.
        source: as for `read_raters`.
        found: the predictions.
        names: landmarks of the bundle in channel order.

    Raises:
        UserError: as `read_raters`.
    """
    raters = read_raters(source, found, names, bundle_pixel_spacing(bundle))
    return rater_points(raters, found, names, read_instances(bundle / LANDMARKS), any_pose=_any_pose(bundle))


def _any_pose(bundle: Path) -> bool:
    """Whether the bundle was planned for anatomy at any rotation; not where its plan does not say."""
    try:
        plan = json.loads((bundle / "configs" / "plan.json").read_text(encoding="utf-8"))
        return bool(plan["decisions"]["pose"]["value"]["kind"] == "free")
    except (OSError, ValueError, KeyError, TypeError):
        return False


def read_raters(
    source: Path, found: OutOfFold, names: Sequence[str], pixel_spacing: tuple[float, float] | None
) -> list[Mapping[str, LandmarkSet]]:
    """The landmarks of the raters of each case (N,) that was predicted, by the rater's name.

    Args:
        source: data set in any format that `read_dataset` takes, whose cases have the names of those predicted.
        found: the predictions.
        names: landmarks of the bundle in channel order.
        pixel_spacing: of the bundle, (x, y) mm.

    Raises:
        UserError: the source cannot be read, has none of the cases, no case with two raters, or another consensus.
    """
    from auto_config.datasets import read_dataset

    dataset, problems = read_dataset(source)
    if dataset.unit == "px" and pixel_spacing is not None:
        dataset, problems = read_dataset(source, pixel_spacing=pixel_spacing)
    by_name = {case.name: case for case in dataset.cases}
    missing = [case for case in found.cases if case not in by_name]
    if len(missing) == len(found.cases):
        raise UserError(
            f"{source}: --raters has none of the {len(missing)} unseen cases ({quoted(missing, _NAMED)}); give the "
            "data set that they come from"
        )
    wrong = {one.case for one in problems if one.severity == "error"}
    cases = [by_name.get(case) for case in found.cases]
    out: list[Mapping[str, LandmarkSet]] = [
        {} if case is None or case.name in wrong else dict(case.raters) for case in cases
    ]
    if max(map(len, out), default=0) < FEWEST:
        raise UserError(
            f"{source}: --raters has no case with {FEWEST} raters or more; give a data set whose cases have the points "
            "of several people (formats.md says how), or leave --raters out"
        )
    for row, case in enumerate(cases):
        if case is not None and case.landmarks is not None and out[row]:
            _check_consensus(source, case.name, case.landmarks.ordered(names).points, found.truth[row])
    return out


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


def rater_points(
    raters: Sequence[Mapping[str, LandmarkSet]],
    found: OutOfFold,
    names: Sequence[str],
    instances: Instances,
    *,
    any_pose: bool = False,
) -> RaterPoints:
    """Match the points of all raters with the rows of the predictions.

    Args:
        raters: (N,) of `read_raters`; a case without raters counts with its truth.
        found: the predictions of these cases.
        names: landmarks in channel order.
        instances: which rows belong to which landmark.
        any_pose: the anatomy lies at any rotation, so nothing is known of directions in the world.
    """
    people = tuple(dict.fromkeys(name for case in raters for name in case))
    points = np.full((len(people), *found.truth.shape), np.nan)
    for row, case in enumerate(raters):
        for name, landmarks in case.items():
            own = matched(found.points[row], found.confidence[row], landmarks.ordered(names), instances)
            points[people.index(name), row] = np.where((own.status == PRESENT)[:, None], own.truth, np.nan)
        if not case:
            points[0, row] = np.where((found.status[row] == PRESENT)[:, None], found.truth[row], np.nan)
    return RaterPoints(points, _covariance(points[:, :, : len(names)], any_pose=any_pose), people)


def _covariance(points: np.ndarray, *, any_pose: bool) -> np.ndarray:
    """(L, D, D) mean unbiased covariance of the raters (K, N, L, D) about their middle in each case."""
    known = np.isfinite(points).all(axis=-1)
    count = known.sum(axis=0)
    safe = np.where(known[..., None], points, 0.0)
    middle = safe.sum(axis=0) / np.maximum(count, 1)[..., None]
    apart = np.where(known[..., None], points - middle, 0.0)
    total = np.einsum("knli,knlj->lij", apart, apart)
    out = total / np.maximum(np.maximum(count - 1, 0).sum(axis=0), 1)[:, None, None]
    if any_pose:
        dims = points.shape[-1]
        out = np.trace(out, axis1=1, axis2=2)[:, None, None] / dims * np.eye(dims)
    return np.asarray(out)
