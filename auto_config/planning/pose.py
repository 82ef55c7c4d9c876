"""Whether cases lie alike or in any pose, and what that asks of stages and grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod
from typing import Any

from auto_config.fingerprint.summary import Fingerprint
from auto_config.methods.plan import Decision
from auto_config.planning.stages import Anatomy

FREE_SHARE = 0.1
"""Poses are free where this share of the cases, two at least, lie far from the mean pose."""

LEAST_LIMIT_DEG = 45.0
"""Training turns patches by 17 degrees about each axis, and crops stay good up to about 30 (docs/pose.md)."""

ROOM_DEG = 20.0

_MOST_DOUBT_DEG = 13.0
"""Three times this is the turn beyond which a case counts: the shape's own variation seldom makes it."""


def plan_pose(fingerprint: Fingerprint, wanted: str) -> Decision:
    """How cases lie: ``{"kind": "upright" | "free", "limit_deg"}``.

    Args:
        fingerprint: numbers of the training cases.
        wanted: one of `options.POSES`.
    """
    lie = fingerprint.pose
    if wanted == "free":
        return _decision("free", None, f"given by the user; {_measured(lie)}")
    limit = min(max(LEAST_LIMIT_DEG, lie.get("largest_deg", 0.0) + ROOM_DEG), 180.0)
    if wanted == "upright":
        return _decision("upright", limit, f"given by the user; {_measured(lie)}")
    if lie_freely(lie):
        return _decision("free", None, f"{_measured(lie)}: in any pose")
    return _decision("upright", limit, f"{_measured(lie)}: alike, or none that tells otherwise")


def lie_freely(lie: dict[str, Any]) -> bool:
    """Whether the measured turns say that cases lie in any pose."""
    if lie.get("doubt_deg", 180.0) > _MOST_DOUBT_DEG:
        return False
    return bool(lie["beyond"] >= max(2, FREE_SHARE * lie["cases"]))


def with_pose(stages: tuple[int | None, str], pose: Decision, given: int | None) -> tuple[int | None, str]:
    """The number of stages that is settled beforehand, and why: two with free poses, unless something else is settled.

    Args:
        stages: what is settled without the pose.
        pose: of `plan_pose`.
        given: what the user said of the stages.
    """
    if pose.value["kind"] != "free" or given is not None or stages[0] is not None:
        return stages
    return 2, "poses are free: a coarse stage finds the pose, and a fine one looks at crops turned upright"


def turned_crops(pose: Decision, stages: int) -> Decision:
    """The decision on the pose with ``turned_crops``: whether there is a fine stage whose crops stand upright."""
    turned = pose.value["kind"] == "free" and stages == 2
    why = (
        "" if pose.value["kind"] == "upright" or turned else "; one stage learns every pose, there are no crops to turn"
    )
    return Decision({**pose.value, "turned_crops": turned}, pose.reason + why)


def any_lie(anatomy: Anatomy, fingerprint: Fingerprint) -> Anatomy:
    """The anatomy as a cube that holds it however it lies: the longest edge, or the landmarks' largest distance."""
    edge = max(*anatomy.extent_mm, fingerprint.pose.get("diameter_mm", 0.0))
    return replace(anatomy, extent_mm=(edge,) * len(anatomy.extent_mm))


def cubic(spacing: Decision, pose: Decision, given: Sequence[float] | None) -> Decision:
    """The same number of voxels in cubes where poses are free, because a thick axis may be any axis of the anatomy.

    A spacing that the user gave stays.
    """
    edge = round(prod(spacing.value) ** (1 / len(spacing.value)), 6)
    if pose.value["kind"] != "free" or given is not None or max(spacing.value) <= 1.05 * min(spacing.value):
        return spacing
    return Decision([edge] * len(spacing.value), f"{spacing.reason}; cubes of the same volume, because poses are free")


def _decision(kind: str, limit: float | None, reason: str) -> Decision:
    return Decision({"kind": kind, "limit_deg": 180.0 if limit is None else round(limit, 1)}, reason)


def _measured(lie: dict[str, Any]) -> str:
    if "median_deg" not in lie:
        return "fewer than 3 cases have landmarks that tell how they lie"
    doubt = f", which the shape tells only to {lie['doubt_deg']:g}" if lie["doubt_deg"] > _MOST_DOUBT_DEG else ""
    return (
        f"{lie['beyond']} of {lie['cases']} cases lie more than {lie['beyond_deg']:g} degrees from the mean pose "
        f"(median {lie['median_deg']:g}, largest {lie['largest_deg']:g}{doubt})"
    )
