"""`global_to_local`: cells of the whole anatomy vote where landmarks are, then cells of crops (Noothout et al.)."""

from __future__ import annotations

from auto_config.methods.augmentation import EVERY_PATCH
from auto_config.methods.backbones import network_of
from auto_config.methods.base import Method, MethodRequest, Stage, StageParts, Training
from auto_config.methods.grids import NOOTHOUT, heads
from auto_config.methods.plan import Decision, Plan

_WHY = "method global_to_local"


def _training(request: MethodRequest) -> Training:  # noqa: ARG001
    return Training(
        loss=Decision(
            {"output_bias": -6.0},
            f"{_WHY}: cross-entropy of the cells and mean absolute error of signed logarithms of their vectors, "
            "weights of 1 each; the bias starts where nearly every cell is right: one of hundreds holds the landmark",
        ),
        optimizer=Decision({"name": "Adam", "lr": 1e-3, "weight_decay": 0.0}, f"{_WHY}: Adam at 1e-3"),
        schedule=Decision(
            {"name": "poly", "power": 0.9, "warmup_steps": 20, "gradient_clip": 12.0},
            f"{_WHY}: the publication keeps its learning rate for 300 000 steps; a decay makes shorter ones end well",
        ),
        sampling=Decision(
            {"landmark_share": 0.67, "placement": "anywhere"},
            f"{_WHY}: a patch holds the whole anatomy; where rotation or scale cut it, two of three hold a landmark",
        ),
        augmentation=Decision(
            EVERY_PATCH,
            f"{_WHY}: rotation, scale and intensity as most methods here; the publication's crops at random places "
            "are no augmentation of patches that hold the whole anatomy",
        ),
        iterations_per_epoch=Decision(250, f"{_WHY}: as the other methods, so that epochs can be compared"),
        max_epochs=Decision(
            400, f"{_WHY}: 100 000 steps, a third of the publication's; --time_budget fits the schedule to any time"
        ),
        val_interval=Decision(5, "validation reads whole volumes, so every fifth epoch"),
        overlap=Decision(0.5, "sliding windows overlap by half where an image is larger than the patch"),
    )


def _parts(plan: Plan, stage: Stage) -> StageParts:
    backbone = network_of(plan).of_stage(plan, stage)
    dims, channels = plan.value("spatial_dims"), heads(plan.value("landmarks"), plan.value("spatial_dims"))
    return StageParts(
        network=backbone.config(stage, dims, plan.value("channels"), sum(channels.values())),
        heads=channels,
        loss={"_target_": "scripts.methods.grid_votes.GridVoteLoss"},
        decoder={"_target_": "scripts.methods.grid_votes.GridVoteDecoder", "stride": backbone.stride},
        output_layer=backbone.output_layer(stage),
        output_bias=plan.value("loss")["output_bias"],
    )


METHOD = Method(
    name="global_to_local",
    title="cells of a coarse grid vote where landmarks are, then cells of crops around them",
    citation=NOOTHOUT,
    backbone="grid",
    training=_training,
    parts=_parts,
    # float32, for each cell of 2^D voxels or more: 1 + D channels, their targets and gradients.
    loss_bytes_per_voxel=12.0,
    stages="two",
    whole_anatomy=False,
    mirrors=True,
    instances=False,
    loss="votes",
    decoder="votes",
)
