"""What a person sees while a network trains: a progress bar on a terminal, one line per epoch elsewhere.

The same numbers go to ``progress.jsonl``, for programs.
"""

from __future__ import annotations

import json
import math
import os
import time
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

from ...file_names import PROGRESS
from ...files.errors import naming_the_file
from .checkpoints import Checkpoints
from .mean_shape import MeanShapeError, verdict
from .schedule import Schedule

_REFRESH_SECONDS = 0.5


def duration(seconds: float) -> str:
    """Write a time for people: ``45 s``, ``12 min``, ``3 h 05 min``.

    Args:
        seconds: Time in seconds; below 0 counts as 0.
    """
    seconds = max(0.0, seconds)
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def seconds_left(elapsed: float, begun_at: float, progress: float) -> float | None:
    """Estimate the time a training still needs from the time it took so far; None before its first step.

    Args:
        elapsed: Seconds since this process began to train.
        begun_at: Progress with which it began, from 0 to 1 (above 0 after a resume).
        progress: Progress now.
    """
    done = progress - begun_at
    return elapsed * (1.0 - progress) / done if done > 0 else None


def append_line(path: Path, record: dict[str, Any]) -> None:
    """Append a record to a file of JSON lines; a line that a kill cut short stays a line of its own.

    Args:
        path: its folder must exist.
        record: what JSON can hold; numbers that are not finite become null.
    """
    finite = {name: None if isinstance(x, float) and not math.isfinite(x) else x for name, x in record.items()}
    with naming_the_file(path), path.open("ab+") as stream:
        if stream.tell() > 0:
            stream.seek(-1, 2)
            if stream.read(1) != b"\n":
                stream.write(b"\n")
        stream.write(json.dumps(finite).encode() + b"\n")


class ProgressReport:
    """Shows epoch, loss, error (last and best), learning rate and time left.

    The folder of the fold gets them too, in ``progress.jsonl``: one line when the training begins, one after each epoch
    and one at the end, each ``{"epoch": whole epochs done, "max_epochs": or null with a time budget, "progress": 0 to
    1, "loss", "mre_mm" (of the last validation), "best_mre_mm", "best_epoch", "learning_rate", "seconds",
    "seconds_left", "calibration_seconds"}``, null where not known. The names of the errors are that of the metric, also
    where they are in pixels. "calibration_seconds" of a time budget are kept for the calibration of these cases, beside
    the start of its process.

    Attach it after `Schedule` and `Checkpoints`, so that a line shows the validation of its epoch. Only process 0 shows
    anything.

    Args:
        schedule: Knows the progress.
        checkpoints: Knows the last and the best error.
        console: Where to write; None is the standard output. On a terminal a bar is drawn.
        unit: Of the errors: ``"mm"``, or ``"px"`` for pictures whose pixel size nobody knows.
        evaluator: The engine that validates: the error of the mean shape on its cases stands beside that of the model
            when the training ends. None leaves it out.
        landmarks: Path of ``configs/landmarks.json``, which has the mean shape.
    """

    def __init__(
        self,
        schedule: Schedule,
        checkpoints: Checkpoints,
        console: Console | None = None,
        *,
        unit: str = "mm",
        evaluator: Engine | None = None,
        landmarks: str | os.PathLike[str] | None = None,
    ) -> None:
        self._evaluator = evaluator
        self._mean_shape = None
        if evaluator is not None and landmarks is not None:
            self._mean_shape = MeanShapeError(evaluator, landmarks)
        self._unit = unit
        self._schedule = schedule
        self._checkpoints = checkpoints
        self._console = Console() if console is None else console
        self._bar: Progress | None = None
        self._shown_at = 0.0
        self._started = 0.0
        self._begun_at: float | None = None
        self._loss: float | torch.Tensor = 0.0
        self._losses = 0
        self._validations = 0
        self._median: float | None = None  # of the weights that are kept

    def attach(self, trainer: Engine) -> None:
        """Report on a training.

        Args:
            trainer: The engine that trains.
        """
        if idist.get_rank() > 0:
            return
        trainer.add_event_handler(Events.EPOCH_STARTED, self._start_epoch)
        trainer.add_event_handler(Events.ITERATION_COMPLETED, self._after_step)
        trainer.add_event_handler(Events.EPOCH_COMPLETED, self._after_epoch)
        trainer.add_event_handler(Events.COMPLETED, self._at_end)
        trainer.add_event_handler(Events.EXCEPTION_RAISED, self._after_exception)
        if self._evaluator is not None:
            self._evaluator.add_event_handler(Events.COMPLETED, self._after_validation)

    def line(self, trainer: Engine, error: bool = True, *, left: bool = True) -> str:
        """The state of the training in one line.

        Args:
            trainer: The engine that trains.
            error: With the error of the last validation.
            left: With the time that is left.
        """
        state, percent = trainer.state, 100.0 * self._schedule.progress
        parts = [f"epoch {state.epoch}" + ("" if self._schedule.budget else f"/{state.max_epochs}"), f"{percent:.0f} %"]
        if self._losses:
            parts.append(f"loss {self._mean_loss:.4f}")
        if self._checkpoints.last is not None and error:
            parts.append(f"error {self._checkpoints.last:.3f} {self._unit}")
        if self._checkpoints.best is not None:
            parts.append(f"best {self._checkpoints.best:.3f} {self._unit}")
        parts.append(f"lr {trainer.optimizer.param_groups[0]['lr']:.2e}")
        seconds = self._seconds_left()
        if left and seconds is not None:
            parts.append(f"{duration(seconds)} left")
        return "  ".join(parts)

    def record(self, trainer: Engine) -> dict[str, Any]:
        """The state of the training for programs, a line of ``progress.jsonl``.

        Args:
            trainer: The engine that trains.
        """
        state, checkpoints = trainer.state, self._checkpoints
        return {
            "epoch": state.iteration // state.epoch_length,
            "max_epochs": None if self._schedule.budget else state.max_epochs,
            "progress": self._schedule.progress,
            "loss": self._mean_loss if self._losses else None,
            checkpoints.key_metric: checkpoints.last,
            f"best_{checkpoints.key_metric}": checkpoints.best,
            "best_epoch": checkpoints.best_epoch,
            "learning_rate": trainer.optimizer.param_groups[0]["lr"],
            "seconds": time.time() - self._started,
            "seconds_left": self._seconds_left(),
            "calibration_seconds": (
                None if self._schedule.budget is None else self._schedule.budget.calibration_of_cases
            ),
        }

    @property
    def _mean_loss(self) -> float:
        """Of the steps of this epoch so far."""
        return float(self._loss) / self._losses

    def _seconds_left(self) -> float | None:
        if self._schedule.budget is not None:
            return self._schedule.budget.seconds_left
        return seconds_left(time.time() - self._started, self._begun_at or 0.0, self._schedule.progress)

    def _start_epoch(self, trainer: Engine) -> None:
        if self._begun_at is None:
            self._begun_at, self._started = self._schedule.progress, time.time()
            # Of the file and not of the console: Jupyter asks for colours, where a bar is a new text at each turn.
            if self._console.file.isatty():
                columns = BarColumn(bar_width=20), TaskProgressColumn(), TextColumn("{task.description}")
                self._bar = Progress(*columns, console=self._console, refresh_per_second=2)
                self._bar.add_task("", total=1.0)
                self._bar.start()
            self._write(trainer)
        self._loss, self._losses = 0.0, 0
        self._validations = self._checkpoints.validations

    def _after_step(self, trainer: Engine) -> None:
        output = trainer.state.output
        # Summed where it is: a look at it would make the host wait for a GPU after every step.
        self._loss = self._loss + (output[0] if isinstance(output, list) else output)["loss"]
        self._losses += 1
        if self._bar is not None and time.time() - self._shown_at >= _REFRESH_SECONDS:
            self._draw(self._bar, trainer)

    def _after_validation(self, evaluator: Engine) -> None:
        """Attached after `Checkpoints`, which has decided on these weights."""
        if self._mean_shape is not None and self._checkpoints.kept[1] == evaluator.state.epoch:
            self._median = self._mean_shape.median

    def _after_epoch(self, trainer: Engine) -> None:
        self._write(trainer)
        if self._bar is None:
            self._print(self.line(trainer, error=self._is_new))
        else:
            self._draw(self._bar, trainer)

    def _at_end(self, trainer: Engine) -> None:
        self._close()
        if self._begun_at is not None:
            self._write(trainer)
            ended = "Training has ended" if self._schedule.budget is None else "Training has ended with its time"
            self._print(f"{ended}:  " + self.line(trainer, left=False))
            baseline = None if self._mean_shape is None else self._mean_shape.value
            said = verdict(trainer.state.iteration, self._checkpoints.kept[0], baseline, self._unit, self._median)
            if said is not None:
                self._print(said)
            elif self._evaluator is not None and self._evaluator.state.epoch_length == 0:
                self._print("No case was held out, so nobody knows the error: predict the test cases and evaluate.")
            self._begun_at = None  # a trainer that runs again begins anew

    def _after_exception(self, error: BaseException) -> None:
        self._close()
        if isinstance(error, KeyboardInterrupt):
            self._print("Training was stopped. It can be continued from its last epoch with resume.")
            raise SystemExit(130)
        raise error

    @property
    def _is_new(self) -> bool:
        """Whether this epoch has validated: an error that an earlier epoch had is not that of this one."""
        return self._checkpoints.validations > self._validations

    def _write(self, trainer: Engine) -> None:
        self._checkpoints.fold_folder.mkdir(parents=True, exist_ok=True)
        append_line(self._checkpoints.fold_folder / PROGRESS, self.record(trainer))

    def _draw(self, bar: Progress, trainer: Engine) -> None:
        line = self.line(trainer, error=self._is_new)
        bar.update(bar.task_ids[0], completed=self._schedule.progress, description=line)
        self._shown_at = time.time()

    def _print(self, text: str) -> None:
        self._console.print(text, highlight=False, soft_wrap=True)
        self._console.file.flush()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
