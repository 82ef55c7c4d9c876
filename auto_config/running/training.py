"""Trainings in processes of their own, with MONAI's command line: what is run, and what it says."""

from __future__ import annotations

import configparser
import difflib
import json
import re
import shlex
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from auto_config.errors import UserError
from auto_config.running import child
from auto_config.running.folds import Member, latest, seconds_of_calibration, use_all_folds
from auto_config.running.time_budget import share_of_fold
from auto_config.running.training_lock import training_lock
from auto_config.running.training_log import NOISE, quiet_logging

# Arguments of `monai.bundle run` itself that make sense here; all other names are ids of train.json.
_RUN_ARGUMENTS = ("tracking", "tracking_uri", "experiment_name", "run_name", "logging_file")


def train_folds(
    folder: Path,
    members: Sequence[Member],
    overrides: Mapping[str, Any],
    *,
    seed: int,
    processes: int,
    resume: bool,
    until: float | None,
    started: float,
    debug: bool,
    more_configs: Sequence[Path] = (),
) -> int:
    """Train folds one after the other, while nobody else trains them, and put the weights of several into use.

    Args:
        folder: Of the bundle.
        members: The trainings.
        overrides: Values of ids of ``train.json``.
        seed: Of the first training of each fold.
        processes: For each training, one on each GPU.
        resume: Go on where a training has begun.
        until: Time at which all must have ended, in seconds as `time.time` counts; None for no limit. What is left is
            shared by the trainings that are left, but for what the calibration of those before needs.
        started: Time at which the first began, from which its share counts.
        debug: Show the command and everything that MONAI says.
        more_configs: Files of overrides that are read after those of the bundle.

    Returns:
        The exit status of the first training that failed, else 0.
    """
    kept = 0.0
    with training_lock(folder, [member.name for member in members]) as held:
        for position, member in enumerate(members):
            arguments: dict[str, Any] = {**overrides, **member.overrides(seed)}
            if len(members) > 1:
                arguments["keep_ensemble"] = position > 0
            if until is not None:
                begin = started if position == 0 else time.time()
                arguments["time_budget"] = share_of_fold(until - begin, kept, len(members) - position)
                arguments["started"] = begin
            training = Training(folder, member, arguments, processes, resume, debug, more_configs=tuple(more_configs))
            status = child.report(train_member(training, inherited=held))
            if status != 0:
                return status
            kept += seconds_of_calibration(folder, member.name)
        if len(members) > 1:
            use_all_folds(folder / "models", [member.name for member in members])
    return 0


@dataclass(frozen=True)
class Training:
    """One training of a bundle, for any process or machine.

    Args:
        folder: Of the bundle.
        member: Which one.
        arguments: Values of ids of ``train.json``.
        processes: One on each GPU.
        resume: Go on where it has begun.
        debug: Show the command and everything that MONAI says.
        error_log: File in ``eval`` for the traceback of a failure.
        more_configs: Files of overrides that are read after those of the bundle.
    """

    folder: Path
    member: Member
    arguments: Mapping[str, Any]
    processes: int = 1
    resume: bool = False
    debug: bool = False
    error_log: str = "train_error.log"
    more_configs: tuple[Path, ...] = ()


def train_member(
    training: Training, *, inherited: Sequence[int] = (), environment: Mapping[str, str] | None = None
) -> child.Ended:
    """Run a training to its end.

    Args:
        training: Which one.
        inherited: Descriptors of open files that the training holds open, too: its locks.
        environment: Variables of its process; None for those of this one.
    """
    arguments = dict(training.arguments)
    if training.resume and latest(training.folder, training.member.name).is_file():
        arguments["resume"] = True
    line = command(training.folder, arguments, training.processes, training.more_configs)
    quiet = "logging_file" not in arguments
    return _run(training, line, quiet=quiet, inherited=inherited, environment=environment)


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


def _run(
    training: Training,
    line: list[str],
    *,
    quiet: bool,
    inherited: Sequence[int],
    environment: Mapping[str, str] | None,
) -> child.Ended:
    """Run the training; what MONAI says at its start goes to ``eval/train.log``, unless there is a reason to show it.

    Args:
        training: which one.
        line: the command.
        quiet: nobody chose another file of logging.
        inherited: descriptors of open files that the training holds open, too: its locks.
        environment: variables of its process.
    """
    folder = training.folder
    failed = folder / "eval" / training.error_log
    if training.debug:
        print(shlex.join(line), flush=True)
        return child.follow(line, log=failed, debug=True, inherited=inherited, environment=environment)
    said = folder / "eval" / "train.log"
    said.parent.mkdir(exist_ok=True)
    noise = child.Noise(NOISE, said)
    if not quiet:
        return child.follow(line, log=failed, noise=noise, inherited=inherited, environment=environment)
    with tempfile.TemporaryDirectory() as temporary:
        file = Path(temporary) / "logging.conf"
        try:
            file.write_text(quiet_logging(folder / "configs" / "logging.conf", said), encoding="utf-8")
        except configparser.Error as error:
            reason = " ".join(str(error).split())
            raise UserError(f"{folder / 'configs' / 'logging.conf'}: {reason}; correct it, or remove it") from error
        quiet_line = [*line, f"--logging_file={str(file)!r}"]
        return child.follow(quiet_line, log=failed, noise=noise, inherited=inherited, environment=environment)


def predicts(folder: Path) -> bool:
    """Whether the bundle has what a calibration predicts with."""
    return all((folder / "configs" / name).is_file() for name in ("inference.json", "landmarks.json"))


def calibrate_afterwards(folder: Path, *, until: float | None, debug: bool) -> None:
    """Calibrate in a process of its own; the training was good whatever comes of it.

    Args:
        folder: Of the bundle.
        until: Time at which it should have ended, in seconds as `time.time` counts; None for no limit.
        debug: Show what it says.
    """
    line = [sys.executable, "-m", "auto_config", "calibrate", str(folder)]
    if until is not None:
        line += ["--time_budget", f"{max(1.0, until - time.time()):.1f}s"]
    if child.run(line, log=folder / "eval" / "calibrate_error.log", debug=debug):
        following = f"auto_config calibrate {shlex.quote(str(folder))}"
        print(f"The training ended well, without a calibration; see above, then: {following}")


def read_config(folder: Path, name: str) -> dict[str, Any]:
    """A config file of a bundle.

    Raises:
        UserError: it is not there, or no JSON.
    """
    path = folder / "configs" / name
    if not path.is_file():
        raise UserError(f"{path} does not exist, so {folder} is not a bundle to train: give the folder `create` wrote.")
    try:
        config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path} is not valid JSON ({error}): correct it, or write the bundle again.") from error
    return config


def check_overrides(overrides: Iterable[str], config: Mapping[str, Any], path: Path, options: Iterable[str]) -> None:
    """Refuse names that are neither ids of ``train.json`` nor arguments of MONAI's own command.

    Args:
        overrides: The names.
        config: Content of the config files.
        path: Of ``train.json``, named in the error.
        options: Of the command `train`, one of which may have been meant.

    Raises:
        UserError: A name is neither.
    """
    allowed = [*config, *_RUN_ARGUMENTS]
    for name in overrides:
        top = re.split(r"#|::", name.lstrip("+%"))[0]
        if top not in allowed:
            close = difflib.get_close_matches(top, [*options, *allowed], n=1)
            hint = f"did you mean {close[0]}?" if close else "its top-level names are allowed."
            raise UserError(f"{name} is neither an option nor a name in {path}: {hint}")


def number_of_processes(gpus: int | None) -> int:
    """One for each GPU.

    Raises:
        UserError: `gpus` is no number of at least 1.
    """
    if gpus is None:
        return 1
    if isinstance(gpus, bool) or not isinstance(gpus, int) or gpus < 1:
        raise UserError(f"gpus is {gpus!r}; give the number of GPUs, at least 1.")
    return gpus
