"""The table of targets: what makes heatmaps from points."""

from __future__ import annotations

from auto_config.methods.base import Json, Stage
from auto_config.methods.combining.rows import SIGNED, UNIT, TargetRow
from auto_config.methods.cones import NNLANDMARK, cone
from auto_config.methods.networks.sources import H3DE, LANDMARKER, PAYER
from auto_config.methods.plan import Plan

BALL_VOXELS, CONE_VOXELS = 20, 15
"""Radii in voxels of the finest axis: of a ball, and that which `heatmap_radius_mm` of a plan stands for."""

_SIGMA_VOXELS = 2.0


def _sigma(stage: Stage) -> list[float]:
    """The same millimetres on every axis: two voxels of the finest one."""
    finest = min(stage["spacing"])
    return [round(_SIGMA_VOXELS * finest / step, 4) for step in stage["spacing"]]


def _gaussian(plan: Plan, stage: Stage) -> Json:  # noqa: ARG001
    return {"_target_": "scripts.methods.networks.targets.GaussianHeatmap", "sigma": _sigma(stage)}


def _laplacian(plan: Plan, stage: Stage) -> Json:  # noqa: ARG001
    return {"_target_": "scripts.methods.gaussians.maps.LaplacianHeatmap", "sigma": _sigma(stage)}


def _ball(plan: Plan, stage: Stage) -> Json:
    """The same millimetres on every grid and axis, as the cones."""
    radius_mm = plan.value("heatmap_radius_mm") * BALL_VOXELS / CONE_VOXELS
    radius = [round(radius_mm / step, 4) for step in stage["spacing"]]
    return {"_target_": "scripts.methods.networks.targets.BallHeatmap", "radius": radius}


TARGETS: dict[str, TargetRow] = {
    row.name: row
    for row in (
        TargetRow("cone", "a cone of 15 voxels, 1 at the point", UNIT, NNLANDMARK, cone),
        TargetRow("gaussian", "a Gaussian of 2 voxels, 1 at the point", UNIT, PAYER, _gaussian),
        TargetRow("laplacian", "a Laplacian of 2 voxels, with a sharp peak of 1", UNIT, LANDMARKER, _laplacian),
        TargetRow("ball", "in a ball of 20 voxels a Gaussian, 2 at the point; -1 outside", SIGNED, H3DE, _ball),
    )
}
"""The targets by name."""
