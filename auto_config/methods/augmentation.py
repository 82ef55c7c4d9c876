"""Augmentation for schedules of hundreds to thousands of steps, which several methods share."""

from __future__ import annotations

from auto_config.methods.base import Json

EVERY_PATCH: Json = {
    "rotation": {"prob": 1.0, "max_rad": 0.3},
    "scale": {"prob": 1.0, "low": 0.85, "high": 1.15},
    "noise": {"prob": 0.5, "max_std": 0.1},
    "contrast": {"prob": 0.5, "low": 0.75, "high": 1.25},
    "brightness": {"prob": 0.3, "low": 0.9, "high": 1.1},
    "gamma": {"prob": 0.2, "low": 0.8, "high": 1.25},
    "blur": {"prob": 0.1, "low_sigma": 0.5, "high_sigma": 1.0},
}
"""Every patch is turned and scaled a little, most change their grey values; radians, factors, voxels."""
