"""``models/calibration.json``: written from predictions of cases that no network in use has seen."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from auto_config.bundle.opened import weight_files
from auto_config.bundle_scripts.file_names import CALIBRATION as FILE_NAME
from auto_config.bundle_scripts.files.text import atomic_write_text
from auto_config.bundle_scripts.points.instances import read_instances
from auto_config.bundle_scripts.points.landmark_names import read_landmark_names
from auto_config.calibration.document import calibration_document
from auto_config.calibration.out_of_fold import DATALIST, OutOfFold, training_points
from auto_config.calibration.raters.points import RaterPoints
from auto_config.calibration.verdict.section import Spoiled, verdict_section
from auto_config.calibration.verdict.useless import why_useless
from auto_config.errors import UserError
from auto_config.prediction.bundle_shape import mean_offsets

POOLED_NOTE = (
    "few cases are labelled, so all landmarks have one region: it holds for a landmark drawn at random, not for each; "
    "--no_pooled makes one for each"
)

USELESS_NOTE = "no cut and spoiled cases: the model is no better than the mean shape, and they would teach nothing"


def write_calibration(
    root: Path,
    found: OutOfFold,
    *,
    pooled: bool = False,
    cost: float | None = None,
    notes: Sequence[str] = (),
    shapes: np.ndarray | None = None,
    cuts: OutOfFold | None = None,
    spoiled: Spoiled | None = None,
    raters: RaterPoints | None = None,
) -> dict[str, Any]:
    """Write ``models/calibration.json``, atomically.

    Args:
        root: Folder of the bundle.
        found: Predictions of cases that no network in use has seen.
        pooled: One region for all landmarks.
        cost: As for `calibrate`.
        notes: Further reservations about the cases.
        shapes: (N, L, D) world mm of training cases that are not in the bundle's data list.
        cuts: Predictions of their cut fields of view, for presence.
        spoiled: Cases spoiled on purpose, which place the limit between verdicts.
        raters: Points of single raters, of which the regions are to hold any one.

    Returns:
        What was written.
    """
    table = landmarks_file(root)
    names = read_landmark_names(table)
    fold_shapes: dict[int, np.ndarray] = {}
    known = [np.zeros((0, len(names), found.truth.shape[-1]))] if shapes is None else [shapes]
    # A bundle that came without its data list has no training shapes, and its predictions are not checked by them.
    if (root / DATALIST).is_file():
        known.append(training_points(root, names, found.truth.shape[-1]))
        fold_shapes = {fold: training_points(root, names, found.truth.shape[-1], fold) for fold in set(found.folds)}
    every, instances = np.concatenate(known), read_instances(table)
    numbers = calibration_document(
        found,
        names,
        every,
        pooled=pooled,
        cost=cost,
        ensemble=len(weight_files(root)) > 1,
        notes=notes,
        instances=instances,
        cuts=cuts,
        fold_shapes=fold_shapes,
        raters=raters,
    )
    numbers["verdict"] = verdict_section(
        found,
        numbers["presence"],
        every,
        instances=instances,
        offsets=mean_offsets(table, found.truth.shape[-1]),
        ranges=_ranges(root),
        spoiled=spoiled,
    )
    useless = useless_reason(root, found)
    if useless is not None:
        numbers["useless"] = useless
    text = json.dumps(numbers, indent=1, ensure_ascii=False, allow_nan=False)
    atomic_write_text(root / "models" / FILE_NAME, text + "\n")
    return numbers


def useless_reason(root: Path, found: OutOfFold) -> str | None:
    """Why no case of the bundle can be trusted, see `why_useless`.

    Args:
        root: Folder of the bundle.
        found: Predictions of cases that no network in use has seen.
    """
    table = landmarks_file(root)
    return why_useless(found, mean_offsets(table, found.truth.shape[-1]), read_instances(table), _unit(table))


def _unit(table: Path) -> str:
    return str(json.loads(table.read_text(encoding="utf-8")).get("unit", "mm"))


def _ranges(root: Path) -> Any | None:
    """Spacing and extent in training; None in bundles of earlier versions."""
    path = root / "configs" / "verdict.json"
    return json.loads(path.read_text(encoding="utf-8")).get("ranges") if path.is_file() else None


def landmarks_file(root: Path) -> Path:
    """The table of the landmarks of a bundle.

    Raises:
        UserError: there is none.
    """
    path = root / "configs" / "landmarks.json"
    if not path.is_file():
        raise UserError(f"{root}: is no bundle, it has no configs/landmarks.json; give a folder that `create` wrote")
    return path
