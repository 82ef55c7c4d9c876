"""`train`: calls MONAI's own command line with the right files and overrides."""

import sys
import time
from inspect import signature
from pathlib import Path
from typing import Any

from auto_config.arguments import Names, Place
from auto_config.choices import Jitter
from auto_config.errors import UserError


def train(
    bundle: Place,
    *,
    fold: int | str = 0,
    max_epochs: int | None = None,
    time_budget: str | float | None = None,
    resume: bool = False,
    gpus: int | None = None,
    tracking: str | None = None,
    seeds: int | None = None,
    launcher: str | None = None,
    jobs: int | None = None,
    partition: str | None = None,
    time_limit: str | float | None = None,
    memory_gb: float | None = None,
    sbatch: Names | None = None,
    jitter: Jitter = "gaussian",
    self_training: bool = False,
    calibrate: bool = True,
    overwrite: bool = False,
    debug: bool = False,
    **overrides: Any,
) -> int:
    """Train a bundle: `python -m monai.bundle run training` with the right files.

    models/model.pt holds the best weights (--keep last: the last ones) from the first validation on; training may be
    stopped and resumed any time.

    Args:
        bundle: the folder that `create` wrote
        fold: fold to validate on; all: one training after the other, averaged by `predict`; none: train on all cases
        max_epochs: number of epochs instead of the plan's
        time_budget: time of the whole command, calibration included, which the schedule is fitted to: 15m, 1h30m, 90s
        resume: go on where the last training stopped
        gpus: number of GPUs of each training, which share its batch; one process if not given
        tracking: mlflow, wandb (a folder on this machine, sent nowhere), wandb-online, or a file of MONAI's settings;
            TensorBoard in eval/ always
        seeds: number of trainings of each fold that differ by their seed, averaged by `predict`
        launcher: local or slurm: the trainings are jobs, side by side on the GPUs of this machine or of a cluster
        jobs: how many run at a time with --launcher local; one for each GPU (of GPUS each), or one without GPUs
        partition: of Slurm
        time_limit: after which Slurm ends a job: 8h
        memory_gb: main memory of a job of Slurm
        sbatch: further options of Slurm: qos=high,account=lab
        jitter: out_of_fold: crops of the fine stage lie as far from landmarks as the coarse stage of the training that
            is replaced (--overwrite) put them in its validation cases; gaussian: as planned
        self_training: a second round, from the weights of the first: also on the scans of `create --unlabelled`, where
            the verdict on their prediction is ok; its weights are used unless they are clearly worse in validation
        calibrate: learn presence and regions from the validation cases afterwards
        overwrite: replace the weights of an earlier training of this fold
        debug: print the command that is run, and what MONAI says at its start, which else goes to eval/train.log
        overrides: any other id of configs/train.json: --learning_rate=0.001 --train#trainer#max_epochs=3

    Returns:
        The exit status of the training: 0 if it ended well, 2 after an error, 130 after Ctrl-C.

    Raises:
        UserError: an argument is wrong, the bundle cannot be trained, or is being trained.

    Examples:
        auto_config train brain_landmarks --time_budget 15m
        auto_config train brain_landmarks --fold all
        auto_config train brain_landmarks --fold all --launcher slurm --partition gpu --time_limit 12h
        auto_config train brain_landmarks --seeds 5
        auto_config train brain_landmarks --resume
        auto_config train brain_landmarks --batch_size 1 --amp false
    """
    from auto_config.bundle.shared_numbers import disagreement
    from auto_config.memory.enough import before_training
    from auto_config.rounds.files import check_resume, forget_rounds
    from auto_config.running.experiments import tracking_overrides
    from auto_config.running.folds import check_nothing_is_lost, folds_of, latest, members_of, parse_fold
    from auto_config.running.launching import launch_options
    from auto_config.running.time_budget import PREDICTIONS_OF_A_CASE, parse_time_budget, spoken
    from auto_config.running.training import (
        Training,
        calibrate_afterwards,
        check_overrides,
        number_of_processes,
        predicts,
        read_config,
        train_folds,
    )
    from auto_config.running.training_lock import training_lock

    started = time.time()
    folder = Path(bundle)
    overrides = {**tracking_overrides(tracking), **overrides}
    config = read_config(folder, "train.json")
    processes = number_of_processes(gpus)
    if processes > 1:
        config |= read_config(folder, "multi_gpu_train.json")
    check_overrides(overrides, config, folder / "configs" / "train.json", signature(train).parameters)
    seconds = None if time_budget is None else parse_time_budget(time_budget)
    if max_epochs is not None:
        overrides = {"train#trainer#max_epochs": _checked_epochs(max_epochs, seconds), **overrides}
    folds = parse_fold(fold, folds_of(folder))
    members = members_of(folds, seeds)
    if len(members) > len(folds) and "member" not in config:
        raise UserError(f"{folder}: knows no --seeds, because an earlier version made it; create the bundle again")
    launch = launch_options(launcher, jobs, partition, time_limit, memory_gb, sbatch)
    names = [member.name for member in members]
    begun = [name for name in names if latest(folder, name).is_file()] if resume else []
    if resume and not begun:
        raise UserError(f"{latest(folder, names[0])} does not exist, so there is nothing to resume: train without it.")
    rounds = None
    if self_training or jitter != "gaussian":
        from auto_config.rounds.preparing import wanted_rounds

        given: dict[str, Any] = {"second": self_training, "jitter": jitter, "resume": resume, "overwrite": overwrite}
        rounds = wanted_rounds(folder, config, names, as_jobs=launch is not None, overrides=overrides, **given)
    else:
        check_resume(folder, begun)
    new = [name for name in names if name not in begun]
    if not (overwrite or self_training):  # a second round keeps the better weights
        check_nothing_is_lost(folder, new)
    if (said := disagreement(folder, overrides)) is not None:
        print(f"warning: {said}", file=sys.stderr, flush=True)
    # Jobs of a cluster run on other machines.
    if (launch is None or launch.launcher == "local") and (said := before_training(folder, overrides)) is not None:
        print(f"warning: {said}", file=sys.stderr, flush=True)
    calibrates = calibrate and folds != ["none"] and predicts(folder)
    if calibrates and seconds is not None and "predictions_after" in config:  # bundles of earlier versions have it not
        overrides = {"predictions_after": PREDICTIONS_OF_A_CASE, **overrides}
    seed = _first_seed(overrides.get("seed", config.get("seed", 0))) if any(one.number for one in members) else 0
    until = None if seconds is None else started + seconds
    began = started
    more_configs: list[Path] = []
    if rounds is None:
        with training_lock(folder, new):
            forget_rounds(folder, new)
    else:
        with training_lock(folder, names):
            added, more_configs = rounds.prepare(seconds, started)
        overrides = {**added, **overrides}
        # What was predicted first is no part of the start of a process, by which a calibration is foreseen.
        began = time.time()
    if launch is None:
        shared: dict[str, Any] = {
            "processes": processes,
            "resume": resume,
            "debug": debug,
            "more_configs": more_configs,
        }
        status = train_folds(folder, members, overrides, seed=seed, until=until, started=began, **shared)
    else:
        from auto_config.running.jobs import train_as_jobs

        several = {"keep_ensemble": True} if len(members) > 1 else {}
        trainings = [
            Training(folder, one, {**overrides, **one.overrides(seed), **several}, processes, resume, debug)
            for one in members
        ]
        status = train_as_jobs(trainings, launch, until)
    if status == 0 and rounds is not None:
        rounds.finish()
    if status == 0 and calibrates:
        # In a queue a budget is that of each job, and says nothing of the time that is left here.
        queued = launch is not None and launch.launcher == "slurm"
        calibrate_afterwards(folder, until=None if queued else until, debug=debug)
    if status == 0 and seconds is not None:
        print(f"The whole command took {spoken(time.time() - started)} of {spoken(seconds)}.", flush=True)
    return status


def _first_seed(seed: Any) -> int:
    """The seed that those of further trainings of a fold are counted from.

    Raises:
        UserError: it is no whole number.
    """
    if seed is None or isinstance(seed, bool) or not str(seed).strip().isdecimal():
        raise UserError(
            f"seed is {seed!r}; several trainings differ by their seeds: give a whole number of at least 0."
        )
    return int(seed)


def _checked_epochs(max_epochs: int, seconds: float | None) -> int:
    """The number of epochs, which alone may end the training.

    Raises:
        UserError: it is no number of at least 1, or there is a time budget too.
    """
    if seconds is not None:
        raise UserError("Both max_epochs and time_budget are given; either ends the training: give one of them.")
    if isinstance(max_epochs, bool) or not isinstance(max_epochs, int) or max_epochs < 1:
        raise UserError(f"max_epochs is {max_epochs!r}; give a whole number of at least 1.")
    return max_epochs
