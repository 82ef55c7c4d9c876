"""`nnlandmark`: the published method (Ertl et al., MIDL 2026; code 0.2.0). ``docs/method.md`` lists each difference."""

from __future__ import annotations

from auto_config.methods.base import Method, MethodRequest, Stage, StageParts, Training
from auto_config.methods.cones import LOSS_BYTES_PER_VOXEL, NNLANDMARK, cone, heatmap_parts, top_k_bce
from auto_config.methods.plan import Decision, Plan

_FORCED_SHARE = 0.33
_WHY = "method nnlandmark"


def _training(request: MethodRequest) -> Training:
    size = request.batch_size
    # nnU-Net forces the last part of each batch and rounds: of 2 patches always the second one.
    forced = size - round(size * (1 - _FORCED_SHARE))
    return Training(
        loss=Decision(
            {"top_percent": 20.0},
            f"{_WHY}: binary cross-entropy on the hardest 20 % of the voxels of each channel",
        ),
        optimizer=Decision({"name": "SGD", "lr": 1e-2, "momentum": 0.99, "nesterov": True, "weight_decay": 3e-5}, _WHY),
        schedule=Decision({"name": "poly", "power": 0.9, "warmup_steps": 0, "gradient_clip": 12.0}, _WHY),
        sampling=Decision(
            {"landmark_share": forced / size, "placement": "centre"},
            f"{_WHY}: one third of each batch, rounded as nnU-Net rounds ({forced} of {size}), holds a random landmark "
            "in the centre",
        ),
        augmentation=Decision(
            {
                "rotation": {"prob": 0.2, "max_rad": 0.5236 if request.spatial_dims == 3 else 3.1416},
                "scale": {"prob": 0.2, "low": 0.7, "high": 1.4},
                "noise": {"prob": 0.1, "max_std": 0.1},
                "blur": {"prob": 0.2, "low_sigma": 0.5, "high_sigma": 1.0},
                "brightness": {"prob": 0.15, "low": 0.75, "high": 1.25},
                "contrast": {"prob": 0.15, "low": 0.75, "high": 1.25},
                "low_resolution": {"prob": 0.25, "low": 0.5, "high": 1.0},
                "gamma": {"prob": 0.3, "low": 0.7, "high": 1.5},
                "gamma_inverted": {"prob": 0.1, "low": 0.7, "high": 1.5},
            },
            f"{_WHY}: nnU-Net's probabilities and ranges, no elastic deformation",
        ),
        iterations_per_epoch=Decision(250, _WHY),
        max_epochs=Decision(1000, _WHY),
        val_interval=Decision(
            5, "validation reads whole volumes, so every fifth epoch; it does not change the training"
        ),
        overlap=Decision(0.5, _WHY),
    )


def _parts(plan: Plan, stage: Stage) -> StageParts:
    target = cone(plan, stage)
    return heatmap_parts(
        plan,
        stage,
        target=target,
        loss=top_k_bce(plan, stage),
        decoder={
            "_target_": "scripts.methods.decoders.ArgmaxDecoder",
            "link": "sigmoid",
            "sharpness": target["radius"],
        },
        output_bias=None,
    )


METHOD = Method(
    name="nnlandmark",
    title="the published nnLandmark to the letter, for days on a GPU",
    citation=NNLANDMARK,
    backbone=None,
    training=_training,
    parts=_parts,
    loss_bytes_per_voxel=LOSS_BYTES_PER_VOXEL,
    stages="one",
    whole_anatomy=False,
    mirrors=False,
    instances=True,
)
