"""`scn_adaptive`: the spatial configuration network, and Gaussians whose widths and rotation are learnt."""

from __future__ import annotations

from auto_config.methods.backbones import network_of
from auto_config.methods.base import Method, MethodRequest, Stage, StageParts, Training
from auto_config.methods.plan import Plan
from auto_config.methods.scn.shared import GAMMA, aspect, log_of, training

_FIRST_VARIANCE = 3.0
_PENALTY = {2: 5.0, 3: 25.0}
_ANGLES = {2: 1, 3: 3}


def _training(request: MethodRequest) -> Training:
    dims = request.spatial_dims
    rule = {"gamma": GAMMA[dims], "covariance_penalty": _PENALTY[dims], "first_variance_voxels2": _FIRST_VARIANCE}
    return training(
        "method scn_adaptive",
        rule,
        "half the squared distance to Gaussians whose widths and rotation are learnt for each landmark; published "
        "numbers in 2D, in 3D a penalty that is the same share of the first loss",
    )


def _parts(plan: Plan, stage: Stage) -> StageParts:
    rule, landmarks, dims = plan.value("loss"), plan.value("landmarks"), plan.value("spatial_dims")
    backbone = network_of(plan).of_stage(plan, stage)
    return StageParts(
        network=backbone.config(stage, dims, plan.value("channels"), landmarks),
        heads={"logits": landmarks},
        scalars={
            "log_sigma": [log_of(rule["first_variance_voxels2"] ** 0.5)] * (landmarks * dims),
            "rotation": [0.0] * (landmarks * _ANGLES[dims]),
        },
        loss={
            "_target_": "scripts.methods.gaussians.learnt.LearntCovarianceLoss",
            "gamma": rule["gamma"],
            "alpha": rule["covariance_penalty"],
            "aspect": aspect(stage),
        },
        decoder={"_target_": "scripts.methods.gaussians.decoder.LearntPeakDecoder", "gamma": rule["gamma"]},
    )


METHOD = Method(
    name="scn_adaptive",
    title="spatial configuration network with learnt anisotropic, rotated heatmaps",
    citation=(
        "Thaler et al., Modeling Annotation Uncertainty with Gaussian Heatmaps in Landmark Localization, MELBA 2021"
    ),
    backbone="spatial_configuration",
    training=_training,
    parts=_parts,
    loss_bytes_per_voxel=28.0,
    stages="one",
    whole_anatomy=True,
    mirrors=True,
    instances=False,
)
