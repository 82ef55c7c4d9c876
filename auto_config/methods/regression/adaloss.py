"""`adaloss`: linear heatmaps of Gaussians that get narrower as the loss of their landmark comes to rest."""

from __future__ import annotations

from dataclasses import replace

from auto_config.methods import default
from auto_config.methods.base import Method, MethodRequest, Stage, StageParts, Training, loss_of
from auto_config.methods.cones import heatmap_parts
from auto_config.methods.plan import Decision, Plan

_WHY = "method adaloss"


def _training(request: MethodRequest) -> Training:
    return replace(
        default.METHOD.training(request),
        loss=Decision(
            {"first_sigma_voxels": 5.0, "least_sigma_voxels": 1.0, "rho": 0.9, "window_epochs": 3},
            f"{_WHY}: mean squared error; wide heatmaps are found first, and get narrower where the loss comes to rest",
        ),
    )


def _parts(plan: Plan, stage: Stage) -> StageParts:
    rule, landmarks = plan.value("loss"), plan.value("landmarks")
    aspect = [round(step / min(stage["spacing"]), 4) for step in stage["spacing"]]
    return replace(
        heatmap_parts(
            plan,
            stage,
            target=None,
            loss={"_target_": "scripts.methods.gaussians.scheduled.ScheduledSigmaLoss", "aspect": aspect},
            decoder={"_target_": "scripts.methods.gaussians.decoder.PeakDecoder"},
            output_bias=None,
        ),
        scalars={
            "sigma": [rule["first_sigma_voxels"]] * landmarks,
            # No epoch yet.
            "losses": [-1.0] * (landmarks * (rule["window_epochs"] + 1)),
        },
        scheduled=("sigma", "losses"),
        handlers=(
            {
                "_target_": "scripts.training.run.adaloss.Adaloss",
                "network": "@network_def",
                "loss": loss_of(stage),
                "stage": stage["name"],
                "rho": rule["rho"],
                "window": rule["window_epochs"],
                "least": rule["least_sigma_voxels"],
            },
        ),
    )


METHOD = Method(
    name="adaloss",
    title="Gaussians that get narrower as the loss of their landmark comes to rest",
    citation="Teixeira et al., Adaloss: Adaptive Loss Function for Landmark Localization, arXiv 1908.01070, 2019",
    backbone=None,
    training=_training,
    parts=_parts,
    loss_bytes_per_voxel=25.0,
    stages="planned",
    whole_anatomy=False,
    mirrors=True,
    instances=False,
    logits_only=True,
)
