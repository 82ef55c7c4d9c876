"""Writes what MONAI's handlers do not: the error of each landmark, pictures, the plan, versions of the code."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import ignite.distributed as idist
import numpy as np
import torch
from ignite.engine import Engine, Events

from ...points.landmark_names import read_landmark_names
from .pictures import prediction_picture
from .versions import code_versions
from .writers import MlflowWriter, TensorBoardWriter, WandbWriter, Writer, checked_wandb

PICTURES_OF_A_TRAINING = 20
"""Validations that are drawn, evenly over the training."""
SECONDS_OF_A_VALIDATION = 2.0
"""After this time no further case of a validation is drawn."""
TEXTS = ("plan", "metadata")


class HasProgress(Protocol):
    """What knows how far the training is, from 0 to 1."""

    progress: float


class Tracker:
    """Handler that follows a training and its validations.

    TensorBoard gets everything in `output_dir`; so does the run of MONAI's MLflow handler where ``--tracking mlflow``
    has added one, and a run of Weights & Biases where `wandb` is set. Loss, learning rate and the metrics over all
    landmarks are in TensorBoard and MLflow by MONAI's own handlers.

    Attach it to the trainer after `Schedule`. Only process 0 writes.

    Args:
        output_dir: folder to write into.
        bundle_root: folder of the bundle, whose ``configs/plan.json`` and ``configs/metadata.json`` are written.
        landmarks: path of ``configs/landmarks.json``.
        evaluator: the engine that validates.
        schedule: knows the progress.
        handlers: of the trainer, among which MONAI's MLflow handler may be.
        pictures: validation cases to draw, the first ones; 0 for none.
        wandb: "offline", "online" or None.
        key_metric: name of the metric with an error for each case and landmark.

    Raises:
        ValueError: `pictures` is below 0, `wandb` is another word, or wandb is not installed.
    """

    def __init__(
        self,
        *,
        output_dir: str,
        bundle_root: str,
        landmarks: str,
        evaluator: Engine,
        schedule: HasProgress,
        handlers: Sequence[Any] = (),
        pictures: int = 2,
        wandb: str | None = None,
        key_metric: str = "mre_mm",
    ) -> None:
        if pictures < 0:
            raise ValueError(f"pictures is {pictures}; give a number of validation cases, 0 for none")
        self.names = tuple(read_landmark_names(landmarks))
        self._folder, self._root = Path(output_dir), Path(bundle_root)
        self._evaluator, self._schedule, self._handlers = evaluator, schedule, handlers
        self._pictures, self._wandb, self._key = pictures, checked_wandb(wandb), key_metric
        self._writers: list[Writer] = []
        self._loss, self._losses = torch.zeros(()), 0
        self._draw_from = 0.0
        self._drawn, self._seconds = 0, 0.0

    def attach(self, trainer: Engine) -> None:
        """Follow a training.

        Args:
            trainer: the engine that trains.
        """
        if idist.get_rank() > 0:
            return
        trainer.add_event_handler(Events.STARTED, self._start)
        trainer.add_event_handler(Events.ITERATION_COMPLETED, self._after_step)
        trainer.add_event_handler(Events.EPOCH_COMPLETED, self._after_epoch)
        trainer.add_event_handler(Events.COMPLETED, self._end)
        self._evaluator.add_event_handler(Events.STARTED, self._begin_validation)
        self._evaluator.add_event_handler(Events.ITERATION_COMPLETED, self._after_case)
        self._evaluator.add_event_handler(Events.COMPLETED, self._after_validation)

    def _start(self, _: Engine) -> None:
        if self._writers:  # a trainer that runs again, as in each round of federated learning
            return
        self._writers.append(TensorBoardWriter(self._folder))
        self._writers += [MlflowWriter(one) for one in self._handlers if getattr(one, "cur_run", None) is not None]
        if self._wandb is not None:
            self._writers.append(WandbWriter(self._wandb, self._folder, self._root.resolve().name))
        texts = {name: path.read_text(encoding="utf-8") for name in TEXTS if (path := self._config(name)).is_file()}
        values = {**code_versions(self._root), **_decisions(texts.get("plan"))}
        for writer in self._writers:
            writer.texts(texts, values)

    def _config(self, name: str) -> Path:
        return self._root / "configs" / f"{name}.json"

    def _after_step(self, trainer: Engine) -> None:
        if all(writer.has_curves for writer in self._writers):
            return
        output = trainer.state.output
        # Summed where it is: to read it the host would wait for the GPU at each step.
        loss = torch.as_tensor((output[0] if isinstance(output, list) else output)["loss"]).detach()
        self._loss = self._loss.to(loss) + loss
        self._losses += 1

    def _after_epoch(self, trainer: Engine) -> None:
        values = {"train_loss": float(self._loss) / max(self._losses, 1)}
        rate = getattr(trainer.state, "learning_rate", None)
        if rate is not None:
            values["learning_rate"] = float(rate)
        self._loss, self._losses = torch.zeros(()), 0
        self._write(values, trainer.state.epoch, curves=True)

    def _begin_validation(self, _: Engine) -> None:
        draws = self._writers and self._schedule.progress >= self._draw_from
        self._drawn = 0 if draws else self._pictures
        if draws:
            self._draw_from = self._schedule.progress + 1.0 / PICTURES_OF_A_TRAINING
        self._seconds = 0.0

    def _after_case(self, evaluator: Engine) -> None:
        if self._drawn >= self._pictures or self._seconds > SECONDS_OF_A_VALIDATION:
            return
        started = time.monotonic()
        for case in evaluator.state.output:
            if self._drawn < self._pictures:
                self._draw(case, evaluator.state.epoch)
                self._drawn += 1
        self._seconds += time.monotonic() - started

    def _draw(self, case: dict[str, Any], epoch: int) -> None:
        image = case["image"]
        count, dims = len(self.names), image.ndim - 1
        true = torch.as_tensor(case["label"]).cpu().numpy()[:count]
        predicted = case["pred"].detach().cpu().numpy()[:count, :dims]
        grey, affine = image.detach().cpu().numpy()[0], np.asarray(image.affine.cpu(), dtype=np.float64)
        affine = np.delete(np.delete(affine, np.s_[dims:-1], 0), np.s_[dims:-1], 1)
        picture = prediction_picture(grey, affine, true, predicted, self.names)
        if picture is not None:
            for writer in self._writers:
                writer.picture(f"validation_case_{self._drawn}", picture, epoch)

    def _after_validation(self, evaluator: Engine) -> None:
        if not self._writers:
            return
        details = getattr(evaluator.state, "metric_details", {}).get(self._key)
        values = {name: float(value) for name, value in evaluator.state.metrics.items()}
        self._write(values, evaluator.state.epoch, curves=True)
        if details is not None:
            errors = landmark_errors(torch.as_tensor(details).cpu().numpy(), self.names)
            self._write(
                {f"landmark_{self._key}/{name}": error for name, error in errors.items()}, evaluator.state.epoch
            )

    def _write(self, values: dict[str, float], step: int, *, curves: bool = False) -> None:
        """Numbers of a step; `curves` are those that MONAI's handlers write where it has any."""
        finite = {name: value for name, value in values.items() if math.isfinite(value)}
        for writer in self._writers if finite else ():
            if not (curves and writer.has_curves):
                writer.scalars(finite, step)

    def _end(self, _: Engine) -> None:
        for writer in self._writers:
            writer.close()
        self._writers = []


def landmark_errors(details: np.ndarray, names: Sequence[str]) -> dict[str, float]:
    """Mean error of each landmark over the cases in which it is present.

    Args:
        details: ``(cases, L)`` mm, NaN where nothing is known; further columns are not of one landmark.
        names: of the L landmarks.

    Returns:
        Landmarks that some case has.
    """
    found = {}
    for index, name in enumerate(names):
        column = details[:, index] if index < details.shape[1] else np.array([])
        known = column[~np.isnan(column)]
        if len(known):
            found[name] = float(known.mean())
    return found


def _decisions(plan: str | None) -> dict[str, str]:
    """Decisions of a plan that are one word or number, as short values."""
    if plan is None:
        return {}
    decisions = json.loads(plan).get("decisions", {})
    short = {name: one["value"] for name, one in decisions.items() if isinstance(one.get("value"), str | int | float)}
    return {f"plan.{name}": str(value) for name, value in short.items()}
