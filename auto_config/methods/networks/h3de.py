"""`h3de`: balls of 20 voxels and hard negatives on a network with routing attention (Huang et al., 2025)."""

from __future__ import annotations

from dataclasses import replace

from auto_config.methods import nnlandmark
from auto_config.methods.base import Method, MethodRequest, Stage, StageParts, Training
from auto_config.methods.combining.chosen import Combination, parts_of
from auto_config.methods.combining.losses import LOSSES
from auto_config.methods.networks.common import training
from auto_config.methods.networks.sources import H3DE
from auto_config.methods.plan import Decision, Plan

_PARTS = Combination(target="ball", loss="hard_negatives", decoder="top_centroid")


def _training(request: MethodRequest) -> Training:
    loss = Decision(
        dict(LOSSES["hard_negatives"].numbers),
        "method h3de: smooth L1 in the ball and on as many of the highest voxels outside of it; read as the centre of "
        "the highest voxels",
    )
    return replace(
        training(request, "h3de", loss),
        optimizer=Decision(
            {"name": "Adam", "lr": 1e-3, "betas": [0.9, 0.98], "weight_decay": 5e-4}, "method h3de: as published"
        ),
    )


def _parts(plan: Plan, stage: Stage) -> StageParts:
    return parts_of(plan, stage, _PARTS)


METHOD = Method(
    name="h3de",
    title="balls of 20 voxels and hard negatives, on H3DE-Net's network",
    citation=H3DE,
    backbone="h3de",
    training=_training,
    parts=_parts,
    loss_bytes_per_voxel=LOSSES["hard_negatives"].bytes_per_voxel,
    stages="planned",
    whole_anatomy=False,
    mirrors=True,
    instances=False,
    target=_PARTS.target,
    loss=_PARTS.loss,
    decoder=_PARTS.decoder,
    tolerance=0.2,
)


# As the authors of nnLandmark compare it: the network alone is exchanged.
NNLANDMARK_H3DE = replace(
    nnlandmark.METHOD,
    name="nnlandmark_h3de",
    title="H3DE-Net's network with nnLandmark's target, loss and schedule",
    citation=f"{nnlandmark.METHOD.citation}; {H3DE}",
    backbone="h3de",
    stock_patch=False,
)
