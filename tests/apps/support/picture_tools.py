"""A 2D bundle whose points are known, and pictures in which they are to be found."""

import json
from pathlib import Path

import numpy as np
import torch
from app_tools import write_fixed_bundle
from PIL import Image

NAMES = ("sella", "nasion", "menton")
# Shares of the picture's extent along x (right) and y (down): not symmetric in anything.
POINTS = ((0.2, 0.15), (0.62, 0.4), (0.85, 0.9))
SIZE = (60, 44)
"""Pixels across and down."""


def write_picture_bundle(root: Path, pixel_spacing=None, ball_radius_mm: float = 3.0) -> Path:
    """Write a bundle that finds `POINTS` in any picture; ``pixel_spacing`` is the (x, y) mm that it was given."""
    write_fixed_bundle(root, None, NAMES, ball_radius_mm=ball_radius_mm)
    table = json.loads((root / "configs/landmarks.json").read_text(encoding="utf-8"))
    table |= {"spatial_dims": 2, "unit": "px" if pixel_spacing is None else "mm"}
    (root / "configs/landmarks.json").write_text(json.dumps(table))
    path = root / "configs/inference.json"
    inference = json.loads(path.read_text(encoding="utf-8"))
    inference["pixel_spacing"] = pixel_spacing
    inference["network_def"] = {"_target_": "scripts.fixed.FixedPoints", "landmarks": len(NAMES), "dims": 2}
    loading = {
        "_target_": "scripts.images.loader.LoadFilesd",
        "keys": "image",
        "spatial_dims": 2,
        "pixel_spacing": "@pixel_spacing",
    }
    inference["preprocessing"]["transforms"] = [loading]
    if "spacing" in inference["inferer"]:
        inference["inferer"]["spacing"] = [1.0, 1.0]
    path.write_text(json.dumps(inference))
    torch.save({"points": torch.tensor(POINTS)}, root / "models/model.pt")
    return root


def pixels() -> np.ndarray:
    """(3, 2) pixels (x, y) of the landmarks."""
    return np.array(POINTS) * (np.array(SIZE) - 1)


def write_picture(path: Path, seed: int = 0, **options) -> Path:
    """Write noise as a picture of Pillow."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 255, SIZE[::-1]).astype(np.uint8)
    Image.fromarray(noise).save(path, **options)
    return path
