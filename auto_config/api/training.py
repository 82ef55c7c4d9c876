"""Train a bundle, in a process of its own."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from auto_config.bundle_scripts.file_names import WEIGHTS
from auto_config.choices import Jitter
from auto_config.commands.train import train as run_command


class TrainingFailedError(RuntimeError):
    """A training ended with an error; the bundle's ``eval/train_error.log`` has what it said."""


@dataclass(frozen=True)
class Training:
    """What a training left.

    Attributes:
        bundle: folder of the bundle.
        weights: file of the weights that `predict` uses.
        errors: mean error on the validation cases of each fold that has any, in mm (pixels, where their size is not
            known), of the weights that were kept.
    """

    bundle: Path
    weights: Path
    errors: dict[int, float]


def train(
    bundle: str | Path,
    *,
    fold: int | str = 0,
    time_budget: str | float | None = None,
    max_epochs: int | None = None,
    resume: bool = False,
    gpus: int | None = None,
    seeds: int | None = None,
    launcher: str | None = None,
    jitter: Jitter = "gaussian",
    self_training: bool = False,
    calibrate: bool = True,
    overwrite: bool = False,
    **overrides: Any,
) -> Training:
    """Train as `auto_config train` does; what it prints goes to the standard output.

    Args:
        bundle: folder of the bundle.
        fold: fold to validate on, ``"all"`` or ``"none"``.
        time_budget: ``"15m"``, or seconds.
        max_epochs: number of epochs instead of the plan's.
        resume: go on where the last training stopped.
        gpus: number of GPUs of each training.
        seeds: number of trainings of each fold that differ by their seed.
        launcher: ``"local"`` or ``"slurm"`` trains folds and seeds as jobs.
        jitter: ``"out_of_fold"``: crops of the fine stage lie as far from landmarks as the coarse stage of the training
            that is replaced put them in its validation cases.
        self_training: a second round, also on the unlabelled scans of the bundle that it predicts well.
        calibrate: learn presence and regions afterwards.
        overwrite: replace the weights of an earlier training of this fold.
        overrides: other ids of ``train.json``.

    Raises:
        UserError: an argument is wrong, or the bundle cannot be trained.
        TrainingFailedError: it ended with an error.
    """
    folder = Path(bundle)
    status = run_command(
        folder,
        fold=fold,
        time_budget=time_budget,
        max_epochs=max_epochs,
        resume=resume,
        gpus=gpus,
        seeds=seeds,
        launcher=launcher,
        jitter=jitter,
        self_training=self_training,
        calibrate=calibrate,
        overwrite=overwrite,
        **overrides,
    )
    if status:
        raise TrainingFailedError(f"{folder}: the training ended with status {status}; see eval/train_error.log")
    errors = {}
    for path in sorted((folder / "models").glob("fold_*/score.json")):
        number, value = path.parent.name.removeprefix("fold_"), json.loads(path.read_text(encoding="utf-8"))["value"]
        if number.isdigit() and value is not None:
            errors[int(number)] = float(value)
    return Training(folder, folder / "models" / WEIGHTS, errors)
