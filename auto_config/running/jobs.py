"""Trainings as jobs, through submitit: side by side on the GPUs of this machine, or on a cluster with Slurm."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from auto_config.bundle_scripts.file_names import PROGRESS
from auto_config.errors import UserError, one_line
from auto_config.running import child
from auto_config.running.folds import Member, seconds_of_calibration, use_all_folds
from auto_config.running.launching import SLURM, Launch
from auto_config.running.time_budget import share_of_fold
from auto_config.running.training import Training, train_member
from auto_config.running.training_lock import training_lock
from auto_config.wording import install_line

FOLDER = "jobs"
_MINUTES_WITHOUT_END = 60 * 24 * 365
_SECONDS_BETWEEN_LOOKS = 2.0
_STEP = 0.1
"""Part of a training after which its progress is said again."""


def submitit_package() -> Any:
    """The package that starts jobs.

    Raises:
        UserError: It is not installed.
    """
    try:
        import submitit
    except ImportError as error:
        raise UserError(
            f"--launcher needs the package submitit, not installed here; {install_line('submitit')}"
        ) from error
    return submitit


def device_slots(devices: Sequence[str], processes: int, jobs: int | None) -> list[str | None]:
    """What each of the jobs that run at a time may see, as ``CUDA_VISIBLE_DEVICES`` says it; None for everything.

    Args:
        devices: GPUs of this machine.
        processes: GPUs of each training.
        jobs: At a time; None for as many as there are GPUs for, one where there is none.

    Raises:
        UserError: More jobs than GPUs, or a training on more GPUs than there are.
    """
    if jobs is not None and (isinstance(jobs, bool) or not isinstance(jobs, int) or jobs < 1):
        raise UserError(f"jobs is {jobs!r}; give the number of trainings that run at a time, at least 1.")
    if not devices:
        return [None] * (jobs or 1)
    groups = [",".join(devices[i : i + processes]) for i in range(0, len(devices) - processes + 1, processes)]
    if len(groups) < (jobs or 1):
        raise UserError(
            f"{jobs or 1} trainings at a time on {processes} GPUs each need {(jobs or 1) * processes} GPUs, and this "
            f"machine has {len(devices)}: give smaller --jobs or --gpus."
        )
    return list(groups[:jobs])


def visible_devices() -> list[str]:
    """The GPUs that this process may use, as ``CUDA_VISIBLE_DEVICES`` calls them."""
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    named = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    return named[:count] if len(named) >= count else [str(number) for number in range(count)]


def train_in_job(training: Training, devices: str | None) -> tuple[int, str | None]:
    """What a job does: train, while nobody else trains the same.

    Args:
        training: Which one.
        devices: ``CUDA_VISIBLE_DEVICES`` of the training; None leaves it as it is.

    Returns:
        Its exit status, and why it failed in one line, where that is known.
    """
    environment = dict(os.environ)
    if devices is not None:
        environment["CUDA_VISIBLE_DEVICES"] = devices
    try:
        with training_lock(training.folder, [training.member.name]) as held:
            ended = train_member(training, inherited=held, environment=environment)
    except UserError as error:
        return 2, str(error)
    child.report(ended)
    return ended.status, ended.message


def train_as_jobs(trainings: Sequence[Training], launch: Launch, until: float | None) -> int:
    """Train several members as jobs, say what becomes of each in one line, and put all into use.

    Args:
        trainings: Of one bundle.
        launch: How.
        until: Time at which all must have ended, as `time.time` counts: those on this machine share it round by round,
            each job of Slurm has it from its own start. None for no limit.

    Returns:
        0 where all ended well, 2 where one failed or after SIGTERM, 130 after Ctrl-C.
    """
    submitit = submitit_package()
    folder, began = trainings[0].folder, time.time()
    with training_lock(folder, [one.member.name for one in trainings]):
        pass  # says that somebody trains it, before anything is started
    place = folder / "eval" / FOLDER
    place.mkdir(parents=True, exist_ok=True)
    # Ids of jobs of this machine come again, and what an earlier one left would be taken for the result of a new one.
    place = Path(tempfile.mkdtemp(dir=place, prefix=time.strftime("%Y%m%d_%H%M%S_")))
    executor = submitit.AutoExecutor(folder=place, cluster=launch.launcher)
    alone = [replace(one, error_log=f"train_error_{one.member.name.replace('/', '_')}.log") for one in trainings]
    if launch.launcher == SLURM:
        executor.update_parameters(**slurm_parameters(launch, trainings[0].processes))
        running = _submitted(executor, alone, None if until is None else until - began)
        work = _Watch(running, folder)
    else:
        slots = device_slots(visible_devices(), trainings[0].processes, launch.jobs)
        executor.update_parameters(timeout_min=_MINUTES_WITHOUT_END, name="train")
        work = _Watch({}, folder)
    failed: list[Member] = []
    try:
        ends = work.ends() if launch.launcher == SLURM else _in_slots(executor, alone, slots, work, until)
        with _on_sigterm(work.end):
            failed = [member for member, status in ends if status]
    except _TerminatedError:
        work.stop(launch.launcher)
        print("error: ended by SIGTERM", file=sys.stderr, flush=True)
        return 2
    except KeyboardInterrupt:
        work.stop(launch.launcher)
        return child.STOPPED_BY_CTRL_C
    if failed:
        names = "; ".join(map(str, failed))
        print(f"error: not trained: {names}; see above, then go on with --resume", file=sys.stderr, flush=True)
        return 2
    if len(trainings) > 1:
        use_all_folds(folder / "models", [one.member.name for one in trainings])
    return 0


def slurm_parameters(launch: Launch, processes: int) -> dict[str, Any]:
    """Parameters of submitit for a job of Slurm; what nobody gave is left to Slurm.

    Args:
        launch: How.
        processes: GPUs of each training.
    """
    given = {
        "slurm_partition": launch.partition,
        "mem_gb": launch.memory_gb,
        "timeout_min": launch.minutes,
        "slurm_additional_parameters": dict(launch.options) or None,
    }
    chosen = {name: value for name, value in given.items() if value is not None}
    return {"name": "train", "nodes": 1, "tasks_per_node": 1, "gpus_per_node": processes, **chosen}


def _submitted(executor: Any, trainings: Sequence[Training], seconds: float | None) -> dict[Member, Any]:
    """Jobs of one array."""
    with executor.batch():
        jobs = {one.member: executor.submit(train_in_job, _with_budget(one, seconds), None) for one in trainings}
    for member, job in jobs.items():
        print(f"{member}: job {job.job_id} submitted", flush=True)
    return jobs


def _with_budget(
    training: Training, seconds: float | None, started: float | None = None, calibrated: int = 1
) -> Training:
    """The training with its time, which keeps what the calibration of so many trainings needs, of its own and others'.

    They are calibrated one after the other when all have ended.
    """
    if seconds is None:
        return training
    arguments = {**training.arguments, "time_budget": seconds, "started": started}
    if "predictions_after" in arguments:
        arguments["predictions_after"] *= calibrated
    return replace(training, arguments=arguments)


class _TerminatedError(Exception):
    """SIGTERM came."""


@contextlib.contextmanager
def _on_sigterm(do: Callable[[], None]) -> Iterator[None]:
    """Do something when SIGTERM comes; signals reach the main thread alone."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda *_: do())
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _in_slots(
    executor: Any, trainings: Sequence[Training], slots: Sequence[str | None], work: _Watch, until: float | None
) -> Iterator[tuple[Member, int]]:
    """Keep all slots busy; members with their exit status as they end."""
    waiting, free, where = list(trainings), list(range(len(slots))), {}
    kept, calibrated = 0.0, {}
    while waiting or work.jobs:
        while waiting and free:
            slot, now = free.pop(0), time.time()
            position = len(trainings) - len(waiting)
            left = rounds_left(position, len(trainings), len(slots))
            seconds = None if until is None else share_of_fold(until - now, kept, left)
            first = position - position % len(slots)
            beside = {one.member for one in trainings[first : first + len(slots)]} | set(work.jobs)
            training = _with_budget(waiting.pop(0), seconds, now, len(beside))
            calibrated[training.member] = len(beside)
            work.jobs[training.member] = executor.submit(train_in_job, training, slots[slot])
            where[training.member] = slot
            on = "" if slots[slot] is None else f" on GPU {slots[slot]}"
            print(f"{training.member}: begins{on}", flush=True)
        for member, status in work.look():
            free.append(where[member])
            kept += seconds_of_calibration(trainings[0].folder, member.name) / calibrated[member]
            yield member, status
        work.wait()


def rounds_left(position: int, trainings: int, slots: int) -> int:
    """In how many rounds, this one included, trainings end of which some run at a time.

    Args:
        position: Of the training that begins, from 0.
        trainings: In all.
        slots: That run at a time.
    """
    return -(-trainings // slots) - position // slots


class _Watch:
    """Jobs that run: a line when one has gone a further tenth of its way, and one when it has ended.

    Args:
        jobs: By their members.
        folder: Of the bundle.
    """

    def __init__(self, jobs: dict[Member, Any], folder: Path) -> None:
        self.jobs, self._folder = jobs, folder
        self._told_to_end = False
        self._said: dict[Member, float] = {}
        self._began = time.time()

    def ends(self) -> Iterator[tuple[Member, int]]:
        """Members with their exit status as they end."""
        while self.jobs:
            yield from self.look()
            self.wait()

    def end(self) -> None:
        """Let the next `wait` raise: never between the start of a job and its place among `jobs`."""
        self._told_to_end = True

    def wait(self) -> None:
        """Wait for the next look, where jobs run.

        Raises:
            _TerminatedError: `end` was called.
        """
        if self.jobs:
            time.sleep(_SECONDS_BETWEEN_LOOKS)
        if self._told_to_end:
            raise _TerminatedError

    def look(self) -> list[tuple[Member, int]]:
        """Say what is new; members that have ended since the last look, with their exit status."""
        ended = []
        for member, job in list(self.jobs.items()):
            self._say_progress(member)
            if job.done():
                del self.jobs[member]
                ended.append((member, self._say_end(member, job)))
        return ended

    def stop(self, launcher: str) -> None:
        """End the jobs of this machine; those of Slurm go on."""
        if launcher == SLURM:
            jobs = " ".join(str(job.job_id) for job in self.jobs.values())
            print(f"The jobs go on; `scancel {jobs}` ends them, and --resume puts all into use when they have ended.")
            return
        for job in self.jobs.values():
            # Not `cancel`, which leaves a training a second to end: this is passed on to it.
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(job.job_id), signal.SIGTERM)
        print("The trainings were stopped. They can be continued from their last epochs with --resume.", flush=True)

    def _say_progress(self, member: Member) -> None:
        record = last_record(self._folder / "models" / f"fold_{member.name}" / PROGRESS, self._began)
        if record is None:
            return
        done = float(record.get("progress") or 0.0)
        if done < 1.0 and done >= self._said.get(member, 0.0) + _STEP:
            self._said[member] = done
            print(f"{member}: {progress_line(record)}", flush=True)

    def _say_end(self, member: Member, job: Any) -> int:
        try:
            status, message = job.result()
        except Exception as error:  # whatever submitit makes of a job that was killed, or of one that Slurm refused
            status, message = 2, one_line(error).partition("---")[0][:300]
        if status == 0:
            record = last_record(self._folder / "models" / f"fold_{member.name}" / PROGRESS, 0.0)
            print(f"{member}: has ended" + ("" if record is None else f": {progress_line(record)}"), flush=True)
            return 0
        why = message or f"exit status {status}"
        print(f"error: {member}: failed: {why}; what it said is in {job.paths.stderr}", file=sys.stderr, flush=True)
        return int(status)


def last_record(path: Path, since: float) -> dict[str, Any] | None:
    """The last line of a ``progress.jsonl``; None where there is none, or none that was written since a time.

    Args:
        path: The file.
        since: In seconds since the epoch.
    """
    try:
        if path.stat().st_mtime < since:
            return None
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8").splitlines()[-1])
        return found
    except (OSError, ValueError, IndexError):
        return None


def progress_line(record: Mapping[str, Any]) -> str:
    """A line of ``progress.jsonl`` for people.

    Args:
        record: Its content.
    """
    parts = [f"{100 * float(record.get('progress') or 0.0):.0f} %"]
    last = next((value for name, value in record.items() if name.startswith("mre_")), None)
    best = next((value for name, value in record.items() if name.startswith("best_mre_")), None)
    if last is not None:
        parts.append(f"error {last:.3f}")
    if best is not None:
        parts.append(f"best {best:.3f}")
    if (left := record.get("seconds_left")) and record.get("progress", 0.0) < 1.0:
        parts.append(f"about {left / 60:.0f} min left")
    return ", ".join(parts)
