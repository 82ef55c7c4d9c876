"""A training that has to end at a given time: how many steps still fit, and when a validation is affordable."""

from __future__ import annotations

import math
import time
from collections import deque

from ignite.engine import Engine, Events

# Writing the last files and leaving Python take about this long.
_CLOSING_SECONDS = 2.0
# Long enough to even out a slow step, short enough to follow a machine that gets busy.
_RECENT_STEPS = 50


def steps_left(seconds: float, step_seconds: float) -> int:
    """Number of steps that fit into a time; 0 if less than half of one does.

    Args:
        seconds: Time that is left for steps, in seconds; may be negative.
        step_seconds: Time of one step in seconds, above 0.
    """
    return max(0, math.floor(seconds / step_seconds + 0.5))


def validation_due(since_last: float, last_duration: float | None, seconds: float, total: float, share: float) -> bool:
    """Say whether to validate now, so that validations take at most about `share` of the time.

    The first validation comes early, because only then is it known how long the last one will take. Later ones keep
    a distance of ``duration / share``, and none comes when the one at the end is near.

    Args:
        since_last: Seconds since the last validation ended, or since the training began.
        last_duration: Seconds that the last validation took; None if there was none.
        seconds: Time that is left for steps, in seconds.
        total: Time between the beginning of the training and its end, in seconds.
        share: Part of the time that validations may take, between 0 and 1.
    """
    if last_duration is None:
        return since_last >= share / 2 * total
    return since_last >= last_duration / share and seconds >= 0.5 * last_duration / share


class TimeBudget:
    """Watches the time of a training and of its validations.

    Everything that is not a validation counts as time of steps: loading, stepping, saving, drawing.

    Args:
        seconds: Time for all from `started` to the end of the process, in seconds, above 0.
        started: When the command began, in seconds since the epoch (`time.time()`); None means now.
        evaluator: The engine whose runs are the validations.
        validation_share: Part of the time that validations may take.

    Raises:
        ValueError: If `seconds` is not positive.
    """

    def __init__(
        self, seconds: float, started: float | None, evaluator: Engine | None, validation_share: float = 0.1
    ) -> None:
        if not seconds > 0:
            raise ValueError(f"time_budget is {seconds}; it must be a number of seconds above 0, or null for none.")
        self.deadline = (time.time() if started is None else started) + seconds
        self.validation_share = validation_share
        self._evaluator = evaluator
        self._steps: deque[float] = deque(maxlen=_RECENT_STEPS)
        self._counted = 0
        self._begin = self._mark = self._validated_at = time.time()
        self._validation_started = 0.0
        self._validation_seconds: float | None = None

    def attach(self, trainer: Engine) -> None:
        """Watch a training and its validations.

        Args:
            trainer: The engine that trains; attach to it before anything that asks.
        """
        trainer.add_event_handler(Events.STARTED, self._begin_now)
        trainer.add_event_handler(Events.ITERATION_COMPLETED, self._count_step)
        if self._evaluator is not None:
            self._evaluator.add_event_handler(Events.STARTED, self._start_validation)
            self._evaluator.add_event_handler(Events.COMPLETED, self._end_validation)

    @property
    def seconds_left(self) -> float:
        """Seconds until the end of the budget, everything included."""
        return self.deadline - time.time()

    @property
    def seconds_for_steps(self) -> float:
        """Seconds until the steps must end, so that the last validation and the last files still fit."""
        return self.seconds_left - _CLOSING_SECONDS - 1.1 * (self._validation_seconds or 0.0)

    @property
    def steps_left(self) -> int:
        """Steps that still fit, at the mean time of the recent ones; asked after a step."""
        return steps_left(self.seconds_for_steps, max(sum(self._steps) / len(self._steps), 1e-6))

    @property
    def validation_due(self) -> bool:
        """Whether to validate now."""
        return validation_due(
            time.time() - self._validated_at,
            self._validation_seconds,
            self.seconds_for_steps,
            self.deadline - self._begin,
            self.validation_share,
        )

    def _begin_now(self) -> None:
        self._begin = self._mark = self._validated_at = time.time()

    def _count_step(self) -> None:
        now = time.time()
        self._counted += 1
        if self._counted == 2:
            # The first step also starts workers and fills caches: it counts only as long as there is no other.
            self._steps.clear()
        self._steps.append(now - self._mark)
        self._mark = now

    def _start_validation(self) -> None:
        self._validation_started = time.time()

    def _end_validation(self) -> None:
        now = time.time()
        self._validation_seconds = now - self._validation_started
        self._validated_at = now
        self._mark += self._validation_seconds
