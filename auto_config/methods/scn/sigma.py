"""`scn`: the spatial configuration network, and round Gaussians as wide as the network can say where points are."""

from __future__ import annotations

from auto_config.methods.backbones import network_of
from auto_config.methods.base import Method, MethodRequest, Stage, StageParts, Training
from auto_config.methods.plan import Plan
from auto_config.methods.scn.backbone import PAYER
from auto_config.methods.scn.shared import GAMMA, aspect, log_of, training

_FIRST = {2: 2.5, 3: 4.0}
_PENALTY = {2: 20.0, 3: 100.0}


def _training(request: MethodRequest) -> Training:
    dims = request.spatial_dims
    rule = {"gamma": GAMMA[dims], "sigma_penalty": _PENALTY[dims], "first_sigma_voxels": _FIRST[dims]}
    return training(
        "method scn",
        rule,
        "half the squared distance to Gaussians whose width is learnt for each landmark, published "
        "numbers of 2D heads and 3D spines",
    )


def _parts(plan: Plan, stage: Stage) -> StageParts:
    rule, landmarks = plan.value("loss"), plan.value("landmarks")
    backbone = network_of(plan).of_stage(plan, stage)
    return StageParts(
        network=backbone.config(stage, plan.value("spatial_dims"), plan.value("channels"), landmarks),
        heads={"logits": landmarks},
        scalars={"log_sigma": [log_of(rule["first_sigma_voxels"])] * landmarks},
        loss={
            "_target_": "scripts.methods.gaussians.learnt.LearntSigmaLoss",
            "gamma": rule["gamma"],
            "alpha": rule["sigma_penalty"],
            "aspect": aspect(stage),
        },
        decoder={"_target_": "scripts.methods.gaussians.decoder.LearntPeakDecoder", "gamma": rule["gamma"]},
    )


METHOD = Method(
    name="scn",
    title="spatial configuration network with a learnt width of each heatmap",
    citation=PAYER,
    backbone="spatial_configuration",
    training=_training,
    parts=_parts,
    loss_bytes_per_voxel=28.0,
    stages="one",
    whole_anatomy=True,
    mirrors=True,
    instances=False,
)
