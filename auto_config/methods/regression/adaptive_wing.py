"""`adaptive_wing`: linear heatmaps of Gaussians by adaptive wing loss."""

from __future__ import annotations

from dataclasses import replace

from auto_config.methods import default
from auto_config.methods.base import Method, MethodRequest, Stage, StageParts, Training, target_of
from auto_config.methods.cones import heatmap_parts
from auto_config.methods.plan import Decision, Plan

_WHY = "method adaptive_wing"


def _training(request: MethodRequest) -> Training:
    return replace(
        default.METHOD.training(request),
        loss=Decision(
            {"sigma_voxels": 2.0, "omega": 14.0, "epsilon": 1.0, "alpha": 2.1, "theta": 0.5, "foreground": 10.0},
            f"{_WHY}: published numbers; voxels of the foreground count eleven times. A Gaussian of two voxels",
        ),
    )


def _parts(plan: Plan, stage: Stage) -> StageParts:
    rule = plan.value("loss")
    sigma = [round(rule["sigma_voxels"] * min(stage["spacing"]) / step, 4) for step in stage["spacing"]]
    return heatmap_parts(
        plan,
        stage,
        target={"_target_": "scripts.methods.gaussians.maps.GaussianHeatmap", "sigma": sigma},
        loss={
            "_target_": "scripts.methods.gaussians.losses.AdaptiveWingLoss",
            "target": target_of(stage),
            **{name: rule[name] for name in ("omega", "epsilon", "alpha", "theta", "foreground")},
        },
        decoder={"_target_": "scripts.methods.gaussians.decoder.PeakDecoder"},
        output_bias=None,
    )


METHOD = Method(
    name="adaptive_wing",
    title="linear heatmaps by a loss that is steep near peaks",
    citation="Wang et al., Adaptive Wing Loss for Robust Face Alignment via Heatmap Regression, ICCV 2019",
    backbone=None,
    training=_training,
    parts=_parts,
    loss_bytes_per_voxel=42.0,
    stages="planned",
    whole_anatomy=False,
    mirrors=True,
    instances=False,
    logits_only=True,
)
