"""What both methods of the spatial configuration network share."""

from __future__ import annotations

import math

from auto_config.methods.augmentation import EVERY_PATCH
from auto_config.methods.base import Json, Stage, Training
from auto_config.methods.plan import Decision

GAMMA = {2: 100.0, 3: 1000.0}
"""Integral of a Gaussian over voxels of the finest axis, for 2 and 3 dimensions."""


def aspect(stage: Stage) -> list[float]:
    """Length of a voxel along each axis over that of the finest one."""
    return [round(step / min(stage["spacing"]), 4) for step in stage["spacing"]]


def log_of(sigma: float) -> float:
    """First value of a learnt width."""
    return round(math.log(sigma), 6)


def training(why: str, loss: Json, loss_why: str) -> Training:
    """How both train, with the decision on the loss of one of them.

    Args:
        why: begins each reason.
        loss: what the method's own parts read.
        loss_why: reason of it.
    """
    return Training(
        loss=Decision(loss, f"{why}: {loss_why}"),
        optimizer=Decision(
            {"name": "Adam", "lr": 2e-4, "weight_decay": 0.0},
            f"{why}: Adam, because the published rates (1e-6 to 5e-8 with a momentum of 0.99) belong to the size of "
            "one data set's loss; widths learn at the same rate, as logarithms",
        ),
        schedule=Decision(
            {"name": "poly", "power": 0.9, "warmup_steps": 20, "gradient_clip": 1e4},
            f"{why}: the gradient is clipped at 1e4, as published, because heatmaps are summed and not averaged; "
            "polynomial decay fits any length",
        ),
        sampling=Decision(
            {"landmark_share": 0.67, "placement": "anywhere"},
            f"{why}: a patch of one stage holds the whole anatomy, as published for hands and heads; in larger images "
            "random crops as in its spines, of which two of three hold a random landmark",
        ),
        augmentation=Decision(
            EVERY_PATCH,
            f"{why}: rotation, scale and intensity in ranges near the published ones; no elastic deformation",
        ),
        iterations_per_epoch=Decision(250, f"{why}: as the other methods, so that epochs can be compared"),
        max_epochs=Decision(160, f"{why}: 40 000 steps as published; --time_budget fits the schedule to any time"),
        val_interval=Decision(5, "validation reads whole volumes, so every fifth epoch"),
        overlap=Decision(0.5, "sliding windows overlap by half where an image is larger than the patch"),
    )
