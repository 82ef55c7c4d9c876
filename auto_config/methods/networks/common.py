"""How the methods of this folder train where their publications are silent: in the ways of the first methods."""

from __future__ import annotations

from auto_config.methods.augmentation import EVERY_PATCH
from auto_config.methods.base import MethodRequest, Training
from auto_config.methods.plan import Decision


def training(request: MethodRequest, name: str, loss: Decision) -> Training:  # noqa: ARG001
    """Adam at 1e-3 for 50 000 steps, with the sampling and augmentation of most methods here.

    Args:
        request: of the planner.
        name: of the method, for the reasons.
        loss: the method's own decision.
    """
    why = f"method {name}"
    return Training(
        loss=loss,
        optimizer=Decision({"name": "Adam", "lr": 1e-3, "weight_decay": 0.0}, f"{why}: Adam at 1e-3"),
        schedule=Decision(
            {"name": "poly", "power": 0.9, "warmup_steps": 20, "gradient_clip": 12.0},
            f"{why}: a polynomial fits any length; the publication's decay is that of its data set",
        ),
        sampling=Decision(
            {"landmark_share": 0.67, "placement": "anywhere"},
            f"{why}: two patches of three hold a random landmark, at a random place",
        ),
        augmentation=Decision(EVERY_PATCH, f"{why}: rotation, scale and intensity as most methods here"),
        iterations_per_epoch=Decision(250, f"{why}: as the other methods, so that epochs can be compared"),
        max_epochs=Decision(200, f"{why}: 50 000 steps; --time_budget fits the schedule to any time"),
        val_interval=Decision(5, "validation reads whole volumes, so every fifth epoch"),
        overlap=Decision(0.5, "sliding windows overlap by half"),
    )
