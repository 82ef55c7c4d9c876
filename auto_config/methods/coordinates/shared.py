"""What methods on coordinates share: training, a network that ends in a softmax over space, the mean as decoder."""

from __future__ import annotations

from dataclasses import replace

from auto_config.methods import default
from auto_config.methods.backbones import network_of
from auto_config.methods.base import Json, Method, MethodRequest, Stage, StageParts, Training
from auto_config.methods.plan import Decision, Plan


def method(
    name: str,
    title: str,
    citation: str,
    *,
    loss: str,
    rule: Json,
    why: str,
    bytes_per_voxel: float,
    levels: bool = True,
    visibility: bool = False,
    tolerance: float = 0.05,
) -> Method:
    """A row of a method whose loss is on the mean of a softmax over space.

    Args:
        name: of the method.
        title: in one line.
        citation: of the publication.
        loss: path of its class below ``scripts.methods.coordinates``.
        rule: arguments of the loss, which the plan shows.
        why: reason of these.
        bytes_per_voxel: of loss and target, for each voxel and landmark.
        levels: whether heatmaps have a form whose level sets are regions.
        visibility: whether the network gives a second map for each landmark.
        tolerance: see `Method`.
    """

    def training(request: MethodRequest) -> Training:
        return replace(default.METHOD.training(request), loss=Decision(rule, f"method {name}: {why}"))

    def parts(plan: Plan, stage: Stage) -> StageParts:
        backbone, landmarks = network_of(plan).of_stage(plan, stage), plan.value("landmarks")
        heads = {"logits": landmarks, **({"visibility": landmarks} if visibility else {})}
        network = backbone.config(stage, plan.value("spatial_dims"), plan.value("channels"), sum(heads.values()))
        aspect = [round(step / min(stage["spacing"]), 4) for step in stage["spacing"]]
        decoder = "VisibleMeanDecoder" if visibility else "SpatialMeanDecoder"
        return StageParts(
            network={
                "_target_": "scripts.methods.coordinates.network.SpatialLogSoftmax",
                "network": network,
                "maps": landmarks,
            },
            heads=heads,
            loss={"_target_": f"scripts.methods.coordinates.{loss}", "aspect": aspect, **plan.value("loss")},
            decoder={
                "_target_": f"scripts.methods.coordinates.decoder.{decoder}",
                **({} if levels else {"levels": False}),
            },
        )

    return Method(
        name=name,
        title=title,
        citation=citation,
        backbone=None,
        training=training,
        parts=parts,
        loss_bytes_per_voxel=bytes_per_voxel,
        stages="one",
        whole_anatomy=True,
        mirrors=True,
        instances=False,
        logits_only=visibility,  # a logit of visibility is no logarithm of a probability of places
        tolerance=tolerance,
    )
