"""What methods with a heatmap for each landmark share: cones as targets, top-k cross-entropy, one channel each."""

from __future__ import annotations

from auto_config.methods.backbones import network_of
from auto_config.methods.base import Json, Stage, StageParts, target_of
from auto_config.methods.plan import Plan

NNLANDMARK = "Ertl et al., nnLandmark: A Self-Configuring Method for 3D Medical Landmark Detection, MIDL 2026"

LOSS_BYTES_PER_VOXEL = 22.4
"""For each voxel of each landmark's channel, in float32, with the spatial cross-entropy: the logit, the gradient of the
top-k loss, the Gaussian, the softmax and their product (4 each), and 2.4 as room for what kernels take."""

CPU_LOSS_BYTES_PER_VOXEL = 16.0
"""The same of large channels on a CPU, where losses go through them: the logit, the gradient of each of the two losses,
and their sum."""

CPU_TOP_K_BYTES_PER_VOXEL = 8.0
"""Of the top-k loss alone on a CPU: the logit and its gradient."""


def cone(plan: Plan, stage: Stage) -> Json:
    """The cone of a stage: the same millimetres on every grid and axis."""
    radius = [round(plan.value("heatmap_radius_mm") / step, 4) for step in stage["spacing"]]
    return {"_target_": "scripts.methods.heatmap.EDTHeatmap", "radius": radius}


def top_k_bce(plan: Plan, stage: Stage) -> Json:
    """Binary cross-entropy on the hardest voxels of the stage's target."""
    return {
        "_target_": "scripts.methods.losses.TopKBCELoss",
        "target": target_of(stage),
        "fraction": plan.value("loss")["top_percent"] / 100,
    }


def heatmap_parts(
    plan: Plan, stage: Stage, *, target: Json | None, loss: Json, decoder: Json, output_bias: float | None
) -> StageParts:
    """The parts of a stage whose network gives one logit map for each landmark.

    Args:
        plan: names the network.
        stage: of the plan.
        target: makes heatmaps.
        loss: on the head ``logits``.
        decoder: of the head ``logits``.
        output_bias: first value of the last convolution's bias; None leaves it alone.
    """
    backbone, landmarks = network_of(plan).of_stage(plan, stage), plan.value("landmarks")
    return StageParts(
        network=backbone.config(stage, plan.value("spatial_dims"), plan.value("channels"), landmarks),
        heads={"logits": landmarks},
        target=target,
        loss=loss,
        decoder=decoder,
        output_layer=backbone.output_layer(stage),
        output_bias=output_bias,
    )
