"""The regions of a prediction, the level sets of its heatmaps (M-R2CCP): as a label map, and each for itself."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

import numpy as np

from auto_config.bundle.opened import OpenBundle
from auto_config.bundle_scripts.file_names import CALIBRATION as FILE_NAME
from auto_config.bundle_scripts.grid.grids import embed_affine
from auto_config.bundle_scripts.inference.calibration import read_calibration
from auto_config.bundle_scripts.points.instances import read_instances
from auto_config.errors import UserError
from auto_config.prediction.densities import densities
from auto_config.prediction.level_set_files import LevelSets

LANDMARKS = "configs/landmarks.json"


def level_sets(opened: OpenBundle, level: float) -> np.ndarray:
    """Smallest density (L,) of a voxel in the region of each landmark; minus infinite where it has none.

    Raises:
        UserError: the bundle is not calibrated, or not at this level, or its method has no level sets.
    """
    path = opened.root / "models" / FILE_NAME
    try:
        calibration = read_calibration(path, opened.names)
        if calibration is None:
            raise UserError(f"{path}: is not there; run `auto_config calibrate {shlex.quote(str(opened.root))}` first")
        bounds = calibration.region("levelset", level)
    except ValueError as error:
        raise UserError(str(error)) from error
    one = ~np.array(read_instances(opened.root / LANDMARKS).many)
    finite = {kind: bool(np.isfinite(rows[:, one]).any()) for kind, rows in calibration.regions.items()}
    if finite["ball_mm"] and not finite["levelset"]:
        why = "its method has none (or its heatmaps are 0 at every true point)"
        if calibration.rater_covariance is not None:
            why = "it was calibrated with single raters, and level sets are of their consensus"
        raise UserError(
            f"{opened.root}: no landmark has a level set at any level, because {why}; omit --regions: balls and "
            "ellipsoids are in the result"
        )
    return bounds


def missing_regions(opened: OpenBundle, bounds: np.ndarray, level: float) -> list[str]:
    """Which landmarks have no region and why, a line for each reason; ``bounds`` are those of `level_sets`."""
    many = np.array(read_instances(opened.root / LANDMARKS).many)
    lines = []
    if names := [opened.names[channel] for channel in np.flatnonzero(many)]:
        lines.append(
            f"{', '.join(names)}: no region is drawn, because one heatmap shows all instances; their balls and "
            "ellipsoids are in the result"
        )
    if without := int((~np.isfinite(bounds[~many])).sum()):
        lines.append(
            f"{without} of {int((~many).sum())} landmarks have no finite region of level {level:g}, and none is drawn: "
            "the calibration cases are too few, or heatmaps too far off"
        )
    return lines


def find_regions(
    opened: OpenBundle, data: Mapping[str, Any], result: Mapping[str, Any], bounds: np.ndarray, level: float
) -> tuple[np.ndarray, LevelSets]:
    """The regions of the landmarks of an image on its planned grid.

    Args:
        opened: The bundle.
        data: What `OpenBundle.preprocess` gave.
        result: What `OpenBundle.predict` made of it; its absent landmarks are not drawn.
        bounds: (L,) of `level_sets`. The region of an exchangeable end is nearer to it than to the other end.
        level: Nominal probability of these bounds.

    Returns:
        Label map (*size), uint8 or uint16, with landmark ``i`` of the channel order as ``i + 1``; where regions
        overlap, a voxel belongs to the one that it lies deeper in. And the whole region of every landmark, present or
        not.
    """
    found = opened.heatmaps(data)
    affine = embed_affine(data["image"].affine, opened.spatial_dims)
    instances = read_instances(opened.root / LANDMARKS)
    density = densities(opened, found, instances, np.linalg.norm(affine[:-1, :-1], axis=0))
    if density is None:
        raise UserError(f"{opened.root}: its method has no level sets, so no regions can be drawn; omit --regions")
    present = {item["name"] for item in result["landmarks"] if item["present"]}
    size = np.array(data["image"].shape[1:])
    labels = np.zeros(size, dtype=np.uint8 if len(density) < 256 else np.uint16)
    deepest = np.zeros(size, dtype=np.float32)
    voxels = [np.zeros((0, opened.spatial_dims), dtype=int) for _ in density]
    for i in np.flatnonzero(np.isfinite(bounds)).tolist():
        heatmap, origin = found.on_planned_grid(density[i], i)
        voxels[i] = np.argwhere(heatmap >= bounds[i]) + origin
        if opened.names[i] not in present:
            continue
        low, high = np.maximum(origin, 0), np.minimum(origin + heatmap.shape, size)
        here = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        depth = heatmap[tuple(slice(a, b) for a, b in zip(low - origin, high - origin, strict=True))] / bounds[i]
        wins = (depth >= 1) & (depth > deepest[here])
        labels[here][wins] = i + 1
        deepest[here][wins] = depth[wins]
    sets = LevelSets(
        names=opened.names,
        level=level,
        affine=affine,
        finite=np.isfinite(bounds),
        landmark=np.repeat(np.arange(len(density)), [len(one) for one in voxels]),
        voxels=np.concatenate(voxels),
    )
    return labels, sets
