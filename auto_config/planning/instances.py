"""Landmarks with many instances and exchangeable pairs: how many rows of points, and how near two peaks may be."""

from __future__ import annotations

from math import prod

from auto_config.errors import UserError
from auto_config.fingerprint.summary import Fingerprint
from auto_config.methods.plan import Decision

ROOM = 2
"""Rows of points for each instance of the fullest training case: a new image, or a correction, may have more."""

NEAREST_SHARE = 0.5
"""Two peaks are two points from this share of the smallest distance in the training cases on."""

_FEWEST_VOXELS = 2.0
ONE_STAGE = "landmarks with many instances have no single point to crop around, so one stage sees every patch"


def plan_instances(fingerprint: Fingerprint, spacing: list[float], heatmap_radius_mm: float) -> Decision:
    """Decide what the bundle keeps of instances.

    Args:
        fingerprint: numbers of the training cases.
        spacing: mm of the planned grid.
        heatmap_radius_mm: of the cones.

    Returns:
        ``{"many": [{"landmark", "rows", "min_distance_mm", "match_mm"}], "exchangeable": [{"landmarks",
        "min_distance_mm"}]}``.
    """
    voxel = prod(spacing) ** (1 / len(spacing))

    def distance(nearest: float | None) -> float:
        if nearest is None:
            return round(heatmap_radius_mm / 2, 4)
        return round(min(max(NEAREST_SHARE * nearest, _FEWEST_VOXELS * voxel), heatmap_radius_mm), 4)

    many = [
        {
            "landmark": one["landmark"],
            "rows": max(ROOM * one["most"], 1),
            "min_distance_mm": distance(one["nearest_mm"]),
            "match_mm": distance(one["typical_mm"]),
        }
        for one in fingerprint.many
    ]
    partner = {index: other for pair in fingerprint.pairs for index, other in (pair, pair[::-1])}
    rows = {one["landmark"]: one["rows"] for one in many}
    for one in many:
        # In the mirror the two change places with all their rows.
        one["rows"] = max(one["rows"], rows.get(partner.get(one["landmark"], -1), 1))
    exchangeable = [
        {"landmarks": one["landmarks"], "min_distance_mm": distance(one["nearest_mm"])}
        for one in fingerprint.exchangeable
    ]
    reasons = []
    if many:
        reasons.append(
            f"rows for {ROOM} times the largest count of a training case; two peaks are two instances from "
            f"{NEAREST_SHARE:g} of the smallest distance in the training cases on, and a point is found within that "
            "share of the usual distance"
        )
    if exchangeable:
        reasons.append(
            f"{len(exchangeable)} pairs may change places: both channels learn the maximum of both cones, and the two "
            "places that the mass of the heatmap is nearest to are the two points"
        )
    reason = "; ".join(reasons) or "every landmark is there once, and none is declared to change places"
    return Decision({"many": many, "exchangeable": exchangeable}, reason)


def wanted_stages(fingerprint: Fingerprint, stages: int | None) -> tuple[int | None, str]:
    """The number of stages that is settled beforehand, and why.

    Raises:
        UserError: the user wants two stages, and there is a landmark with many instances.
    """
    if not fingerprint.many:
        return stages, "given by the user"
    if stages == 2:
        raise UserError(f"--stages 2: {ONE_STAGE}; omit --stages")
    return 1, ONE_STAGE
