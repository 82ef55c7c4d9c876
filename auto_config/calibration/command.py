"""`calibrate`: predict what the networks did not see, and write what that says into the bundle."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from auto_config.bundle.opened import weight_files
from auto_config.bundle_scripts.calibration import FILE_NAME
from auto_config.bundle_scripts.landmark_files import atomic_write_text
from auto_config.bundle_scripts.landmark_names import read_landmark_names
from auto_config.bundle_scripts.landmarks import PRESENT
from auto_config.calibration.document import calibration_document
from auto_config.calibration.out_of_fold import (
    FILE_NAME as OUT_OF_FOLD,
)
from auto_config.calibration.out_of_fold import (
    OutOfFold,
    fingerprint_of,
    is_of_these_labels,
    joined,
    predict_fold,
    read_out_of_fold,
    training_points,
    write_out_of_fold,
)
from auto_config.errors import UserError


def calibrate(
    bundle: str | Path,
    *,
    pooled: bool = False,
    cost: float | None = None,
    device: str | None = None,
) -> int:
    """Calibrate presence and regions of a trained bundle on the validation cases of its folds.

    Each fold's network predicts the cases that it did not see; ``models/fold_<k>/out_of_fold.json`` keeps the
    predictions until the weights change. ``models/calibration.json`` is what `predict` and every server then use.

    Args:
        bundle: Folder of the bundle, where its training images can be read.
        pooled: One region for all landmarks, for bundles with few cases: it holds for a landmark drawn at random.
        cost: What it costs to call an absent landmark present, where calling a present one absent costs 1. None takes
            the thresholds with the best mean F1 of present and absent.
        device: Such as ``cpu``; None for a GPU if there is one.

    Returns:
        0.

    Raises:
        UserError: wrong bundle, no case that the weights in use did not see, or a cost that is not above 0.
    """
    if cost is not None and not (np.isfinite(cost) and cost > 0):
        raise UserError(f"--cost {cost}: must be above 0; 1 makes both mistakes equally bad")
    root = Path(bundle)
    table = _landmarks_file(root)
    names = read_landmark_names(table)
    unit = str(json.loads(table.read_text(encoding="utf-8")).get("unit", "mm"))
    _check_instances(table)
    folds = folds_in_use(root)
    parts = []
    for fold in folds:
        part = _out_of_fold(root, fold, names, device)
        if part is not None:
            parts.append(part)
    if not parts:
        raise UserError(f"{root}: the folds of its weights have no validation cases, so nothing can be calibrated")
    found = joined(parts)
    shapes = training_points(root, names, found.truth.shape[-1])
    document = calibration_document(found, names, shapes, pooled=pooled, cost=cost, ensemble=len(folds) > 1)
    text = json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False)
    atomic_write_text(root / "models" / FILE_NAME, text + "\n")
    _say(document, found, unit, root / "models" / FILE_NAME)
    return 0


def folds_in_use(root: Path) -> list[int]:
    """The folds whose networks the bundle uses: those of ``ensemble.json``, or the one that ``model.pt`` is of.

    Raises:
        UserError: no weights, or weights of no fold, such as those of a training on all cases.
    """
    used = weight_files(root)
    if used[0].parent.name.startswith("fold_"):
        return [int(path.parent.name.removeprefix("fold_")) for path in used]
    wanted = fingerprint_of(used[0])
    for path in sorted((root / "models").glob("fold_*/model.pt")):
        number = path.parent.name.removeprefix("fold_")
        if number.isdecimal() and fingerprint_of(path) == wanted:
            return [int(number)]
    raise UserError(
        f"{used[0]}: was not trained with validation cases (or its folds are gone), so no case is unseen; "
        "train with `--fold 0` or `--fold all`"
    )


def _out_of_fold(root: Path, fold: int, names: Sequence[str], device: str | None) -> OutOfFold | None:
    """The predictions of a fold, from the file where it is of these weights and cases, else made and kept."""
    weights = root / "models" / f"fold_{fold}" / "model.pt"
    path = weights.with_name(OUT_OF_FOLD)
    fingerprint = fingerprint_of(weights)
    found = read_out_of_fold(path, names, fingerprint)
    if found is None or not is_of_these_labels(found, root, fold, names):
        found = predict_fold(root, fold, device=device)
        if found is not None:
            write_out_of_fold(path, found, names, fingerprint)
    return found


def _landmarks_file(root: Path) -> Path:
    path = root / "configs" / "landmarks.json"
    if not path.is_file():
        raise UserError(f"{root}: is no bundle, it has no configs/landmarks.json; give a folder that `create` wrote")
    return path


def _check_instances(table: Path) -> None:
    """Raise UserError where points have no channel of their own, so that presence and regions cannot describe them."""
    rows = json.loads(table.read_text(encoding="utf-8"))["landmarks"]
    if many := [row["name"] for row in rows if row.get("instances") == "many"]:
        raise UserError(f"{table}: an image has any number of {many[0]!r}, which presence and regions cannot describe")
    if pair := [row["name"] for row in rows if row.get("exchangeable")]:
        raise UserError(
            f"{table}: {pair[0]!r} may change places with another, which presence and regions cannot describe"
        )


def _say(document: dict[str, Any], found: OutOfFold, unit: str, path: Path) -> None:
    """The key numbers, lengths in mm or pixels, and every reservation."""
    errors = np.linalg.norm(found.points - found.truth, axis=-1)
    errors = errors[found.status == PRESENT]
    table = Table("level", "ball: median radius", "finite", title=f"{len(found.cases)} unseen cases")
    for level, row in zip(document["levels"], document["regions"]["ball_mm"], strict=True):
        finite = [radius for radius in row if radius is not None]
        radius = f"{np.median(finite):.3g} {unit}" if finite else "-"
        table.add_row(f"{level:.0%}", radius, f"{len(finite)} of {len(row)}")
    console = Console()
    console.print(table)
    lines = [f"mean error out of fold {errors.mean():.3f} {unit} over {errors.size} points"] if errors.size else []
    if presence := document["presence"]:
        lines.append(
            f"presence, of {presence['absent']} absent and {int((found.status == PRESENT).sum())} present landmarks: "
            f"AUROC {presence['auroc']:.3f}, F1 {presence['f1_present']:.3f} present and {presence['f1_absent']:.3f} "
            f"absent, calibration error {presence['expected_calibration_error']:.3f}"
            + (" (each case judged by others)" if presence["judged_by_others"] else "")
        )
    for line in [*lines, *document["notes"], f"{path}: written"]:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
