"""The learning rate over a training and its validations, for a number of epochs or for an amount of time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import ignite.distributed as idist
from ignite.engine import Engine, Events
from monai.engines import Evaluator
from torch.optim import Optimizer

from .preparation import CachedImages, prepare
from .time_budget import TimeBudget
from .validation import Validation

# With a time budget the clock ends the training, so the number of epochs must only be out of reach.
_EPOCHS_OUT_OF_REACH = 1_000_000


def learning_rate(base: float, progress: float, iteration: int, warm_up: int, power: float) -> float:
    """Polynomial decay to 0 with a linear warm-up: ``base * min(1, iteration / warm_up) * (1 - progress) ** power``.

    Args:
        base: Learning rate without warm-up and decay.
        progress: Part of the training that is done before this step, from 0 to 1.
        iteration: Number of this step, from 1.
        warm_up: Steps until the rate is not reduced any more; 0 for none.
        power: Exponent of the decay; 1 is a straight line.
    """
    warmth = min(1.0, iteration / warm_up) if warm_up > 0 else 1.0
    return float(base * warmth * max(0.0, 1.0 - progress) ** power)


def advance(progress: float, steps_left: int) -> float:
    """Progress after one step when `steps_left` more are expected: reaches exactly 1 when none is left.

    What is left of the way is shared out equally among the step just done and those that are left, so a wrong estimate
    only stretches or shrinks the rest of the curve and never makes it jump.

    Args:
        progress: Progress before the step, from 0 to 1.
        steps_left: Steps that are expected after this one.
    """
    return 1.0 if steps_left <= 0 else progress + (1.0 - progress) / (steps_left + 1)


class Schedule:
    """Sets the learning rate before each step, validates and, with a time budget, ends the training on time.

    Without a budget the progress is ``iteration / (max_epochs * epoch_length)``, read from the trainer's state, which
    is the one place of the number of epochs: the same counts give the same rates, bit for bit, also after a resume, and
    a resume with more epochs goes on as the longer training would. With a budget the progress follows the clock.

    The rate of the first parameter group is also ``trainer.state.learning_rate``, for handlers that draw curves.

    Attach it to the trainer before `Checkpoints`, and after everything that works on its own in a step.

    Args:
        optimizer: Its learning rates are those before warm-up and decay.
        warm_up: Steps of linear warm-up.
        power: Exponent of the polynomial decay.
        evaluator: The engine that validates; needed to know how long the validation at the end will take.
        val_interval: Epochs between validations when there is no time budget, see `Validation`; None leaves validations
            to others.
        time_budget: Seconds from `started` to the end of the process; None trains for `max_epochs`.
        started: When the command began, in seconds since the epoch; None means when this object was made.
        validation_share: Part of the time that validations may take when there is a time budget.
        predictions_after: How often a calibration predicts each validation case within the budget, see `TimeBudget`.
        epochs: Epochs that the rate decays over, for a trainer that runs in rounds and knows those of a round only
            (federated learning); None for those of the trainer.

    Raises:
        ValueError: If `time_budget` is not positive.
    """

    def __init__(
        self,
        *,
        optimizer: Optimizer,
        warm_up: int,
        power: float,
        evaluator: Evaluator | None = None,
        val_interval: int | None = None,
        time_budget: float | None = None,
        started: float | None = None,
        validation_share: float = 0.1,
        predictions_after: float = 0,
        epochs: int | None = None,
    ) -> None:
        self.optimizer = optimizer
        self.warm_up = warm_up
        self.power = power
        self.epochs = epochs
        self.progress = 0.0
        self.budget = None
        if time_budget is not None:
            self.budget = TimeBudget(time_budget, started, evaluator, validation_share, predictions_after)
        self._evaluator = evaluator
        self._validation = None
        if evaluator is not None and val_interval is not None:
            self._validation = Validation(evaluator, val_interval, self)
        self._base = [float(group["lr"]) for group in optimizer.param_groups]

    def attach(self, trainer: Engine) -> None:
        """Take over the learning rate of a training.

        Args:
            trainer: The engine that trains.
        """
        if self._validation is not None:
            self._validation.attach(trainer)
        if self.budget is not None:
            trainer.state.max_epochs = _EPOCHS_OUT_OF_REACH
            self.budget.attach(trainer)
        trainer.add_event_handler(Events.STARTED, self._start)
        trainer.add_event_handler(Events.ITERATION_STARTED, self._set_learning_rate)
        trainer.add_event_handler(Events.ITERATION_COMPLETED, self._advance)

    def prepare(
        self,
        images: CachedImages,
        training: Sequence[Mapping[str, Any]],
        validation: Sequence[Mapping[str, Any]],
        num_workers: int,
    ) -> None:
        """Preprocess all cases before the first step, and find out what a time budget has to leave time for.

        Args:
            images: The cache.
            training: The training cases, ``{"image": path, ...}``.
            validation: The validation cases, likewise.
            num_workers: Processes that preprocess beside this one.

        Raises:
            ValueError: The time budget is too short for this and any training.
        """
        prepare(images, training, validation, num_workers, self._evaluator, self.budget)

    def validation_due(self) -> bool:
        """Whether the budget allows a validation now; the same answer on all processes, all of which must ask."""
        if self.budget is None:
            return False
        return bool(idist.broadcast(float(self.budget.validation_due), src=0))

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps: primitives only."""
        return {"progress": self.progress}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict`.

        Args:
            state: What `state_dict` gave.
        """
        self.progress = float(state["progress"])

    def _start(self, trainer: Engine) -> None:
        """A trainer that runs again (a round of federated learning) has more epochs before it than it had."""
        if self.budget is None and trainer.state.iteration > 0:
            self.progress = trainer.state.iteration / self._total(trainer)

    def _set_learning_rate(self, trainer: Engine) -> None:
        if self.budget is None:
            self.progress = (trainer.state.iteration - 1) / self._total(trainer)
        for group, base in zip(self.optimizer.param_groups, self._base, strict=True):
            group["lr"] = learning_rate(base, self.progress, trainer.state.iteration, self.warm_up, self.power)
        # Where MONAI's handlers find it (`state_attributes` of TensorBoardStatsHandler and MLFlowHandler).
        trainer.state.learning_rate = self.optimizer.param_groups[0]["lr"]

    def _advance(self, trainer: Engine) -> None:
        if self.budget is None:
            self.progress = trainer.state.iteration / self._total(trainer)
            return
        steps_left = int(idist.broadcast(float(self.budget.steps_left), src=0))
        self.progress = advance(self.progress, steps_left)
        if steps_left == 0:
            trainer.terminate()

    def _total(self, trainer: Engine) -> int:
        epochs = trainer.state.max_epochs if self.epochs is None else self.epochs
        return int(epochs * trainer.state.epoch_length)
