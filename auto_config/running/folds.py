"""The folds of a bundle: which are trained, what they left behind, and how their weights are put into use."""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from auto_config.bundle_scripts.file_names import CALIBRATION, PROGRESS
from auto_config.bundle_scripts.files.text import atomic_write_text
from auto_config.errors import UserError


def parse_fold(fold: int | str, number_of_folds: int | None) -> list[int | str]:
    """Say which trainings a choice of folds means.

    Args:
        fold: A number, "all" or "none".
        number_of_folds: How many folds the bundle has; None if it does not say.

    Returns:
        The folds to train in turn; ``["none"]`` trains on all cases.

    Raises:
        UserError: If there is no such fold.
    """
    text = str(fold).strip().lower()
    if text == "none":
        return ["none"]
    if text == "all":
        if not number_of_folds:
            raise UserError("fold is 'all', but data/datalist.json of the bundle gives no folds: give one number.")
        return list(range(number_of_folds))
    limit = math.inf if number_of_folds is None else number_of_folds
    if not text.isdecimal() or int(text) >= limit:
        allowed = "0 or higher" if number_of_folds is None else f"0 to {number_of_folds - 1}"
        raise UserError(
            f"fold is {fold!r}; give a number ({allowed}), 'all' for each in turn, or 'none' for all cases."
        )
    return [int(text)]


@dataclass(frozen=True)
class Member:
    """One training: of a fold, and with which of several seeds.

    Args:
        fold: Number of the fold, or "none".
        number: 0 for the bundle's own seed, n for n more.
    """

    fold: int | str
    number: int = 0

    @property
    def name(self) -> str:
        """What follows ``models/fold_`` in the path of its folder."""
        return f"{self.fold}/seed_{self.number}" if self.number else str(self.fold)

    def __str__(self) -> str:
        """As messages call it."""
        return f"fold {self.fold}, seed {self.number}" if self.number else f"fold {self.fold}"

    def overrides(self, seed: int) -> dict[str, Any]:
        """Values of ids of ``train.json``.

        Args:
            seed: Of the first training of the fold.
        """
        if not self.number:
            return {"fold": self.fold}
        return {"fold": self.fold, "seed": seed + self.number, "member": f"seed_{self.number}"}


def members_of(folds: Sequence[int | str], seeds: int | None) -> list[Member]:
    """Trainings of some folds, each with some seeds.

    Args:
        folds: Numbers, or ``["none"]``.
        seeds: How many; None for one.

    Raises:
        UserError: `seeds` is no number of at least 1.
    """
    if seeds is None:
        seeds = 1
    if isinstance(seeds, bool) or not isinstance(seeds, int) or seeds < 1:
        raise UserError(f"seeds is {seeds!r}; give the number of trainings that differ by their seed, at least 1.")
    return [Member(fold, number) for fold in folds for number in range(seeds)]


def folds_of(folder: Path) -> int | None:
    """How many folds the data list of a bundle has; None if it does not say."""
    path = folder / "data" / "datalist.json"
    if not path.is_file():
        return None
    cases = json.loads(path.read_text(encoding="utf-8")).get("training", [])
    folds = {case["fold"] for case in cases if case.get("fold") is not None}
    return max(folds) + 1 if folds else None


def latest(folder: Path, fold: int | str) -> Path:
    """The file from which the training of a fold, or of the `Member` of this name, goes on."""
    return folder / "models" / f"fold_{fold}" / "latest.pt"


def seconds_of_calibration(folder: Path, fold: int | str) -> float:
    """Seconds that a training which ended by the clock keeps for the calibration of its cases; 0 if it says nothing."""
    try:
        lines = (folder / "models" / f"fold_{fold}" / PROGRESS).read_text(encoding="utf-8").splitlines()
        return float(json.loads(lines[-1]).get("calibration_seconds") or 0.0)
    except (OSError, ValueError, IndexError, AttributeError, TypeError):
        return 0.0


def check_nothing_is_lost(folder: Path, folds: Sequence[int | str]) -> None:
    """Folds that begin anew must not have been trained; nor may weights that came without their folds be lost.

    Raises:
        UserError: They were, or there are.
    """
    models = folder / "models"
    found = [path for fold in folds for path in (models / f"fold_{fold}" / "model.pt", latest(folder, fold))]
    if not any(models.glob("fold_*/model.pt")):
        found.append(models / "model.pt")
    for path in found if folds else []:
        if path.is_file():
            going_on = "go on with --resume, or " if path.with_name("latest.pt").is_file() else ""
            raise UserError(f"{path} is of an earlier training: {going_on}replace it with --overwrite.")


def use_all_folds(models: Path, folds: Sequence[int | str]) -> None:
    """Make predictions average all folds, and ``model.pt`` the best single one.

    Args:
        models: Folder of weights, ``models`` of the bundle.
        folds: The folds, or the names of the `Member`s, that were trained.

    Raises:
        UserError: If a fold left no weights.
    """
    files = [f"fold_{fold}/model.pt" for fold in folds]
    for file in files:
        if not (models / file).is_file():
            raise UserError(f"{models / file} does not exist, so the folds cannot be averaged: train that fold again.")
    errors = {file: _error_of((models / file).with_name("score.json")) for file in files}
    best = min(files, key=lambda file: errors[file])
    temporary = models / "model.pt.tmp"
    with (models / best).open("rb") as source, temporary.open("wb") as target:
        shutil.copyfileobj(source, target)
        target.flush()
        os.fsync(target.fileno())
    (models / CALIBRATION).unlink(missing_ok=True)  # it speaks of other weights
    temporary.replace(models / "model.pt")
    atomic_write_text(models / "ensemble.json", json.dumps({"files": files}, indent=4) + "\n")


def _error_of(path: Path) -> float:
    value = json.loads(path.read_text(encoding="utf-8"))["value"]
    return math.inf if value is None else float(value)
