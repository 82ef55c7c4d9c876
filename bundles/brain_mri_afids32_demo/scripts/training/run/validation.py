"""When a training validates: every few epochs and at the end, or as often as a time budget allows."""

from __future__ import annotations

from typing import Protocol

import ignite.distributed as idist
from ignite.engine import Engine, Events
from monai.engines import Evaluator
from monai.handlers import ValidationHandler

from .time_budget import TimeBudget


class Due(Protocol):
    """What knows when to validate where there is a time budget; None for none."""

    budget: TimeBudget | None

    def validation_due(self) -> bool:
        """Whether the budget allows a validation now."""
        ...


class Validation(ValidationHandler):
    """MONAI's `ValidationHandler` that always validates the last weights too, and that knows about time budgets.

    Without a time budget it validates every `interval` epochs and after the last one; with one, whenever
    `Schedule.validation_due` says so and after the last step. A training without validation cases is never validated.
    Whole images take longer than steps, so the first validation is announced in one line.

    Args:
        validator: The engine that validates.
        interval: Epochs between validations when there is no time budget, above 0.
        schedule: Knows whether there is a budget.
    """

    def __init__(self, validator: Evaluator, interval: int, schedule: Due) -> None:
        super().__init__(interval=interval, validator=validator)
        self._schedule = schedule
        self._is_current = True  # nothing was trained since the last validation
        self._announced = False

    def attach(self, engine: Engine) -> None:
        """Validate during a training.

        Args:
            engine: The engine that trains.
        """
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._after_step)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._after_epoch)
        engine.add_event_handler(Events.COMPLETED, self._at_end)

    def __call__(self, engine: Engine) -> None:
        """Validate now.

        Args:
            engine: The engine that trains.
        """
        self._is_current = True
        if self.validator.state.epoch_length != 0:
            self._announce()
            super().__call__(engine)

    def _announce(self) -> None:
        if not self._announced and idist.get_rank() == 0:
            images = self.validator.state.epoch_length
            many = "1 whole image" if images == 1 else f"{images} whole images"
            print(f"Validating {many} for the first time; the error is known after that ...", flush=True)
        self._announced = True

    def _after_step(self, engine: Engine) -> None:
        self._is_current = False
        if self._schedule.validation_due():
            self(engine)

    def _after_epoch(self, engine: Engine) -> None:
        if self._schedule.budget is not None:
            return
        epoch = engine.state.epoch
        if epoch % self.interval == 0 or epoch == engine.state.max_epochs:
            self(engine)

    def _at_end(self, engine: Engine) -> None:
        if not self._is_current:
            self(engine)
