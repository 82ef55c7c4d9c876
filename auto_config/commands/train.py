"""`train`: calls MONAI's own command line with the right files and overrides."""

from __future__ import annotations

import configparser
import difflib
import inspect
import json
import math
import os
import re
import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from auto_config.bundle_scripts.landmark_files import atomic_write_text
from auto_config.errors import UserError
from auto_config.running import child
from auto_config.running.training_lock import training_lock
from auto_config.running.training_log import NOISE, quiet_logging

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}
_AMOUNT = re.compile(r"(\d+(?:\.\d+)?)\s*([smh])")
_BUDGET = re.compile(rf"(?:{_AMOUNT.pattern}\s*)+")
# Arguments of `monai.bundle run` itself that make sense here; all other names are ids of train.json.
# bundle_scripts.calibration.FILE_NAME; that module imports torch, and this command must be light.
_CALIBRATION = "calibration.json"
_RUN_ARGUMENTS = ("tracking", "tracking_uri", "experiment_name", "run_name", "logging_file")


def train(
    bundle: str | os.PathLike[str],
    *,
    fold: int | str = 0,
    max_epochs: int | None = None,
    time_budget: str | float | None = None,
    resume: bool = False,
    gpus: int | None = None,
    calibrate: bool = True,
    overwrite: bool = False,
    debug: bool = False,
    **overrides: Any,
) -> int:
    """Train a bundle in a process of its own with ``python -m monai.bundle run training``, then calibrate it.

    With ``fold="all"`` the folds are trained one after the other. Meanwhile fold 0 alone is in use; at the end
    ``models/ensemble.json`` lists all folds, and ``models/model.pt`` is the one of the fold with the lowest validation
    error, for clients that load one file. A time budget is then shared by all folds; with `resume`, folds that have
    ended are passed over.

    Args:
        bundle: Folder of the bundle.
        fold: The fold whose cases validate, "all" for each in turn, or "none" to train on all cases without validation.
        max_epochs: Number of epochs; None takes that of the bundle.
        time_budget: Time for everything, such as ``"90s"``, ``"15m"``, ``"1h30m"``, or a number of seconds.
        resume: Go on from the last epoch of an earlier training.
        gpus: Number of GPUs; with more than one, ``multi_gpu_train.json`` runs under torchrun. None means one process.
        calibrate: Afterwards, learn presence and regions from the validation cases; it takes a prediction of each, on
            top of a time budget.
        overwrite: Replace the weights of an earlier training of the same fold.
        debug: Print the command that is run, all that MONAI says, which else goes to ``eval/train.log``, and the
            traceback if it fails.
        **overrides: Values of ids of ``train.json``, such as ``batch_size=4`` or ``train#trainer#amp=False``.

    Returns:
        Exit status of the training: 0 if it ended well, 2 after an error, 130 after Ctrl-C.

    Raises:
        UserError: If an argument is wrong, the bundle cannot be trained, or is being trained.
    """
    started = time.time()
    folder = Path(bundle)
    config = _read_config(folder, "train.json")
    processes = _number_of_processes(gpus)
    if processes > 1:
        config |= _read_config(folder, "multi_gpu_train.json")
    _check_overrides(overrides, config, folder / "configs" / "train.json")
    seconds = None if time_budget is None else parse_time_budget(time_budget)
    if max_epochs is not None:
        if seconds is not None:
            raise UserError("Both max_epochs and time_budget are given; either ends the training: give one of them.")
        if isinstance(max_epochs, bool) or not isinstance(max_epochs, int) or max_epochs < 1:
            raise UserError(f"max_epochs is {max_epochs!r}; give a whole number of at least 1.")
        overrides = {"train#trainer#max_epochs": max_epochs, **overrides}
    folds = parse_fold(fold, _folds_of(folder))
    trains_all = len(folds) > 1
    if resume and not any(_latest(folder, number).is_file() for number in folds):
        raise UserError(f"{_latest(folder, folds[0])} does not exist, so there is nothing to resume: train without it.")
    if not overwrite:
        _check_nothing_is_lost(
            folder, [number for number in folds if not (resume and _latest(folder, number).is_file())]
        )
    with training_lock(folder, folds) as held:
        for position, number in enumerate(folds):
            arguments: dict[str, Any] = {**overrides, "fold": number}
            if resume and _latest(folder, number).is_file():
                arguments["resume"] = True
            if trains_all:
                arguments["keep_ensemble"] = position > 0
            if seconds is not None:
                begin = started if position == 0 else time.time()
                arguments["time_budget"] = max(1.0, (started + seconds - begin) / (len(folds) - position))
                arguments["started"] = begin
            line = command(folder, arguments, processes)
            status = _run(folder, line, debug=debug, quiet="logging_file" not in overrides, inherited=held)
            if status != 0:
                return status
        if trains_all:
            use_all_folds(folder / "models", folds)
    if calibrate and folds != ["none"] and _predicts(folder):
        _calibrate(folder, debug=debug)
    return 0


def _run(folder: Path, line: list[str], *, debug: bool, quiet: bool, inherited: Sequence[int]) -> int:
    """Run the training; what MONAI says at its start goes to ``eval/train.log``, unless there is a reason to show it.

    Args:
        folder: of the bundle.
        line: the command.
        debug: show everything.
        quiet: nobody chose another file of logging.
        inherited: descriptors of open files that the training holds open, too: its locks.
    """
    failed = folder / "eval" / "train_error.log"
    if debug:
        print(shlex.join(line), flush=True)
        return child.run(line, log=failed, debug=True, inherited=inherited)
    said = folder / "eval" / "train.log"
    said.parent.mkdir(exist_ok=True)
    noise = child.Noise(NOISE, said)
    if not quiet:
        return child.run(line, log=failed, noise=noise, inherited=inherited)
    with tempfile.TemporaryDirectory() as temporary:
        file = Path(temporary) / "logging.conf"
        try:
            file.write_text(quiet_logging(folder / "configs" / "logging.conf", said), encoding="utf-8")
        except configparser.Error as error:
            reason = " ".join(str(error).split())
            raise UserError(f"{folder / 'configs' / 'logging.conf'}: {reason}; correct it, or remove it") from error
        quiet_line = [*line, f"--logging_file={str(file)!r}"]
        return child.run(quiet_line, log=failed, noise=noise, inherited=inherited)


def _check_nothing_is_lost(folder: Path, folds: Sequence[int | str]) -> None:
    """Folds that begin anew must not have been trained; nor may weights that came without their folds be lost.

    Raises:
        UserError: They were, or there are.
    """
    models = folder / "models"
    found = [path for fold in folds for path in (models / f"fold_{fold}" / "model.pt", _latest(folder, fold))]
    if not any(models.glob("fold_*/model.pt")):
        found.append(models / "model.pt")
    for path in found if folds else []:
        if path.is_file():
            going_on = "go on with --resume, or " if path.with_name("latest.pt").is_file() else ""
            raise UserError(f"{path} is of an earlier training: {going_on}replace it with --overwrite.")


def _predicts(folder: Path) -> bool:
    """Whether the bundle has what a calibration predicts with."""
    return all((folder / "configs" / name).is_file() for name in ("inference.json", "landmarks.json"))


def _calibrate(folder: Path, *, debug: bool) -> None:
    """Calibrate in a process of its own; the training was good whatever comes of it."""
    line = [sys.executable, "-m", "auto_config", "calibrate", str(folder)]
    if child.run(line, log=folder / "eval" / "calibrate_error.log", debug=debug):
        following = f"auto_config calibrate {shlex.quote(str(folder))}"
        print(f"The training ended well, without a calibration; see above, then: {following}")


def parse_time_budget(text: str | float) -> float:
    """Read an amount of time.

    Args:
        text: ``"90s"``, ``"15m"``, ``"1h"``, ``"1h30m"``, or a number of seconds.

    Returns:
        Seconds, above 0.

    Raises:
        UserError: If it is something else.
    """
    seconds = math.nan
    if isinstance(text, str) and _BUDGET.fullmatch(text.strip().lower()):
        seconds = sum(float(amount) * _UNITS[unit] for amount, unit in _AMOUNT.findall(text.lower()))
    elif not isinstance(text, bool):
        try:
            seconds = float(text)
        except (TypeError, ValueError):
            seconds = math.nan
    if not (math.isfinite(seconds) and seconds > 0):
        raise UserError(f"time_budget is {text!r}; give a time above 0: 90s, 15m, 1h30m, or a number of seconds.")
    return seconds


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


def command(
    folder: Path, arguments: dict[str, Any], processes: int = 1, more_configs: Sequence[Path] = ()
) -> list[str]:
    """The command that trains.

    Args:
        folder: Folder of the bundle.
        arguments: Overrides of ids of ``train.json``.
        processes: With more than one, torchrun starts them.
        more_configs: Files of overrides that are read after those of the bundle.
    """
    configs = [str(folder.resolve() / "configs" / "train.json")]
    launcher = [sys.executable, "-m"]
    if processes > 1:
        configs.append(str(folder.resolve() / "configs" / "multi_gpu_train.json"))
        launcher += ["torch.distributed.run", "--standalone", f"--nproc_per_node={processes}", "-m"]
    configs += [str(path.resolve()) for path in more_configs]
    everything = {"config_file": configs if len(configs) > 1 else configs[0], "bundle_root": str(folder.resolve())}
    # repr, because the command line of MONAI reads values as Python literals: what is text here stays text there.
    flags = [f"--{name}={value!r}" for name, value in {**everything, **arguments}.items()]
    return [*launcher, "monai.bundle", "run", "training", *flags]


def use_all_folds(models: Path, folds: list[int | str]) -> None:
    """Make predictions average all folds, and ``model.pt`` the best single one.

    Args:
        models: Folder of weights, ``models`` of the bundle.
        folds: The folds that were trained.

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
    (models / _CALIBRATION).unlink(missing_ok=True)  # it speaks of other weights
    temporary.replace(models / "model.pt")
    atomic_write_text(models / "ensemble.json", json.dumps({"files": files}, indent=4) + "\n")


def _error_of(path: Path) -> float:
    value = json.loads(path.read_text(encoding="utf-8"))["value"]
    return math.inf if value is None else float(value)


def _read_config(folder: Path, name: str) -> dict[str, Any]:
    path = folder / "configs" / name
    if not path.is_file():
        raise UserError(f"{path} does not exist, so {folder} is not a bundle to train: give the folder `create` wrote.")
    try:
        config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path} is not valid JSON ({error}): correct it, or write the bundle again.") from error
    return config


def _check_overrides(overrides: dict[str, Any], config: dict[str, Any], path: Path) -> None:
    allowed = [*config, *_RUN_ARGUMENTS]
    for name in overrides:
        top = re.split(r"#|::", name.lstrip("+%"))[0]
        if top not in allowed:
            options = inspect.signature(train).parameters
            close = difflib.get_close_matches(top, [*options, *allowed], n=1)
            hint = f"did you mean {close[0]}?" if close else "its top-level names are allowed."
            raise UserError(f"{name} is neither an option nor a name in {path}: {hint}")


def _number_of_processes(gpus: int | None) -> int:
    if gpus is None:
        return 1
    if isinstance(gpus, bool) or not isinstance(gpus, int) or gpus < 1:
        raise UserError(f"gpus is {gpus!r}; give the number of GPUs, at least 1.")
    return gpus


def _folds_of(folder: Path) -> int | None:
    path = folder / "data" / "datalist.json"
    if not path.is_file():
        return None
    cases = json.loads(path.read_text(encoding="utf-8")).get("training", [])
    folds = {case["fold"] for case in cases if case.get("fold") is not None}
    return max(folds) + 1 if folds else None


def _latest(folder: Path, fold: int | str) -> Path:
    return folder / "models" / f"fold_{fold}" / "latest.pt"
