"""Recipes: target, loss, optimiser, schedule, sampling and augmentation, apart from network and data."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from auto_config.planning.plan import Decision

RECIPES = ("default", "nnlandmark")
CONE_RADIUS_VOXELS = 15
"""Radius of the heatmap cone in voxels of the finest axis (nnLandmark: 11 to 23 are equal, 7 fails)."""

_NNLANDMARK_FORCED_SHARE = 0.33
_FLAT_PATCH = 3.0
"""The longest edge over that of the thickest voxels from which nnU-Net augments slice by slice ("dummy 2D")."""
_LONG_PICTURE = 1.5
"""The longer edge over the shorter one from which nnU-Net turns pictures by 15 degrees only."""


def recipe_decisions(recipe: str, network: str, stage: Mapping[str, Any]) -> dict[str, Decision]:
    """The decisions that a recipe makes.

    Args:
        recipe: one of `RECIPES`.
        network: a network name; ``"tiny"`` gets a schedule for minutes on a CPU, the others one for hours on a GPU.
        stage: the stage that samples patches from the image: ``batch_size``, ``patch_size`` (voxels) and ``spacing``
            (mm), for the reference's share of forced patches and its angles of rotation.

    Returns:
        ``loss``, ``optimizer``, ``schedule``, ``sampling``, ``augmentation``, ``iterations_per_epoch``, ``max_epochs``,
        ``val_interval``, ``keep`` and ``overlap``. Angles are in radians, noise and shifts in units of the normalised
        image, ``sigma_voxels`` in voxels of the stage's grid.

    Raises:
        ValueError: no such recipe.
    """
    if recipe == "default":
        return _default(network)
    if recipe == "nnlandmark":
        return _nnlandmark(stage["batch_size"], stage["patch_size"], stage["spacing"])
    raise ValueError(f"recipe must be one of {', '.join(RECIPES)}, got {recipe!r}")


def _default(network: str) -> dict[str, Decision]:
    loss = {"bce_topk": 1.0, "top_percent": 20.0, "cross_entropy": 1.0, "sigma_voxels": 1.0, "output_bias": -4.0}
    optimizer = {"name": "AdamW", "lr": 2e-3, "weight_decay": 1e-2}
    schedule = {"name": "poly", "power": 0.9, "warmup_steps": 20, "gradient_clip": 12.0}
    augmentation = {
        "rotation": {"prob": 1.0, "max_rad": 0.3},
        "scale": {"prob": 1.0, "low": 0.85, "high": 1.15},
        "noise": {"prob": 0.5, "max_std": 0.1},
        "contrast": {"prob": 0.5, "low": 0.75, "high": 1.25},
        "brightness": {"prob": 0.3, "low": 0.9, "high": 1.1},
        "gamma": {"prob": 0.2, "low": 0.8, "high": 1.25},
        "blur": {"prob": 0.1, "low_sigma": 0.5, "high_sigma": 1.0},
    }
    tiny = network == "tiny"
    return {
        "loss": Decision(
            loss,
            "recipe default: top-20 % cross-entropy on cones finds the neighbourhood, a spatial softmax cross-entropy "
            "against a Gaussian of one voxel makes short schedules work (weight 1 beats 0.1 on the mouse skulls); the "
            "output bias of -4 starts the sigmoid where nearly every voxel is right",
        ),
        "optimizer": Decision(
            optimizer, "recipe default: AdamW learns in hundreds of steps where the reference's SGD needs 10^5"
        ),
        "schedule": Decision(
            schedule, "recipe default: 20 steps of warm-up, polynomial decay of power 0.9, gradient norm clipped at 12"
        ),
        "sampling": Decision(
            {"landmark_share": 0.67, "placement": "anywhere"},
            "recipe default: two patches of three hold a random landmark, at a random place and not in the centre",
        ),
        "augmentation": Decision(
            augmentation,
            "recipe default: rotation and scale in one resampling, which keeps the affine right, then intensity",
        ),
        "iterations_per_epoch": Decision(
            50 if tiny else 250,
            "50 steps are about a minute of the tiny network on a CPU" if tiny else "as the reference",
        ),
        "max_epochs": Decision(
            60 if tiny else 200,
            "about an hour on two CPU cores; --time_budget fits the schedule to any time"
            if tiny
            else "a fifth of the reference: the default loss needs far fewer steps",
        ),
        "val_interval": Decision(5, "validation reads whole volumes, so every fifth epoch"),
        "keep": Decision("best", "recipe default: of the validated weights those with the lowest error in mm"),
        "overlap": Decision(0.5, "sliding windows overlap by half, as in the reference"),
    }


def _nnlandmark_turns(patch_size: Sequence[int], spacing: Sequence[float]) -> tuple[float, int | None, str]:
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
        return (
            math.pi,
            thickest,
            "flat patches are turned, scaled and coarsened within their slices only",
        )
    return math.radians(30), None, "patches are turned by 30 degrees at most about each axis"


def _nnlandmark(batch_size: int, patch_size: Sequence[int], spacing: Sequence[float]) -> dict[str, Decision]:
    # nnU-Net forces the last part of each batch and rounds: of 2 patches always the second one.
    forced = batch_size - round(batch_size * (1 - _NNLANDMARK_FORCED_SHARE))
    angle, fixed_axis, turned = _nnlandmark_turns(patch_size, spacing)
    augmentation = {
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
    }
    return {
        "loss": Decision(
            {"bce_topk": 1.0, "top_percent": 20.0, "cross_entropy": 0.0, "sigma_voxels": 1.0, "output_bias": None},
            "recipe nnlandmark: binary cross-entropy on the hardest 20 % of the voxels of each channel",
        ),
        "optimizer": Decision(
            {"name": "SGD", "lr": 1e-2, "momentum": 0.99, "nesterov": True, "weight_decay": 3e-5}, "recipe nnlandmark"
        ),
        "schedule": Decision(
            {"name": "poly", "power": 0.9, "warmup_steps": 0, "gradient_clip": 12.0}, "recipe nnlandmark"
        ),
        "sampling": Decision(
            {"landmark_share": forced / batch_size, "placement": "centre"},
            f"recipe nnlandmark: one third of each batch, rounded as nnU-Net rounds ({forced} of {batch_size}), "
            "holds a random landmark in the centre",
        ),
        "augmentation": Decision(
            augmentation,
            "recipe nnlandmark: nnU-Net's probabilities and ranges, no elastic deformation; each channel has draws of "
            f"its own, and half of the channels are blurred or coarsened where a patch is; {turned}",
        ),
        "iterations_per_epoch": Decision(250, "recipe nnlandmark"),
        "max_epochs": Decision(1000, "recipe nnlandmark"),
        "val_interval": Decision(
            5, "validation reads whole volumes, so every fifth epoch; it does not change the training"
        ),
        "keep": Decision(
            "last",
            "recipe nnlandmark predicts with the last weights; the best ones would be chosen on their own judges",
        ),
        "overlap": Decision(0.5, "recipe nnlandmark"),
    }
