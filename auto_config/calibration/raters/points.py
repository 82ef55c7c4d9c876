"""Points of several raters, for regions that hold the point of any one of them and not only their consensus. Pure.

Regions of a consensus say where the mean of the raters lies, which varies less than a rater does. With the points of
single raters each of them is a score, and the raters of a case share its weight: then the region holds the point of a
rater drawn at random, of a new case drawn at random (hierarchical conformal prediction, Lee, Barber and Willett 2023).

How people differ follows the anatomy (along an edge they slide, across it they agree), which heatmaps that learnt a
consensus hardly know. So the mean covariance of the raters about their own middle is added to that of the heatmap.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from auto_config.bundle_scripts.points.instances import Instances
from auto_config.bundle_scripts.points.landmark_names import quoted
from auto_config.bundle_scripts.points.landmarks import PRESENT, LandmarkSet
from auto_config.calibration.matched import matched
from auto_config.calibration.out_of_fold import OutOfFold

FEWEST = 2
"""So many raters make a spread."""
_NAMED = 3


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


def rater_points(
    raters: Sequence[Mapping[str, LandmarkSet]],
    found: OutOfFold,
    instances: Instances,
    *,
    any_pose: bool = False,
) -> RaterPoints:
    """Match the points of all raters with the rows of the predictions.

    Args:
        raters: (N,) the landmarks of each case by the rater's name; a case without raters counts with its truth.
        found: the predictions of these cases.
        instances: the landmarks in channel order, and which rows belong to which landmark.
        any_pose: the anatomy lies at any rotation, so nothing is known of directions in the world.
    """
    names = instances.names
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
