"""The table of losses: what compares an output with points, and what the output then means."""

from __future__ import annotations

from auto_config.methods.base import Json, Stage, target_of
from auto_config.methods.combining.rows import (
    ANCHORS,
    BALL,
    ONE_HOT,
    SIGMOID,
    SIGNED,
    SOFTMAX,
    UNIT,
    VALUE,
    LossRow,
    votes,
)
from auto_config.methods.cones import (
    CPU_LOSS_BYTES_PER_VOXEL,
    CPU_TOP_K_BYTES_PER_VOXEL,
    LOSS_BYTES_PER_VOXEL,
    NNLANDMARK,
    top_k_bce,
)
from auto_config.methods.grids import NOOTHOUT, heads
from auto_config.methods.networks.sources import ANCHOR_BALLS, H3DE, LANDMARKER, PAYER, SR_UNET
from auto_config.methods.plan import Plan

_VOTE_BYTES = 12.0
"""float32, for each cell of 2^D voxels or more: 1 + D channels, their targets and gradients."""


def _bce_and_cross_entropy(plan: Plan, stage: Stage) -> Json:
    rule = plan.value("loss")
    cross_entropy = {"_target_": "scripts.methods.losses.SpatialCrossEntropyLoss", "sigma": rule["sigma_voxels"]}
    return {
        "_target_": "scripts.methods.losses.WeightedLoss",
        "losses": [top_k_bce(plan, stage), cross_entropy],
        "weights": [rule["bce_topk"], rule["cross_entropy"]],
    }


def _of_target(name: str, *, numbers: tuple[str, ...] = ()) -> object:
    def json(plan: Plan, stage: Stage) -> Json:
        rule = plan.value("loss")
        return {
            "_target_": f"scripts.methods.networks.{name}",
            "target": target_of(stage),
            **{number: rule[number] for number in numbers},
        }

    return json


SCALES = ("logits", "half", "quarter", "eighth")
"""Heads of heatmaps of whole resolution, by the level of a decoder that they come from."""


def scale_heads(landmarks: int, spatial_dims: int) -> dict[str, int]:  # noqa: ARG001
    """A map for each landmark and level, that of the finest level first."""
    return dict.fromkeys(SCALES, landmarks)


_BALLS = 4


def anchor_heads(landmarks: int, spatial_dims: int) -> dict[str, int]:
    """For each size of ball which landmarks it holds, and where."""
    found: dict[str, int] = {}
    for number in range(_BALLS):
        found |= {f"class_{number}": landmarks, f"offset_{number}": landmarks * spatial_dims}
    return found


def _anchor_balls(plan: Plan, stage: Stage) -> Json:  # noqa: ARG001
    rule = plan.value("loss")
    return {
        "_target_": "scripts.methods.networks.anchor_balls.AnchorBallLoss",
        "unit": rule["unit_voxels"],
        "radii": rule["radii"],
    }


def _multi_scale_mse(plan: Plan, stage: Stage) -> Json:
    weights = dict(zip(SCALES, plan.value("loss")["weights"], strict=True))
    return {
        "_target_": "scripts.methods.networks.value_losses.MeanSquaredLoss",
        "target": target_of(stage),
        "heads": weights,
    }


def _votes(name: str, title: str, *, cells: bool, vectors: bool, logarithms: bool) -> LossRow:
    terms = {"cells": cells, "vectors": vectors, "logarithms": logarithms}

    def json(plan: Plan, stage: Stage) -> Json:  # noqa: ARG001
        changed = {term: value for term, value in terms.items() if not value}
        if not vectors:
            changed.pop("logarithms", None)
        return {"_target_": "scripts.methods.grid_votes.GridVoteLoss", **changed}

    return LossRow(
        name=name,
        title=title,
        gives=votes(cells=cells, vectors=vectors, logarithms=logarithms and vectors),
        kinds=(),
        citation=NOOTHOUT,
        json=json,
        bytes_per_voxel=_VOTE_BYTES,
        numbers={"output_bias": -6.0},
        heads=heads,
    )


LOSSES: dict[str, LossRow] = {
    row.name: row
    for row in (
        LossRow(
            name="bce_and_cross_entropy",
            title="cross-entropy on the hardest voxels, and a spatial one against a Gaussian of one voxel",
            gives=SOFTMAX,
            kinds=(UNIT,),
            citation=NNLANDMARK,
            json=_bce_and_cross_entropy,
            bytes_per_voxel=LOSS_BYTES_PER_VOXEL,
            cpu_bytes_per_voxel=CPU_LOSS_BYTES_PER_VOXEL,
            numbers={
                "bce_topk": 1.0,
                "top_percent": 20.0,
                "cross_entropy": 1.0,
                "sigma_voxels": 1.0,
                "output_bias": -4.0,
            },
            instances=True,
        ),
        LossRow(
            name="top_k_bce",
            title="binary cross-entropy on the hardest fifth of the voxels",
            gives=SIGMOID,
            kinds=(UNIT,),
            citation=NNLANDMARK,
            json=top_k_bce,
            bytes_per_voxel=16.0,
            cpu_bytes_per_voxel=CPU_TOP_K_BYTES_PER_VOXEL,
            numbers={"top_percent": 20.0, "output_bias": -4.0},  # without it, short trainings do nothing but lower it
            instances=True,
        ),
        LossRow(
            name="one_hot",
            title="likelihood of the point under a softmax over the patch",
            gives=ONE_HOT,
            kinds=(),
            citation=LANDMARKER,
            json=lambda plan, stage: {"_target_": "scripts.methods.one_hot.OneHotLoss"},  # noqa: ARG005
            bytes_per_voxel=16.0,
            numbers={"box_radius_voxels": 2, "temperature": 1.0},
            distribution=True,
        ),
        LossRow(
            name="mse",
            title="mean squared error of the heatmap",
            gives=VALUE,
            kinds=(UNIT,),
            citation=PAYER,
            json=_of_target("value_losses.MeanSquaredLoss"),  # type: ignore[arg-type]
            bytes_per_voxel=24.0,
        ),
        LossRow(
            name="multi_scale_mse",
            title="mean squared error of the heatmaps of several levels, half the weight at each further one",
            gives=VALUE,
            kinds=(UNIT,),
            citation=SR_UNET,
            json=_multi_scale_mse,
            bytes_per_voxel=48.0,
            numbers={"weights": [1.0, 0.5, 0.25, 0.125]},
            heads=scale_heads,
        ),
        LossRow(
            name="hard_negatives",
            title="smooth L1 in the ball, and on as many of the highest voxels outside",
            gives=BALL,
            kinds=(SIGNED,),
            citation=H3DE,
            json=_of_target("value_losses.HardNegativeL1Loss"),  # type: ignore[arg-type]
            bytes_per_voxel=27.0,
        ),
        LossRow(
            name="anchor_balls",
            title="cross-entropies of which landmark lies in which ball, and smooth L1 of where",
            gives=ANCHORS,
            kinds=(),
            citation=ANCHOR_BALLS,
            json=_anchor_balls,
            bytes_per_voxel=16.0,
            numbers={"unit_voxels": 8.0, "radii": [0.5, 0.75, 1.0, 1.25], "votes": 15},
            heads=anchor_heads,
        ),
        _votes(
            "votes",
            "cross-entropy of cells and absolute error of logarithms of their vectors (log R + C)",
            cells=True,
            vectors=True,
            logarithms=True,
        ),
        _votes(
            "votes_plain",
            "cross-entropy of cells and absolute error of their vectors (R + C)",
            cells=True,
            vectors=True,
            logarithms=False,
        ),
        _votes("votes_cells", "cross-entropy of cells alone (C)", cells=True, vectors=False, logarithms=False),
        _votes(
            "votes_log_vectors",
            "absolute error of logarithms of vectors alone (log R)",
            cells=False,
            vectors=True,
            logarithms=True,
        ),
        _votes("votes_vectors", "absolute error of vectors alone (R)", cells=False, vectors=True, logarithms=False),
    )
}
"""The losses by name."""
