"""Unseen cases spoiled on purpose and predicted by the network that did not see them: what a failure looks like."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from rich.progress import track

from auto_config.bundle.opened import OpenBundle, open_bundle, weights_of_fold
from auto_config.bundle_scripts.grid.grids import embed_affine
from auto_config.bundle_scripts.points.landmarks import PRESENT, UNKNOWN, LandmarkSet
from auto_config.calibration.out_of_fold import (
    OutOfFold,
    joined,
    listed_cases,
    predict_image,
    read_out_of_fold,
    stacked,
    write_out_of_fold,
)
from auto_config.calibration.provenance import prediction_digest
from auto_config.calibration.searching import looks_of
from auto_config.calibration.time_limit import TimeLimit
from auto_config.calibration.verdict import spoilings
from auto_config.calibration.verdict.section import Spoiled
from auto_config.calibration.verdict.spoilings import SPOILINGS, Scan, Spoiling

FILE_NAME = "spoiled.json"
NORMALISE = ("NormalizeChannelsd", "ScaleIntensityRanged")
"""Transforms that normalise grey values, those of MONAI included (`bundle.parts.normalisation`)."""

MOST = 16
"""So many spoiled images are predicted at most, and half as many as there are unseen cases."""

Task = tuple[dict[str, Any], str]
"""An item of a data list, and the name of a spoiling."""


def chosen(items: Sequence[dict[str, Any]]) -> list[Task]:
    """Which cases are spoiled how: few, spread over cases and kinds; always the same ones."""
    count = min(MOST, (len(items) + 1) // 2)
    kinds = list(SPOILINGS)
    return [(items[number * len(items) // count], kinds[number % len(kinds)]) for number in range(count)]


def spoiled_validation_cases(
    root: Path, found: OutOfFold, names: Sequence[str], *, limit: TimeLimit, device: str | None = None
) -> Spoiled | None:
    """Spoiled validation cases of the folds, each predicted by the network that did not see it, and kept.

    Args:
        root: Folder of the bundle.
        found: Its out-of-fold predictions.
        names: Landmarks in channel order.
        limit: Of the time for all folds together.
        device: Such as ``cpu``; None for the bundle's own choice.
    """
    items = [{**item, "fold": fold} for fold in dict.fromkeys(found.folds) for item in listed_cases(root, fold)]
    tasks = chosen(items)
    parts, folds = [], list(dict.fromkeys(item["fold"] for item, _ in tasks))
    for position, fold in enumerate(folds):
        weights = weights_of_fold(root, fold)
        own = [task for task in tasks if task[0]["fold"] == fold]
        digest = _digest(prediction_digest(root, weights), own)
        path = root / "models" / f"fold_{fold}" / FILE_NAME
        kept = read_out_of_fold(path, names, digest)
        if kept is None:
            omitted, share = limit.omitted, 1 / (len(folds) - position)
            kept = _predicted(open_bundle(root, device=device, weights=weights), own, fold, limit, share)
            if kept is None:
                continue
            if not (limit.brief and limit.omitted > omitted):
                write_out_of_fold(path, kept, names, digest)
        parts.append(kept)
    return _of(joined(parts)) if parts else None


def spoiled_other_cases(
    root: Path, items: Sequence[dict[str, Any]], *, limit: TimeLimit, device: str | None = None
) -> Spoiled | None:
    """Spoiled cases of another data set, predicted by all networks in use; see `spoiled_validation_cases`."""
    found = _predicted(open_bundle(root, device=device), chosen(items), None, limit)
    return None if found is None else _of(found)


def spoiled_image(
    opened: OpenBundle, item: dict[str, Any], spoiling: Spoiling, seed: int
) -> tuple[dict[str, Any], LandmarkSet] | None:
    """An image on the planned grid, spoiled before its grey values are normalised, and where its landmarks went.

    Returns:
        None where the preprocessing of the bundle has no such place.
    """
    steps = list(opened.preprocessing.transforms)
    last = next((i for i, step in enumerate(steps) if type(step).__name__ in NORMALISE), None)
    if last is None:
        return None
    files = [str(path) for path in item["image"]]
    data: Any = {"image": files[0] if len(files) == 1 else files}
    for step in steps[:last]:
        data = step(data)
    image = data["image"]
    label = LandmarkSet.from_inline(item["label"], opened.names, spatial_dims=opened.spatial_dims)
    grey, affine = np.asarray(image, dtype=np.float32), embed_affine(image.affine, opened.spatial_dims)
    done = spoiling(Scan(grey, affine, label.points), np.random.default_rng(seed))
    data["image"] = MetaTensor(torch.from_numpy(done.array.astype(np.float32)), meta=dict(image.meta))
    for step in steps[last:]:
        data = step(data)
    # What is outside of the image, or no more, is nothing to compare with.
    there = np.isfinite(done.points).all(axis=1)
    moved = replace(label, points=done.points, status=np.where(there, PRESENT, UNKNOWN).astype(np.int8), instances={})
    return data, moved


def _predicted(
    opened: OpenBundle, tasks: Sequence[Task], fold: int | None, limit: TimeLimit, share: float = 1.0
) -> OutOfFold | None:
    """The predictions of spoiled images; one that the bundle cannot use is left out, as `predict` would say so."""
    items, rows = [], []
    # Other cases were predicted with a search already, and the pace knows it.
    timed = limit.these(tasks, share, 1.0 if fold is None else looks_of(opened))
    for seed, (item, kind) in enumerate(track(timed, description="spoiled cases", total=len(tasks), transient=True)):
        try:
            made = spoiled_image(opened, item, SPOILINGS[kind], seed)
            row = None if made is None else predict_image(opened, *made)[0]
        except (ValueError, RuntimeError):
            continue
        if row is not None:
            items.append({**item, "case": f"{item['case']}: {kind}"})
            rows.append(row)
    return stacked(items, rows, fold) if rows else None


def _of(found: OutOfFold) -> Spoiled:
    return Spoiled(tuple(case.rpartition(": ")[2] for case in found.cases), found)


def _digest(predicted: str, tasks: Sequence[Task]) -> str:
    """What decides kept predictions of spoiled images: weights, labels, and how they are spoiled."""
    content = hashlib.sha256(predicted.encode())
    content.update(Path(spoilings.__file__).read_bytes())
    content.update(json.dumps([[item["case"], item["label"], kind] for item, kind in tasks]).encode())
    return content.hexdigest()
