"""A training that has to end at a given time: how many steps still fit, and when a validation is affordable."""

from __future__ import annotations

import math
import time
from collections import deque

from ignite.engine import Engine, Events

from .end_of_budget import Measured, at_pace, calibration_seconds, seconds_for_steps, shortage

# Long enough to even out a slow step, short enough to follow a machine that gets busy.
_RECENT_STEPS = 50


def steps_left(seconds: float, step_seconds: float) -> int:
    """Number of steps that fit into a time; 0 if less than half of one does.

    Args:
        seconds: Time that is left for steps, in seconds; may be negative.
        step_seconds: Time of one step in seconds, above 0.
    """
    return max(0, math.floor(seconds / step_seconds + 0.5))


def validation_due(  # noqa: PLR0917
    since_last: float, duration: float | None, seconds: float, total: float, share: float, first: bool = False
) -> bool:
    """Say whether to validate now, so that validations take at most about `share` of the time.

    Where nobody knows how long a validation takes, the first one comes early, because only then is it known how long
    the last one will take. Later ones keep a distance of ``duration / share``, and none comes when the one at the end
    is near. The first one may come after half of that distance: an early error is worth it.

    Args:
        since_last: Seconds since the last validation ended, or since the training began.
        duration: Seconds that a validation takes; None if that is not known.
        seconds: Time that is left for steps, in seconds.
        total: Time between the beginning of the training and its end, in seconds.
        share: Part of the time that validations may take, between 0 and 1.
        first: There was none yet.
    """
    early = share / 2 * total
    if duration is None:
        return since_last >= early
    distance = duration / share
    return since_last >= (max(early, distance / 2) if first else distance) and seconds >= distance / 2


class TimeBudget:
    """Watches the time of a command: of its start, of preprocessing, of steps and validations, and plans its end.

    Everything that is not a validation counts as time of steps: loading, stepping, saving, drawing. What follows the
    steps, the last validation and perhaps a calibration, is estimated from what was measured, at the pace of the recent
    steps.

    Args:
        seconds: Time for all from `started` to the end of the command, in seconds, above 0.
        started: When the command began, in seconds since the epoch (`time.time()`); None means now.
        evaluator: The engine whose runs are the validations.
        validation_share: Part of the time that validations may take.
        predictions_after: How often a calibration predicts each validation case after the training, within the time;
            0 where none follows.

    Raises:
        ValueError: If `seconds` is not positive.
    """

    def __init__(
        self,
        seconds: float,
        started: float | None,
        evaluator: Engine | None,
        validation_share: float = 0.1,
        predictions_after: float = 0,
    ) -> None:
        if not seconds > 0:
            raise ValueError(f"time_budget is {seconds}; it must be a number of seconds above 0, or null for none.")
        self.seconds = float(seconds)
        self.started = time.time() if started is None else started
        self.deadline = self.started + seconds
        self.validation_share = validation_share
        self.predictions_after = float(predictions_after)
        self.cases = 0
        self._validated: int | None = None  # of the cases, by this process
        self._evaluator = evaluator
        self._steps: deque[float] = deque(maxlen=_RECENT_STEPS)
        self._first_steps: list[float] = []
        self._counted = 0
        self._begin = self._mark = self._validated_at = time.time()
        self._validation_started = 0.0
        self._start_up: Measured | None = None
        self._preprocessing: Measured | None = None
        self._validation: Measured | None = None
        self._has_validated = False

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

    def begin_preparation(self, cases: int) -> None:
        """The process has started: what that took, another process will take again.

        Args:
            cases: Number of validation cases.
        """
        self._start_up = Measured(max(0.0, time.time() - self.started))
        self.cases = cases

    def preprocessed(self, done: int, total: int, since: float) -> None:
        """Give up where the images that are left to preprocess take all of the time.

        Args:
            done: Images that are preprocessed.
            total: Images that are to be preprocessed.
            since: When the first was begun, in seconds since the epoch.

        Raises:
            ValueError: They do, and what the whole needs.
        """
        expected = (time.time() - since) / done * total
        fixed = since - self.started + expected + (self.calibration_seconds or 0.0)
        if fixed > self.seconds:
            self._refuse(fixed)

    def tried_out(self, preprocessing: float, prediction: float, validated: int | None = None) -> None:
        """One case was preprocessed and predicted: what validations and a calibration will take follows from it.

        Args:
            preprocessing: Seconds to read and preprocess it.
            prediction: Seconds to predict it.
            validated: Cases that this process validates; None for all.
        """
        self._preprocessing = Measured(preprocessing)
        self._validated = self.cases if validated is None else validated
        self._validation = Measured(prediction * self._validated)

    def end_preparation(self) -> None:
        """Give up where what was measured leaves no time for steps.

        Raises:
            ValueError: It does not, and what the whole needs.
        """
        self._refuse(self.seconds - self.seconds_for_steps)

    def _refuse(self, fixed: float) -> None:
        said = shortage(self.seconds, fixed, self.calibration_seconds or 0.0)
        if said is not None:
            raise ValueError(said)

    @property
    def step_seconds(self) -> float | None:
        """Mean time of the recent steps; None before the first one."""
        return sum(self._steps) / len(self._steps) if self._steps else None

    @property
    def validation_seconds(self) -> float:
        """Seconds that a validation takes now; 0 if that is not known."""
        return self._now(self._validation)

    @property
    def calibration_seconds(self) -> float | None:
        """Seconds that a calibration of the validation cases takes in a process of its own; None if none follows."""
        if not self.cases or not self.predictions_after:
            return None
        return self._calibration(self._now(self._start_up))

    @property
    def calibration_of_cases(self) -> float | None:
        """`calibration_seconds` without the start of the process, which several folds share."""
        if self.calibration_seconds is None:
            return None
        return self._calibration(0.0)

    def _calibration(self, start_up: float) -> float:
        validated = self.cases if self._validated is None else self._validated
        one_case = self._now(self._preprocessing) + self.validation_seconds / max(validated, 1)
        return calibration_seconds(start_up, one_case, self.cases, self.predictions_after, self.seconds)

    def _now(self, part: Measured | None) -> float:
        first = sum(self._first_steps) / len(self._first_steps) if self._first_steps else None
        return at_pace(part, first, self.step_seconds)

    @property
    def seconds_left(self) -> float:
        """Seconds until the end of the budget, everything included."""
        return self.deadline - time.time()

    @property
    def seconds_for_steps(self) -> float:
        """Seconds until the steps must end, so that the last validation, the last files and a calibration still fit."""
        return seconds_for_steps(self.seconds_left, self.validation_seconds, self.calibration_seconds or 0.0)

    @property
    def steps_left(self) -> int:
        """Steps that still fit, at the mean time of the recent ones; asked after a step."""
        return steps_left(self.seconds_for_steps, max(self.step_seconds or 0.0, 1e-6))

    @property
    def validation_due(self) -> bool:
        """Whether to validate now."""
        return validation_due(
            time.time() - self._validated_at,
            None if self._validation is None else self.validation_seconds,
            self.seconds_for_steps,
            self.deadline - self._begin,
            self.validation_share,
            first=not self._has_validated,
        )

    def _begin_now(self) -> None:
        self._begin = self._mark = self._validated_at = time.time()

    def _count_step(self) -> None:
        now = time.time()
        self._counted += 1
        if self._counted == 2:
            # The first step also starts workers and fills caches: it counts only as long as there is no other.
            self._steps.clear()
            self._first_steps.clear()
        self._steps.append(now - self._mark)
        if len(self._first_steps) < _RECENT_STEPS:
            self._first_steps.append(now - self._mark)
        self._mark = now

    def _start_validation(self) -> None:
        self._validation_started = time.time()

    def _end_validation(self) -> None:
        now = time.time()
        self._validation = Measured(now - self._validation_started, self.step_seconds)
        self._has_validated = True
        self._validated_at = now
        self._mark += self._validation.seconds
