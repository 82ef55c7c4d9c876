"""`anchor_ball`: balls around the cells of a coarse grid say which landmark they hold, and where (He et al., 2024)."""

from __future__ import annotations

from dataclasses import replace

from auto_config.methods.base import Method, MethodRequest, Stage, StageParts, Training
from auto_config.methods.combining.chosen import Combination, parts_of
from auto_config.methods.combining.losses import LOSSES
from auto_config.methods.networks.common import training
from auto_config.methods.networks.sources import ANCHOR_BALLS
from auto_config.methods.plan import Decision, Plan

_PARTS = Combination(target=None, loss="anchor_balls", decoder="anchor_balls")


def _training(request: MethodRequest) -> Training:
    loss = Decision(
        dict(LOSSES["anchor_balls"].numbers),
        "method anchor_ball: four sizes of balls around each cell of 4 voxels, the middle one of two cells; which "
        "landmark is in a ball, and where; 15 balls vote, and the vote nearest to the others is the point",
    )
    return replace(
        training(request, "anchor_ball", loss),
        optimizer=Decision(
            {"name": "Adam", "lr": 1e-3, "betas": [0.9, 0.98], "weight_decay": 5e-4},
            "method anchor_ball: as published with this network",
        ),
    )


def _parts(plan: Plan, stage: Stage) -> StageParts:
    return parts_of(plan, stage, _PARTS)


METHOD = Method(
    name="anchor_ball",
    title="balls around cells of 4 voxels say which landmark they hold and where, absent ones included",
    citation=ANCHOR_BALLS,
    backbone="h3de_cells",
    training=_training,
    parts=_parts,
    loss_bytes_per_voxel=LOSSES["anchor_balls"].bytes_per_voxel,
    stages="planned",
    whole_anatomy=False,
    mirrors=True,
    instances=False,
    loss=_PARTS.loss,
    decoder=_PARTS.decoder,
)
