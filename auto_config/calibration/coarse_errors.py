"""Errors of the coarse stage on cases that it was not trained on: ``models/coarse_errors.json``."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from rich.progress import track

from auto_config.bundle.opened import OpenBundle, open_bundle, weights_of_fold
from auto_config.bundle_scripts.file_names import COARSE_ERRORS
from auto_config.bundle_scripts.files.text import atomic_write_text
from auto_config.bundle_scripts.grid.grids import apply_affine, embed_affine
from auto_config.bundle_scripts.points.instances import read_instances
from auto_config.bundle_scripts.points.landmarks import LandmarkSet
from auto_config.calibration.matched import matched
from auto_config.calibration.out_of_fold import LANDMARKS, listed_cases
from auto_config.calibration.validation_cases import folds_in_use
from auto_config.errors import UserError


def measure_coarse_errors(root: Path, device: str | None = None) -> Path:
    """Find the points of the coarse stage in all validation cases of the folds in use, and keep how far off they are.

    Args:
        root: Folder of a trained bundle of two stages.
        device: Such as ``cpu``; None for the bundle's own choice.

    Returns:
        The file, written atomically: ``lengths`` in mm of all landmarks and cases together, shortest first.

    Raises:
        UserError: one stage, no weights, no validation cases, or images that are not there.
    """
    lengths: list[float] = []
    cases = 0
    for fold in folds_in_use(root):
        items = listed_cases(root, fold)
        opened = open_bundle(root, device=device, weights=weights_of_fold(root, fold))
        if not hasattr(opened.inferer, "coarse_points"):
            raise UserError(f"{root}: has no coarse stage whose errors could be measured; omit --jitter")
        for item in track(items, description=f"coarse points, fold {fold}", transient=True):
            label = LandmarkSet.from_inline(item["label"], opened.names, spatial_dims=opened.spatial_dims)
            lengths += _lengths(opened, item["image"], label).tolist()
        cases += len(items)
    if not any(lengths):
        raise UserError(f"{root}: its validation cases have no landmark, so no error can be measured; omit --jitter")
    document = {"cases": cases, "lengths": sorted(round(length, 4) for length in lengths)}
    path = root / "models" / COARSE_ERRORS
    atomic_write_text(path, json.dumps(document) + "\n")
    return path


def _lengths(opened: OpenBundle, image: list[Path], label: LandmarkSet) -> np.ndarray:
    """Lengths (N,) in mm of the errors of the landmarks that an image shows."""
    import torch

    data = opened.preprocess(image)
    grid = data["image"].as_tensor().float().to(opened.device)
    with torch.inference_mode():
        points = opened.inferer.coarse_points(grid, opened.network)
    world = apply_affine(embed_affine(data["image"].affine, opened.spatial_dims), points)
    true = matched(world, np.ones(len(world)), label, read_instances(opened.root / LANDMARKS)).truth
    lengths = np.linalg.norm(world - true, axis=1)
    return lengths[np.isfinite(lengths)]
