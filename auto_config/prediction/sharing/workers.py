"""Images shared by several processes, each with the bundle open on a device of its own."""

from __future__ import annotations

import pickle
import queue
import signal
import sys
import traceback
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from multiprocessing.queues import Queue
from pathlib import Path
from typing import Any

from auto_config.bundle import light_monai
from auto_config.errors import UserError, one_line
from auto_config.prediction.cost import peak_memory
from auto_config.prediction.sharing.job import VOLUMES, Job, Outcome, Predictor
from auto_config.prediction.sharing.starting import begin

_SECONDS_BETWEEN_LOOKS = 1.0
"""So soon it is seen that a process was killed."""
_PATIENCE = 10.0
"""Seconds until a process that was told to end is killed."""


@dataclass(frozen=True)
class _Opened:
    """A process has opened the bundle."""

    number: int
    notes: list[str]


@dataclass(frozen=True)
class _Ended:
    """A process has no image left."""

    number: int
    memory: dict[str, float | None]


@dataclass(frozen=True)
class _Failed:
    """A process cannot go on: the bundle cannot be opened, the disk is full; as texts, not every error is pickled."""

    message: str
    traceback: str


def devices_of(workers: int, device: str | None) -> list[str | None]:
    """The device of each process: a GPU of its own where there are GPUs, else the CPU.

    Args:
        workers: Number of processes.
        device: That the user names; None for the GPUs, or the CPU where there is none.

    Raises:
        UserError: Fewer than 1, or more processes than GPUs.
    """
    if workers < 1:
        raise UserError(f"--workers is {workers}; give 1 or more")
    if workers == 1:
        return [device]
    import torch

    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device == "cpu" or (device is None and not gpus):
        return ["cpu"] * workers
    if device not in (None, "cuda"):
        raise UserError(f"--workers {workers} with --device {device}: each process has a GPU of its own; omit --device")
    if workers > gpus:
        raise UserError(f"--workers {workers}: this machine has {gpus} GPUs; give as many at most, or --device cpu")
    return [f"cuda:{number}" for number in range(workers)]


class Workers:
    """Processes that predict the images of a job.

    Args:
        job: What is wanted.
        devices: That of each process.

    Attributes:
        memory: The largest memory of ``process`` and ``gpu`` in MB, of any process, None where it is not known.
    """

    def __init__(self, job: Job, devices: list[str | None]) -> None:
        self._job, self._devices = job, devices
        self._processes: list[BaseProcess] = []
        self._queues: tuple[Queue[Any], Queue[Any]] | None = None
        self.memory: dict[str, float | None] = {"process": None, "gpu": None}

    def open(self) -> None:
        """Start the processes, and wait until each has opened the bundle; nothing where they are there already.

        What the bundle cannot do of the job is printed on standard error. `predict` ends the processes, as does
        `close`.

        Raises:
            UserError: The bundle cannot be opened, or a process was killed.
        """
        if self._queues is not None:
            return
        context = get_context("spawn")
        tasks: Queue[Any] = context.Queue()
        answers: Queue[Any] = context.Queue()
        self._queues = tasks, answers
        try:
            for number, device in enumerate(self._devices):
                given = (light_monai.is_light(), pickle.dumps(self._job), number, device, len(self._devices))
                process = context.Process(target=begin, args=(*given, tasks, answers))
                process.daemon = True  # ends with this one, however that ends
                process.start()
                self._processes.append(process)
            opened: dict[int, list[str]] = {}
            while len(opened) < len(self._processes):
                answer = self._next(self._processes, answers, set())
                if isinstance(answer, _Opened):
                    opened[answer.number] = answer.notes
        except BaseException:
            self.close()
            raise
        for note in opened[0]:
            print(note, file=sys.stderr)

    def close(self) -> None:
        """End the processes, whatever they do."""
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.join(_PATIENCE)
            if process.exitcode is None:
                process.kill()
                process.join()
        for one in self._queues or ():
            one.cancel_join_thread()
        self._processes, self._queues = [], None

    def predict(self, images: Mapping[str, tuple[Path, ...]]) -> Iterator[Outcome]:
        """Outcomes as they come, of the processes of `open`, which are started where they are not.

        Args:
            images: Files of each case.

        Raises:
            UserError: The bundle cannot be opened, a process was killed, or the job lets errors through.
        """
        self.open()
        assert self._queues is not None
        tasks, answers = self._queues
        try:
            for item in [*images.items(), *[None] * len(self._devices)]:
                tasks.put(item)
            yield from self._answers(self._processes, answers)
        finally:
            self.close()
            _remove_unfinished(self._job.output, images)

    def _answers(self, processes: Sequence[BaseProcess], answers: Queue[Any]) -> Iterator[Outcome]:
        ended: set[int] = set()
        while len(ended) < len(processes):
            answer = self._next(processes, answers, ended)
            if isinstance(answer, Outcome):
                yield answer
            elif isinstance(answer, _Ended):
                ended.add(answer.number)
                self._count(answer.memory)

    def _next(self, processes: Sequence[BaseProcess], answers: Queue[Any], ended: Collection[int]) -> Any:
        """The next answer of a process.

        Raises:
            UserError: One failed, or is gone though it has not `ended`.
        """
        gone: set[int] = set()
        while True:
            try:
                answer = answers.get(timeout=_SECONDS_BETWEEN_LOOKS)
            except queue.Empty:
                found = {number for number, one in enumerate(processes) if one.exitcode is not None} - set(ended)
                # Twice, because the last answer of one may have come just after the wait for it.
                if found & gone:
                    raise UserError(
                        "a process was killed while it predicted, mostly for want of memory; go on with fewer "
                        "--workers and --skip_existing"
                    ) from None
                gone = found
                continue
            if isinstance(answer, _Failed):
                if self._job.debug:
                    print(answer.traceback, end="", file=sys.stderr, flush=True)
                raise UserError(answer.message)
            return answer

    def _count(self, memory: Mapping[str, float | None]) -> None:
        for name, value in memory.items():
            known = [x for x in (self.memory[name], value) if x is not None]
            self.memory[name] = max(known) if known else None


def _remove_unfinished(output: Path, cases: Collection[str]) -> None:
    """Remove what processes that were ended have left of some cases: files that nobody has given their names."""
    if not output.is_dir():
        return
    names = {f".{case}{ending}" for case in cases for ending in VOLUMES}
    for path in output.iterdir():
        whole = path.name[1:].rsplit(".", 2)[0] if path.suffix == ".tmp" else path.name
        if whole in names:
            path.unlink(missing_ok=True)


def work(  # noqa: PLR0917
    job: Job, number: int, device: str | None, processes: int, tasks: Queue[Any], answers: Queue[Any]
) -> None:
    """Predict until there is no image left.

    Args:
        job: What is wanted.
        number: Of this process.
        device: Where it predicts; None for the bundle's own choice.
        processes: How many share the images.
        tasks: Cases with their files, and None at the end.
        answers: What is said to the process that started this one.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the process that started this one, and so this one
    import torch

    from auto_config.bundle_scripts.training.cpu_memory import keep_freed_memory

    keep_freed_memory()
    if device == "cpu":
        torch.set_num_threads(max(1, torch.get_num_threads() // processes))

    def send(answer: Any) -> None:
        pickle.dumps(answer)  # fails here; the thread of a queue drops what it cannot pickle, and nobody hears of it
        answers.put(answer)

    try:
        predictor = Predictor(job, device)
        send(_Opened(number, predictor.notes))
        while (task := tasks.get()) is not None:
            send(predictor.predict(*task))
        predictor.close()
        send(_Ended(number, peak_memory(predictor.device)))
    except Exception as error:
        send(_Failed(one_line(error), traceback.format_exc()))
