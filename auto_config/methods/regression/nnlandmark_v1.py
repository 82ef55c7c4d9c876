"""`nnlandmark_v1`: the first version of nnLandmark, Gaussians by mean squared error and a check of sides."""

from __future__ import annotations

from dataclasses import replace

from auto_config.methods import nnlandmark
from auto_config.methods.base import Json, Method, MethodRequest, Stage, StageParts, Training, target_of
from auto_config.methods.cones import heatmap_parts
from auto_config.methods.plan import Decision, Plan

_WHY = "method nnlandmark_v1"


def _training(request: MethodRequest) -> Training:
    return replace(
        nnlandmark.METHOD.training(request),
        loss=Decision(
            {"sigma_voxels": 4.0},
            f"{_WHY}: mean squared error of the sigmoid against a Gaussian of 4 voxels and height 1",
        ),
        optimizer=Decision({"name": "Adam", "lr": 5e-4, "weight_decay": 0.0}, f"{_WHY}: Adam at 5e-4"),
        schedule=Decision(
            {"name": "poly", "power": 0.9, "warmup_steps": 0, "gradient_clip": 1.0},
            f"{_WHY}: gradient norm clipped at 1; the publication divides the rate by 10 at epoch 800 of 1000, a "
            "polynomial fits any length",
        ),
    )


def _parts(plan: Plan, stage: Stage) -> StageParts:
    finest = min(stage["spacing"])
    sigma = [round(plan.value("loss")["sigma_voxels"] * finest / step, 4) for step in stage["spacing"]]
    # Such weights are a Gaussian of two voxels: narrow enough for its centre to be found in a few shifts.
    sharpness = [round(width**2 / 4, 4) for width in sigma]
    decoder: Json = {"_target_": "scripts.methods.decoders.ArgmaxDecoder", "link": "sigmoid", "sharpness": sharpness}
    # Pictures have no left and right of their own, and points of fine crops are each in a crop of their own.
    crops = stage["name"] == "fine" and len(plan.value("stages")) == 2
    if plan.value("spatial_dims") == 3 and plan.value("pairs") and not crops:
        decoder = {
            "_target_": "scripts.methods.gaussians.sides.SideCheckDecoder",
            "decoder": decoder,
            "landmarks": "@landmarks",
        }
    return heatmap_parts(
        plan,
        stage,
        target={"_target_": "scripts.methods.gaussians.maps.GaussianHeatmap", "sigma": sigma},
        loss={"_target_": "scripts.methods.gaussians.losses.HeatmapMSELoss", "target": target_of(stage)},
        decoder=decoder,
        output_bias=None,
    )


METHOD = Method(
    name="nnlandmark_v1",
    title="the first version of nnLandmark: Gaussians, mean squared error, a check of left and right",
    citation=(
        "Ertl et al., nnLandmark: A Self-Configuring Method for 3D Medical Landmark Detection, arXiv 2504.06742, 2025"
    ),
    backbone=None,
    training=_training,
    parts=_parts,
    loss_bytes_per_voxel=28.0,
    stages="one",
    whole_anatomy=False,
    mirrors=False,
    instances=False,
    stock_patch=True,
    # A sigmoid that is a Gaussian of 4 voxels is nearly flat at its top; the published argmax is off by half a voxel.
    tolerance=0.1,
    logits_only=True,
)
