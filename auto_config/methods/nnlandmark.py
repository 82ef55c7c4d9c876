"""`nnlandmark`: the published method (Ertl et al., MIDL 2026; code 0.2.0). ``docs/method.md`` lists each difference."""

from __future__ import annotations

import math
from collections.abc import Sequence

from auto_config.methods.base import Method, MethodRequest, Stage, StageParts, Training
from auto_config.methods.cones import CPU_TOP_K_BYTES_PER_VOXEL, NNLANDMARK, cone, heatmap_parts, top_k_bce
from auto_config.methods.plan import Decision, Plan

_FORCED_SHARE = 0.33
_WHY = "method nnlandmark"
_FLAT_PATCH = 3.0
"""The longest edge over that of the thickest voxels from which nnU-Net augments slice by slice ("dummy 2D")."""
_LONG_PICTURE = 1.5
"""The longer edge over the shorter one from which nnU-Net turns pictures by 15 degrees only."""


def _turns(patch_size: Sequence[int], spacing: Sequence[float]) -> tuple[float, int | None, str]:
    """The largest angle (radians), the axis along which nothing changes, and why.

    nnU-Net puts the axis of the thickest voxels first, of equals the last one of ours (z), and looks how flat the patch
    is along it.
    """
    longest, shortest = max(patch_size), min(patch_size)
    if len(patch_size) == 2:
        if longest > _LONG_PICTURE * shortest:
            return math.radians(15), None, "long pictures are turned by 15 degrees at most"
        return math.pi, None, "pictures are turned by any angle"
    thickest = max(range(3), key=lambda axis: (spacing[axis], axis))
    if longest > _FLAT_PATCH * patch_size[thickest]:
        return math.pi, thickest, "flat patches are turned, scaled and coarsened within their slices only"
    return math.radians(30), None, "patches are turned by 30 degrees at most about each axis"


def _training(request: MethodRequest) -> Training:
    size = request.batch_size
    # nnU-Net forces the last part of each batch and rounds: of 2 patches always the second one.
    forced = size - round(size * (1 - _FORCED_SHARE))
    angle, fixed_axis, turned = _turns(request.stage["patch_size"], request.stage["spacing"])
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
                "rotation": {"prob": 0.2, "max_rad": round(angle, 4)},
                "scale": {"prob": 0.2, "low": 0.7, "high": 1.4, "uniform_step": True},
                "fixed_axis": fixed_axis,
                "channel_share": 0.5,
                "noise": {"prob": 0.1, "max_std": 0.1},
                "blur": {"prob": 0.2, "low_sigma": 0.5, "high_sigma": 1.0},
                "brightness": {"prob": 0.15, "low": 0.75, "high": 1.25},
                "contrast": {"prob": 0.15, "low": 0.75, "high": 1.25},
                "low_resolution": {"prob": 0.25, "low": 0.5, "high": 1.0},
                "gamma": {"prob": 0.3, "low": 0.7, "high": 1.5, "half_below_one": True},
                "gamma_inverted": {"prob": 0.1, "low": 0.7, "high": 1.5, "half_below_one": True},
            },
            f"{_WHY}: nnU-Net's probabilities and ranges, no elastic deformation; each channel has draws of its own, "
            f"and half of the channels are blurred or coarsened where a patch is; {turned}",
        ),
        iterations_per_epoch=Decision(250, _WHY),
        max_epochs=Decision(1000, _WHY),
        val_interval=Decision(
            5, "validation reads whole volumes, so every fifth epoch; it does not change the training"
        ),
        overlap=Decision(0.5, _WHY),
        keep=Decision("last", f"{_WHY}: its last weights predict, so that no case chooses what it then judges"),
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
    # In float32 the logit, the heatmap, the loss and its gradient, which is made when the hardest voxels are chosen.
    loss_bytes_per_voxel=16.0,
    cpu_loss_bytes_per_voxel=CPU_TOP_K_BYTES_PER_VOXEL,
    stages="one",
    whole_anatomy=False,
    mirrors=False,
    instances=True,
    target="cone",
    loss="top_k_bce",
    decoder="argmax",
    stock_patch=True,
    more_augmentation=False,
)
