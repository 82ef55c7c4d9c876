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
from auto_config.bundle_scripts.instances import read_instances
from auto_config.bundle_scripts.landmark_files import atomic_write_text
from auto_config.bundle_scripts.landmark_names import read_landmark_names
from auto_config.bundle_scripts.landmarks import PRESENT
from auto_config.calibration.document import calibration_document
from auto_config.calibration.instances import detection_lines
from auto_config.calibration.other_cases import CaseSource, other_cases, predict_other_cases
from auto_config.calibration.out_of_fold import (
    DATALIST,
    OutOfFold,
    fingerprint_of,
    is_of_these_labels,
    joined,
    predict_fold,
    read_out_of_fold,
    training_points,
    write_out_of_fold,
)
from auto_config.calibration.out_of_fold import (
    FILE_NAME as OUT_OF_FOLD,
)
from auto_config.calibration.provenance import prediction_digest
from auto_config.datasets.checks.cases import Outside
from auto_config.datasets.formats.shared.options import Coordinates
from auto_config.datasets.reading import Missing
from auto_config.errors import UserError
from auto_config.inspection.problems import counted


def calibrate(
    bundle: str | Path,
    *,
    data: str | Path | None = None,
    pooled: bool = False,
    cost: float | None = None,
    device: str | None = None,
    format: str | None = None,
    split: str | None = None,
    cases: Sequence[str] | None = None,
    missing: Missing = "unknown",
    outside: Outside = "error",
    coordinates: Coordinates | None = None,
    missing_value: str | None = None,
    workers: int | None = None,
) -> int:
    """Calibrate presence and regions of a trained bundle on cases that its networks did not see.

    Without `data`, each fold's network predicts its validation cases; ``models/fold_<k>/out_of_fold.json`` keeps the
    predictions until something changes that decides them. With it, the bundle predicts the cases of another data set
    as `predict` does. ``models/calibration.json`` is what `predict` and every server then use.

    Args:
        bundle: Folder of the bundle; without `data`, where its training images can be read.
        data: Data set with labelled cases that no network saw, in any format that `read_dataset` takes; None
            for the validation cases.
        pooled: One region for all landmarks, for bundles with few cases: it holds for a landmark drawn at random.
        cost: What it costs to call an absent landmark present, where calling a present one absent costs 1. None takes
            the thresholds with the best mean F1 of present and absent.
        device: Such as ``cpu``; None for a GPU if there is one.
        format: Read `data` as this format; None detects it.
        split: Only the cases that `data` puts into ``training`` or ``test``.
        cases: Only these cases of `data`.
        missing: What a name that a case of `data` lacks means, as for `create`.
        outside: ``"absent"`` takes points outside their image as absent, as for `create`.
        coordinates: What the numbers of a table are, as for `create`.
        missing_value: Coordinates that mark a missing point, as for `create`.
        workers: Processes to read the images of `data` with; None for one on each core.

    Returns:
        0.

    Raises:
        UserError: wrong bundle, no case that the weights in use did not see, cases with errors, options of `data`
            without it, or a cost that is not above 0.
    """
    if cost is not None and not (np.isfinite(cost) and cost > 0):
        raise UserError(f"--cost {cost}: must be above 0; 1 makes both mistakes equally bad")
    reading = {"format": format, "split": split, "cases": cases, "coordinates": coordinates, "workers": workers}
    reading["missing_value"] = missing_value
    given = [name for name, value in reading.items() if value is not None]
    given += ["missing"] * (missing != "unknown") + ["outside"] * (outside != "error")
    if data is None and given:
        raise UserError(f"--{given[0]}: says how other cases are read; give these with --data")
    root = Path(bundle)
    table = _landmarks_file(root)
    names = read_landmark_names(table)
    document = json.loads(table.read_text(encoding="utf-8"))
    spatial_dims, unit = int(document["spatial_dims"]), str(document.get("unit", "mm"))
    notes: list[str] = []
    if data is None:
        found = _validation_cases(root, names, device)
    else:
        weight_files(root)  # says that there are none before anything is read
        source = CaseSource(Path(data), missing=missing, outside=outside, **reading)  # type: ignore[arg-type]
        items, notes = other_cases(root, source, names, spatial_dims=spatial_dims, unit=unit)
        found = predict_other_cases(root, items, device=device)
    numbers = write_calibration(root, found, pooled=pooled, cost=cost, notes=notes)
    _say(numbers, found, unit, root / "models" / FILE_NAME)
    return 0


def write_calibration(
    root: Path,
    found: OutOfFold,
    *,
    pooled: bool = False,
    cost: float | None = None,
    notes: Sequence[str] = (),
    shapes: np.ndarray | None = None,
) -> dict[str, Any]:
    """Write ``models/calibration.json``, atomically.

    Args:
        root: Folder of the bundle.
        found: Predictions of cases that no network in use has seen.
        pooled: One region for all landmarks.
        cost: As for `calibrate`.
        notes: Further reservations about the cases.
        shapes: (N, L, D) world mm of training cases that are not in the bundle's data list.

    Returns:
        What was written.
    """
    table = _landmarks_file(root)
    names = read_landmark_names(table)
    known = [np.zeros((0, len(names), found.truth.shape[-1]))] if shapes is None else [shapes]
    # A bundle that came without its data list has no training shapes, and its predictions are not checked by them.
    if (root / DATALIST).is_file():
        known.append(training_points(root, names, found.truth.shape[-1]))
    numbers = calibration_document(
        found,
        names,
        np.concatenate(known),
        pooled=pooled,
        cost=cost,
        ensemble=len(weight_files(root)) > 1,
        notes=notes,
        instances=read_instances(table),
    )
    text = json.dumps(numbers, indent=1, ensure_ascii=False, allow_nan=False)
    atomic_write_text(root / "models" / FILE_NAME, text + "\n")
    return numbers


def _validation_cases(root: Path, names: Sequence[str], device: str | None) -> OutOfFold:
    """The predictions of the validation cases of all folds in use, each by the network that did not see it."""
    found = [_out_of_fold(root, fold, names, device) for fold in folds_in_use(root)]
    parts = [part for part in found if part is not None]
    if not parts:
        raise UserError(f"{root}: the folds of its weights have no validation cases, so nothing can be calibrated")
    return joined(parts)


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
        "train with `--fold 0` or `--fold all`, or give other cases with --data"
    )


def _out_of_fold(root: Path, fold: int, names: Sequence[str], device: str | None) -> OutOfFold | None:
    """The predictions of a fold, from the file where it is of these weights and cases, else made and kept."""
    weights = root / "models" / f"fold_{fold}" / "model.pt"
    path = weights.with_name(OUT_OF_FOLD)
    digest = prediction_digest(root, weights)
    found = read_out_of_fold(path, names, digest)
    if found is None or not is_of_these_labels(found, root, fold, names):
        found = predict_fold(root, fold, device=device)
        if found is not None:
            write_out_of_fold(path, found, names, digest)
    return found


def _landmarks_file(root: Path) -> Path:
    path = root / "configs" / "landmarks.json"
    if not path.is_file():
        raise UserError(f"{root}: is no bundle, it has no configs/landmarks.json; give a folder that `create` wrote")
    return path


def _say(document: dict[str, Any], found: OutOfFold, unit: str, path: Path) -> None:
    """The key numbers, lengths in mm or pixels, and every reservation."""
    errors = np.linalg.norm(found.points - found.truth, axis=-1)
    errors = errors[found.status == PRESENT]
    table = Table("level", "ball: median radius", "finite", title=counted(len(found.cases), "unseen case"))
    for level, row in zip(document["levels"], document["regions"]["ball_mm"], strict=True):
        finite = [radius for radius in row if radius is not None]
        radius = f"{np.median(finite):.3g} {unit}" if finite else "-"
        table.add_row(f"{level:.0%}", radius, f"{len(finite)} of {len(row)}")
    console = Console()
    console.print(table)
    whose = "out of fold" if found.folds else "of the bundle"
    lines = [f"mean error {whose} {errors.mean():.3f} {unit} over {errors.size} points"] if errors.size else []
    if presence := document["presence"]:
        absent = f"{presence['absent']} absent{' or invented' if 'detection' in presence else ''}"
        lines.append(
            f"presence, of {absent} and {int((found.status == PRESENT).sum())} present landmarks: "
            f"AUROC {presence['auroc']:.3f}, F1 {presence['f1_present']:.3f} present and {presence['f1_absent']:.3f} "
            f"absent, calibration error {presence['expected_calibration_error']:.3f}"
            + (" (each case judged by others)" if presence["judged_by_others"] else "")
        )
        lines += detection_lines(presence.get("detection", {}))
    for line in [*lines, *document["notes"], f"{path}: written"]:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
