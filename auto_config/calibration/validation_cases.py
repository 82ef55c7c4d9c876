"""The validation cases of the folds in use, each predicted by the network that did not see it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from auto_config.bundle.opened import fold_of, weight_files, weights_of_fold
from auto_config.calibration.cuts import cut_fold, cut_share
from auto_config.calibration.out_of_fold import FILE_NAME as OUT_OF_FOLD
from auto_config.calibration.out_of_fold import (
    OutOfFold,
    fingerprint_of,
    is_of_these_labels,
    joined,
    listed_cases,
    predict_fold,
    read_out_of_fold,
    write_out_of_fold,
)
from auto_config.calibration.provenance import prediction_digest
from auto_config.calibration.time_limit import TimeLimit
from auto_config.errors import UserError


def validation_cases(root: Path, names: Sequence[str], device: str | None) -> OutOfFold:
    """The predictions of the validation cases of all folds in use, each by the network that did not see it."""
    found = [_out_of_fold(root, fold, names, device) for fold in folds_in_use(root)]
    parts = [part for part in found if part is not None]
    if not parts:
        raise UserError(f"{root}: the folds of its weights have no validation cases, so nothing can be calibrated")
    return joined(parts)


def cut_validation_cases(root: Path, names: Sequence[str], device: str | None, limit: TimeLimit) -> OutOfFold | None:
    """Cuts of the validation cases of all folds in use, each predicted by the network that did not see the case.

    Args:
        root: Folder of the bundle.
        names: Landmarks in channel order.
        device: Such as ``cpu``; None for the bundle's own choice.
        limit: Of the time for all folds together.

    Returns:
        None where the bundle was not trained on cut fields of view, or no cut takes a landmark.
    """
    if not cut_share(root):
        return None
    folds = folds_in_use(root)
    cases = sum(len(listed_cases(root, fold)) for fold in folds)
    shared: dict[str, Any] = {"cases": cases, "folds": len(folds), "limit": limit, "device": device}
    found = [
        cut_fold(root, fold, names, share=1 / (len(folds) - position), **shared) for position, fold in enumerate(folds)
    ]
    parts = [part for part in found if part is not None]
    return joined(parts) if parts else None


def folds_in_use(root: Path) -> list[int]:
    """The folds whose networks the bundle uses: those of ``ensemble.json``, or the one that ``model.pt`` is of.

    Raises:
        UserError: no weights, or weights of no fold, such as those of a training on all cases.
    """
    used = weight_files(root)
    folds = list(dict.fromkeys(fold_of(root, path) or "" for path in used))
    if all(fold.isdecimal() for fold in folds):
        return [int(fold) for fold in folds]
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
    weights = weights_of_fold(root, fold)
    path = root / "models" / f"fold_{fold}" / OUT_OF_FOLD
    digest = prediction_digest(root, weights)
    found = read_out_of_fold(path, names, digest)
    if found is None or not is_of_these_labels(found, root, fold, names):
        found = predict_fold(root, fold, device=device)
        if found is not None:
            write_out_of_fold(path, found, names, digest)
    return found
