"""The files a training leaves: the best or the last weights, and all that is needed to continue it exactly."""

from __future__ import annotations

import json
import logging
import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ignite.distributed as idist
from ignite.engine import Engine, Events
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from ...file_names import CALIBRATION, ENSEMBLE, LATEST, PROGRESS, SCORE, WEIGHTS
from ...files.errors import naming_the_file
from ...files.text import atomic_write_text
from ...files.weights import atomic_save, read_weights, remove_leftovers
from .resume_state import restore_training_state, training_state, weights_of
from .schedule import Schedule
from .weights_in_use import holds_weights, is_in_ensemble, network_in_use

KEEP_BEST, KEEP_LAST = "best", "last"

LEFTOVER_SECONDS = 600
"""After this time nobody can still be writing a file of weights."""


def _write_json(path: Path, content: dict[str, Any]) -> None:
    with naming_the_file(path):
        atomic_write_text(path, json.dumps(content, indent=4) + "\n")


def is_better(value: float | None, best: float | None) -> bool:
    """Whether there is an error, finite and lower than the best one so far (None if there is none)."""
    return value is not None and math.isfinite(value) and (best is None or value < best)


class Checkpoints:
    """Keeps the best or the last weights and the state of a training in files, and continues from them.

    In ``folder/fold_<fold>``: ``model.pt``, the plain state dict with the lowest `key_metric` so far, or the last one
    validated; ``score.json``, its value and epoch; and ``latest.pt``, the state after the last epoch, from which
    `resume` goes on so that the final weights are those of a training that never stopped, bit for bit where the device
    computes reproducibly. In `folder` itself ``model.pt`` is the same file again, for ``inference.json`` and the
    clients, and ``ensemble.json`` says that it is used alone.

    A training that does not resume removes ``latest.pt``, ``score.json`` and ``progress.jsonl`` of an earlier one when
    it starts. A trainer that runs again, as in each round of federated learning, goes on with its own.

    When there is nothing to validate, the weights are written after each epoch. When the training starts from the
    weights in ``folder/model.pt`` (a client loaded them), or with `keep_better`, the weights in use, one file or the
    ensemble, are validated first, and only better ones replace them; with `keep` "last" the last ones, at the end.
    Only process 0 writes. Attach it to the trainer last: after `Validation` and `Schedule`.

    Args:
        network: The network, plain or wrapped for several processes.
        optimizer: Its optimiser.
        schedule: The schedule of its learning rate.
        evaluator: The engine that validates.
        key_metric: Name of the evaluator's metric, lower is better (mm).
        folder: The folder of weights, ``models`` of the bundle.
        fold: Names the subfolder: number of the fold that validates, or "none".
        member: Names a folder in that of the fold, for further networks of the same fold; None for the first one.
        resume: Continue from ``latest.pt`` if it is there.
        keep_ensemble: Leave ``folder/model.pt`` and ``folder/ensemble.json`` as they are, for one fold of several.
        keep_better: Judge the weights in use also where the training starts from others. Where nothing can judge them,
            they are replaced when the training ends, not after its first epoch.
        keep_tolerance: Share by which others may be worse than the weights in use and replace them all the same: a few
            validation cases do not tell smaller differences, and a training may have a better reason than they.
        keep: "best" keeps the weights with the lowest error, "last" those of the last validation, after the last step.

    Raises:
        ValueError: If `keep` is something else, or `keep_tolerance` below 0.
    """

    def __init__(
        self,
        *,
        network: nn.Module,
        optimizer: Optimizer,
        schedule: Schedule,
        evaluator: Engine,
        key_metric: str,
        folder: str | os.PathLike[str],
        fold: int | str,
        resume: bool = False,
        keep_ensemble: bool = False,
        keep_better: bool = False,
        keep_tolerance: float = 0.0,
        keep: str = KEEP_BEST,
        member: str | None = None,
    ) -> None:
        if keep not in (KEEP_BEST, KEEP_LAST):
            raise ValueError(f"keep is {keep!r}; allowed are {KEEP_BEST!r} and {KEEP_LAST!r}")
        if not keep_tolerance >= 0:
            raise ValueError(f"keep_tolerance is {keep_tolerance!r}; give a share, such as 0.1, or 0")
        self.best: float | None = None
        self.best_epoch: int | None = None
        self.last: float | None = None
        self.last_epoch: int | None = None
        self.to_beat: float | None = None  # error of the weights in use, where they were judged
        self.validations = 0
        self.beside_weights: list[Callable[[Path], None]] = []  # each writes a file into a folder of weights
        self.key_metric = key_metric
        self.fold_folder = Path(folder) / f"fold_{fold}" / (member or "")
        self._network = network.module if isinstance(network, DistributedDataParallel) else network
        self._optimizer = optimizer
        self._schedule = schedule
        self._evaluator = evaluator
        self._folder = Path(folder)
        self._resume = resume
        self._keep_ensemble = keep_ensemble
        self._keep_better, self._keep_tolerance, self._keep = keep_better, float(keep_tolerance), keep
        self._is_unused = False  # the last weights wait for the end of the training
        self._judges_weights_in_use = False
        self._is_saved = True  # nothing was trained since latest.pt was written
        self._logger = logging.getLogger(__name__)

    def attach(self, trainer: Engine) -> None:
        """Write and read the files of a training.

        Args:
            trainer: The engine that trains.
        """
        trainer.add_event_handler(Events.STARTED, self._start)
        trainer.add_event_handler(Events.ITERATION_COMPLETED, self._after_step)
        trainer.add_event_handler(Events.EPOCH_COMPLETED, self._after_epoch)
        trainer.add_event_handler(Events.COMPLETED, self._at_end)
        self._evaluator.add_event_handler(Events.COMPLETED, self._after_validation)

    def _start(self, trainer: Engine) -> None:
        if idist.get_rank() == 0:
            self.fold_folder.mkdir(parents=True, exist_ok=True)
            remove_leftovers(self.fold_folder)
            # A training of another fold may be writing here.
            remove_leftovers(self._folder, before=time.time() - LEFTOVER_SECONDS)
        if trainer.state.iteration > 0:
            return
        latest = self.fold_folder / LATEST
        if self._resume and latest.is_file():
            self._restore(trainer, latest)
        else:
            if not self._resume:
                self._forget_earlier_training(latest)
            else:
                self._logger.warning("There is no %s to resume from: the training starts from its beginning.", latest)
            is_to_beat = self._keep_better or holds_weights(self._folder, weights_of(self._network))
            if is_to_beat and self._evaluator.state.epoch_length != 0:
                self._judge_weights_in_use(trainer)

    def _forget_earlier_training(self, latest: Path) -> None:
        """Or a resume after a kill in the first epoch would go on with it. Its weights stay until there are others."""
        if idist.get_rank() > 0:
            return
        if latest.is_file():
            self._logger.warning("A new training replaces the earlier one in %s, without resume.", latest.parent)
        for name in (LATEST, SCORE, PROGRESS):
            (self.fold_folder / name).unlink(missing_ok=True)

    def _judge_weights_in_use(self, trainer: Engine) -> None:
        """Their error is the one to beat. Nothing is written: they are in use already."""
        in_use = self._network_in_use()
        if in_use is None:
            return
        self._logger.info("The weights in use in %s are validated first; only better ones replace them.", self._folder)
        training, self._evaluator.network = self._evaluator.network, in_use
        self._judges_weights_in_use = True
        try:
            self._evaluator.run(trainer.state.epoch)
        finally:
            self._evaluator.network = training
            self._judges_weights_in_use = False

    def _network_in_use(self) -> nn.Module | None:
        """What ``inference.json`` predicts with; None if there is nothing or it belongs to another network."""
        try:
            return network_in_use(self._folder, self._network)
        except (OSError, RuntimeError, KeyError, TypeError, ValueError) as error:
            reason = str(error).partition("\n")[0]
            self._logger.warning(
                "The weights in %s cannot be used, so any others replace them: %s", self._folder, reason
            )
            return None

    def _after_step(self) -> None:
        self._is_saved = False

    def _after_validation(self, evaluator: Engine) -> None:
        self.validations += 1
        value = evaluator.state.metrics.get(self.key_metric)
        self.last, self.last_epoch = None if value is None else float(value), int(evaluator.state.epoch)
        # Epoch 0 is that of the weights in use.
        is_best = is_better(self.last, self._tolerated(self.best) if self.best_epoch == 0 else self.best)
        if is_best:
            self.best, self.best_epoch = self.last, self.last_epoch
        if self._judges_weights_in_use:
            self.to_beat = self.best
        elif self._keep == KEEP_LAST:
            self._is_unused = self.to_beat is not None
            self._save_weights(into_use=not self._is_unused)
        elif is_best:
            self._save_weights()

    def _after_epoch(self, trainer: Engine) -> None:
        if self._has_nothing_to_validate:
            self._save_weights(into_use=not self._keep_better or not (self._folder / WEIGHTS).is_file())
        self._save_latest(trainer, trainer.state.epoch)

    def _at_end(self, trainer: Engine) -> None:
        if self._has_nothing_to_validate and (self._keep_better or not self._is_saved):
            self._save_weights()
        if self._is_unused and is_better(self.last, self._tolerated(self.to_beat)):
            self._save_weights()
        self._is_unused = False
        if self._is_saved:
            return
        # A time budget ended the training within an epoch. Only whole epochs can be continued, so this one counts as
        # not done: a resume with more epochs trains it again, from these weights.
        self._save_latest(trainer, trainer.state.iteration // trainer.state.epoch_length)

    def _tolerated(self, error: float | None) -> float | None:
        return None if error is None else error * (1 + self._keep_tolerance)

    @property
    def _has_nothing_to_validate(self) -> bool:
        """No validation cases, or a validation without a number. A number that came before stays the one to beat."""
        has_no_cases = self._evaluator.state.epoch_length == 0
        return self.best is None and (has_no_cases or (self.last is not None and not math.isfinite(self.last)))

    @property
    def kept(self) -> tuple[float | None, int | None]:
        """Error of the weights that are kept, None where there is no number, and their epoch."""
        if self._keep == KEEP_BEST:
            return self.best, self.best_epoch
        return (self.last if is_better(self.last, None) else None), self.last_epoch

    def _save_weights(self, into_use: bool = True) -> None:
        if idist.get_rank() > 0:
            return
        weights = weights_of(self._network)
        takes_over = into_use and not self._keep_ensemble
        if takes_over or is_in_ensemble(
            self._folder, (self.fold_folder / WEIGHTS).relative_to(self._folder).as_posix()
        ):
            # A calibration speaks of the weights that it was made for.
            (self._folder / CALIBRATION).unlink(missing_ok=True)
        atomic_save(weights, self.fold_folder / WEIGHTS)
        value, epoch = self.kept
        _write_json(self.fold_folder / SCORE, {"metric": self.key_metric, "value": value, "epoch": epoch})
        for write in self.beside_weights:
            write(self.fold_folder)
        if takes_over:
            # First the list, so that no reader ever averages old folds with new weights.
            _write_json(self._folder / ENSEMBLE, {"files": [WEIGHTS]})
            atomic_save(weights, self._folder / WEIGHTS)
            for write in self.beside_weights:
                write(self._folder)

    def _save_latest(self, trainer: Engine, epoch: int) -> None:
        self._is_saved = True
        if idist.get_rank() > 0:
            return
        state = {
            **training_state(self._network, self._optimizer, self._schedule, trainer),
            "epoch": epoch,
            "best": self.best,
            "best_epoch": self.best_epoch,
            "last": self.last,
            "last_epoch": self.last_epoch,
            "to_beat": self.to_beat,
        }
        atomic_save(state, self.fold_folder / LATEST)

    def _restore(self, trainer: Engine, path: Path) -> None:
        state = read_weights(path)
        restore_training_state(state, path, self._network, self._optimizer, self._schedule, trainer)
        self.best, self.best_epoch, self.last = state["best"], state["best_epoch"], state["last"]
        self.last_epoch, self.to_beat = state.get("last_epoch"), state.get("to_beat")
        if self.best is not None:
            self._evaluator.state.best_metric = self.best
            self._evaluator.state.best_metric_epoch = self.best_epoch
        trainer.state.epoch = state["epoch"]
        trainer.state.iteration = state["epoch"] * trainer.state.epoch_length
        is_out_of_time = self._schedule.budget is not None and self._schedule.progress >= 1.0
        if is_out_of_time or trainer.state.epoch >= trainer.state.max_epochs:
            self._logger.info(
                "The training in %s has ended after %d epochs: nothing to resume. To train longer, give more epochs "
                "(train#trainer#max_epochs).",
                path,
                trainer.state.epoch,
            )
            trainer.terminate()
        else:
            self._logger.info("Resuming from %s after epoch %d.", path, trainer.state.epoch)
