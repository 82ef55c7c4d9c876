"""When a training validates: every few epochs and at the end, or as often as a time budget allows."""

from __future__ import annotations

import time
from typing import Protocol

import ignite.distributed as idist
from ignite.engine import Engine, Events
from monai.engines import Evaluator
from monai.handlers import ValidationHandler

from .time_budget import TimeBudget

EPOCH_SHARE = 0.2
"""Validations between epochs may take this share of the time that is trained, where there is no time budget."""

SHORT_SECONDS = 60.0
"""A validation that takes less is never put off."""


def affordable(seconds: float | None, trained: float) -> bool:
    """Whether a validation between epochs may begin.

    Args:
        seconds: that the last one took; None before the first one.
        trained: seconds since it ended.
    """
    return seconds is None or seconds < SHORT_SECONDS or seconds <= EPOCH_SHARE * trained


class Due(Protocol):
    """What knows when to validate where there is a time budget; None for none."""

    budget: TimeBudget | None

    def validation_due(self) -> bool:
        """Whether the budget allows a validation now."""
        ...


class Validation(ValidationHandler):
    """MONAI's `ValidationHandler` that always validates the last weights too, and that knows about time budgets.

    Without a time budget it validates every `interval` epochs and after the last one; one that would take more than a
    minute and more than `EPOCH_SHARE` of the time trained since the last one waits for the next epoch at which it does
    not. With a budget it validates whenever `Schedule.validation_due` says so and after the last step. A training
    without validation cases is never validated. Whole images take longer than steps, so the first validation is
    announced in one line.

    Args:
        validator: The engine that validates.
        interval: Epochs between validations when there is no time budget, above 0.
        schedule: Knows whether there is a budget.
    """

    def __init__(self, validator: Evaluator, interval: int, schedule: Due) -> None:
        super().__init__(interval=interval, validator=validator)
        self._schedule = schedule
        self._is_current = True  # nothing was trained since the last validation
        self._announced = self._said_late = self._is_late = False
        self._seconds: float | None = None
        self._ended = time.monotonic()

    def attach(self, engine: Engine) -> None:
        """Validate during a training.

        Args:
            engine: The engine that trains.
        """
        engine.add_event_handler(Events.STARTED, self._start)
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
            began = time.monotonic()
            super().__call__(engine)
            self._ended = time.monotonic()
            self._seconds = self._ended - began

    def _announce(self) -> None:
        if not self._announced and idist.get_rank() == 0:
            images = self.validator.state.epoch_length
            many = "1 whole image" if images == 1 else f"{images} whole images"
            many += " in each process" if idist.get_world_size() > 1 else ""
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
        if epoch == engine.state.max_epochs:
            self(engine)
        elif epoch % self.interval == 0 or self._is_late:
            # The same answer on all processes, whose clocks differ.
            allowed = affordable(self._seconds, time.monotonic() - self._ended)
            self._is_late = not bool(idist.broadcast(float(allowed), src=0))
            if self._is_late:
                self._say_late()
            else:
                self(engine)

    def _say_late(self) -> None:
        if not self._said_late and idist.get_rank() == 0 and self._seconds is not None:
            minutes = self._seconds / 60
            print(
                f"A validation takes {minutes:.0f} minutes: they come rarer than planned, so that training has "
                f"{1 / EPOCH_SHARE:.0f} times as long",
                flush=True,
            )
        self._said_late = True

    def _start(self) -> None:
        self._ended = time.monotonic()

    def _at_end(self, engine: Engine) -> None:
        if not self._is_current:
            self(engine)
