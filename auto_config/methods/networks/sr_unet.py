"""`sr_unet`: heatmaps of whole resolution from each level of a U-Net, trained by their squared error (Zhang et al.)."""

from __future__ import annotations

from dataclasses import replace

from auto_config.methods.base import Method, MethodRequest, Stage, StageParts, Training
from auto_config.methods.combining.chosen import Combination, parts_of
from auto_config.methods.combining.losses import LOSSES
from auto_config.methods.networks.common import training
from auto_config.methods.networks.sources import SR_UNET
from auto_config.methods.plan import Decision, Plan

_PARTS = Combination(target="gaussian", loss="multi_scale_mse", decoder="taylor")


def _training(request: MethodRequest) -> Training:
    loss = Decision(
        dict(LOSSES["multi_scale_mse"].numbers),
        "method sr_unet: squared error of the heatmaps of all levels, with half the weight at each further one; the "
        "highest voxel of the finest, then a Taylor step",
    )
    return replace(
        training(request, "sr_unet", loss),
        optimizer=Decision({"name": "AdamW", "lr": 1e-4, "weight_decay": 1e-2}, "method sr_unet: AdamW at 1e-4"),
        schedule=Decision(
            {"name": "poly", "power": 1.0, "warmup_steps": 20, "gradient_clip": 12.0},
            "method sr_unet: linear decay; the published warm-up of 1500 steps is longer than short trainings are",
        ),
        sampling=Decision(
            {"landmark_share": 1.0, "placement": "anywhere"},
            "method sr_unet: a patch holds the whole anatomy; in larger images each holds a random landmark",
        ),
        max_epochs=Decision(40, "method sr_unet: 10 000 steps; --time_budget fits the schedule to any time"),
    )


def _parts(plan: Plan, stage: Stage) -> StageParts:
    return parts_of(plan, stage, _PARTS)


METHOD = Method(
    name="sr_unet",
    title="Gaussian heatmaps from each level of a U-Net and their squared error, over the whole anatomy",
    citation=SR_UNET,
    backbone="sr_unet",
    training=_training,
    parts=_parts,
    loss_bytes_per_voxel=LOSSES["multi_scale_mse"].bytes_per_voxel,
    stages="one",
    whole_anatomy=True,
    mirrors=True,
    instances=False,
    target=_PARTS.target,
    loss=_PARTS.loss,
    decoder=_PARTS.decoder,
    tolerance=0.1,
)
