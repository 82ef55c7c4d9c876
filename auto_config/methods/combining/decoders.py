"""The table of decoders: what makes points of an output."""

from __future__ import annotations

from auto_config.methods.backbones import network_of
from auto_config.methods.base import Json, Stage
from auto_config.methods.combining.losses import LOSSES
from auto_config.methods.combining.rows import (
    ANCHORS,
    BALL,
    ONE_HOT,
    SIGMOID,
    SOFTMAX,
    VALUE,
    DecoderRow,
    LossRow,
    TargetRow,
)
from auto_config.methods.cones import NNLANDMARK
from auto_config.methods.grids import NOOTHOUT
from auto_config.methods.networks.sources import ANCHOR_BALLS, DARK, H3DE, LANDMARKER
from auto_config.methods.plan import Plan

_LINKS = {SOFTMAX: "softmax", ONE_HOT: "softmax", SIGMOID: "sigmoid", VALUE: "value"}


def _argmax(plan: Plan, stage: Stage, loss: LossRow, target: TargetRow | None) -> Json:
    found: Json = {"_target_": "scripts.methods.decoders.ArgmaxDecoder", "link": _LINKS[loss.gives]}
    if loss.gives == SIGMOID and target is not None and target.name == "cone":
        # Weights of a cone that fall as exp(-d), whatever its radius.
        found["sharpness"] = target.json(plan, stage)["radius"]
    return found


def _soft_argmax(plan: Plan, stage: Stage, loss: LossRow, target: TargetRow | None) -> Json:  # noqa: ARG001
    rule = plan.value("loss")
    return {
        "_target_": "scripts.methods.one_hot.LocalSoftArgmaxDecoder",
        "radius": rule.get("box_radius_voxels", 2),
        "temperature": rule.get("temperature", 1.0),
    }


def _taylor(plan: Plan, stage: Stage, loss: LossRow, target: TargetRow | None) -> Json:  # noqa: ARG001
    return {"_target_": "scripts.methods.networks.value_decoders.TaylorDecoder", "link": _LINKS[loss.gives]}


def _spatial_mean(plan: Plan, stage: Stage, loss: LossRow, target: TargetRow | None) -> Json:  # noqa: ARG001
    # A box, because of the whole patch, the background would draw.
    return {"_target_": "scripts.methods.coordinates.decoder.SpatialMeanDecoder", "weights": "softmax", "radius": 8}


def _top_centroid(plan: Plan, stage: Stage, loss: LossRow, target: TargetRow | None) -> Json:  # noqa: ARG001
    return {"_target_": "scripts.methods.networks.value_decoders.TopCentroidDecoder"}


def _anchor_balls(plan: Plan, stage: Stage, loss: LossRow, target: TargetRow | None) -> Json:  # noqa: ARG001
    rule = plan.value("loss")
    return {
        "_target_": "scripts.methods.networks.anchor_balls.AnchorBallDecoder",
        "unit": rule["unit_voxels"],
        "radii": rule["radii"],
        "stride": network_of(plan).of_stage(plan, stage).stride,
        "votes": rule["votes"],
    }


def _votes(plan: Plan, stage: Stage, loss: LossRow, target: TargetRow | None) -> Json:  # noqa: ARG001
    terms = {name: value for name, value in loss.json(plan, stage).items() if name != "_target_"}
    stride = network_of(plan).of_stage(plan, stage).stride
    return {"_target_": "scripts.methods.grid_votes.GridVoteDecoder", "stride": stride, **terms}


DECODERS: dict[str, DecoderRow] = {
    row.name: row
    for row in (
        DecoderRow(
            name="argmax",
            title="the highest voxel, then the centre of its peak by a mean shift",
            reads=(SOFTMAX, ONE_HOT, SIGMOID),
            citation=NNLANDMARK,
            json=_argmax,
            instances=True,
        ),
        DecoderRow(
            name="local_soft_argmax",
            title="the mean in a box around the highest voxel",
            reads=(SOFTMAX, ONE_HOT),
            citation=LANDMARKER,
            json=_soft_argmax,
            tolerance=0.1,
        ),
        DecoderRow(
            name="taylor",
            title="the highest voxel, then the top of the parabola through its neighbours' logarithms",
            reads=(VALUE, SOFTMAX),
            citation=DARK,
            json=_taylor,
            tolerance=0.1,
        ),
        DecoderRow(
            name="spatial_mean",
            title="the weighted mean of a box of 8 voxels to each side of the highest voxel",
            reads=(SOFTMAX, ONE_HOT),
            citation=LANDMARKER,
            json=_spatial_mean,
            tolerance=0.1,
        ),
        DecoderRow(
            name="top_centroid",
            title="the centre of the highest voxels",
            reads=(BALL,),
            citation=H3DE,
            json=_top_centroid,
            tolerance=0.2,
        ),
        DecoderRow(
            name="anchor_balls",
            title="of the points of the surest balls the one nearest to the others",
            reads=(ANCHORS,),
            citation=ANCHOR_BALLS,
            json=_anchor_balls,
        ),
        DecoderRow(
            name="votes",
            title="the mean of where cells point to",
            reads=tuple(row.gives for row in LOSSES.values() if row.gives.startswith("votes")),
            citation=NOOTHOUT,
            json=_votes,
        ),
    )
}
"""The decoders by name."""
