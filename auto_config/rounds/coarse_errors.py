"""Errors of the coarse stage of a fold on its validation cases: ``coarse_errors.json`` in the folder of the fold."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from auto_config.bundle.opened import OpenBundle, open_bundle
from auto_config.bundle_scripts.file_names import COARSE_ERRORS, WEIGHTS
from auto_config.bundle_scripts.files.text import atomic_write_text
from auto_config.bundle_scripts.grid.grids import apply_affine, embed_affine
from auto_config.bundle_scripts.points.instances import read_instances
from auto_config.bundle_scripts.points.landmarks import LandmarkSet
from auto_config.calibration.matched import matched
from auto_config.calibration.out_of_fold import LANDMARKS, listed_cases
from auto_config.errors import UserError, one_line
from auto_config.rounds.files import file_of


def require_coarse_stage(folder: Path, fold: int, config: Mapping[str, Any]) -> None:
    """Look whether there can be errors, before any is measured.

    Args:
        folder: of the bundle.
        fold: number of the fold.
        config: content of ``train.json``.

    Raises:
        UserError: the bundle has no coarse stage, an earlier version made it, or the fold is not trained.
    """
    if "jitter_mm" not in config:
        raise UserError(f"{folder}: has one stage, and so no crops that --jitter could be about; omit it")
    if "coarse_errors" not in config:
        raise UserError(f"{folder}: knows no --jitter, because an earlier version made it; create the bundle again")
    if not file_of(folder, fold, WEIGHTS).is_file():
        raise UserError(
            f"{folder}: fold {fold} is not trained, so its coarse stage has no errors yet; train it first without "
            "--jitter, then with --jitter out_of_fold --overwrite"
        )


def measure_coarse_errors(folder: Path, fold: int, device: str | None = None) -> Path:
    """Find the points of the coarse stage in the validation cases of a fold, and keep how far off they are.

    Args:
        folder: of a bundle that `require_coarse_stage` accepts.
        fold: number of the fold.
        device: such as ``cpu``; None for the bundle's own choice.

    Returns:
        The file, written atomically: ``lengths`` in mm of all landmarks and cases together, shortest first.

    Raises:
        UserError: no validation cases with landmarks, or an image that is not there or cannot be predicted.
    """
    from rich.progress import track

    items = listed_cases(folder, fold)
    opened = open_bundle(folder, device=device, weights=[file_of(folder, fold, WEIGHTS)])
    lengths: list[float] = []
    for item in track(items, description="coarse points", transient=True):
        label = LandmarkSet.from_inline(item["label"], opened.names, spatial_dims=opened.spatial_dims)
        try:
            lengths += _lengths(opened, item["image"], label).tolist()
        except Exception as error:  # transforms raise whatever they like over an image that they cannot use
            raise UserError(f"{item['image'][0]}: cannot be predicted ({one_line(error)})") from error
    if not any(lengths):
        raise UserError(f"{folder}: fold {fold} has no validation case with landmarks to measure errors on")
    document = {"cases": len(items), "lengths": sorted(round(length, 4) for length in lengths)}
    path = file_of(folder, fold, COARSE_ERRORS)
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
