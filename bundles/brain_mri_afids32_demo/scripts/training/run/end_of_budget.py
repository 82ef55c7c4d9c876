"""What has to fit behind the last step of a training that ends by the clock: pure functions of measured seconds."""

from __future__ import annotations

import math
from dataclasses import dataclass

CLOSING_SECONDS = 2.0
"""Writing the last files and leaving Python take about this long."""

MARGIN = 1.1
"""A validation may take a tenth longer than the last one that was measured."""

CALIBRATION_MARGIN = 1.2
"""A calibration, of which only the parts were measured, and partly long before, a fifth longer."""

WHOLE_SHARE = 1 / 4.5
"""Part of the predictions of a calibration without which there is none: those of the whole cases."""

LOOKS = 2.0
"""How much longer than a whole case the others take, cut and spoiled ones: many are implausible, and looked at in other
poses. With 1, a training of micro-CTs had time for 2 cuts of 15."""

OPTIONAL_SHARE = 0.15
"""Part of a budget that these may take; the calibration makes as many as fit."""

MOST_SLOWDOWN = 3.0
"""A part is not taken to be slower than this many times what was measured, whatever a few steps say."""

FEWEST_SHARE = 0.1
"""Part of a budget that must be left for steps, or the training is not worth its time."""


@dataclass(frozen=True)
class Measured:
    """A part of a command that was measured.

    Args:
        seconds: That it took.
        step_seconds: Time of a step at that time; None before the first steps.
    """

    seconds: float
    step_seconds: float | None = None


def at_pace(part: Measured | None, first: float | None, now: float | None) -> float:
    """Seconds that a part will take at the pace of the machine now.

    Steps that are slower than they were when the part was measured say that the machine is busier, so the part will be
    slower too. Quicker ones say less: the part is never taken to be quicker than it was.

    Args:
        part: What was measured; None for a part that does not come.
        first: Time of the first steps in seconds, the pace of parts that were measured before them; None if there were
            none yet.
        now: Time of the recent steps in seconds; None if there were none yet.
    """
    if part is None:
        return 0.0
    then = first if part.step_seconds is None else part.step_seconds
    if not then or not now:
        return part.seconds
    return part.seconds * min(max(now / then, 1.0), MOST_SLOWDOWN)


def calibration_seconds(start_up: float, one_case: float, cases: int, predictions: float, total: float) -> float:
    """Seconds kept for a calibration in a process of its own that predicts each of some cases a number of times.

    Args:
        start_up: Seconds from the start of a process to its work.
        one_case: Seconds to read, preprocess and predict one image.
        cases: Number of cases.
        predictions: Of each case at most; 0 where no calibration follows.
        total: The budget in seconds.
    """
    if not cases or not predictions:
        return 0.0
    every = one_case * cases * predictions
    whole = WHOLE_SHARE * every
    others = min(LOOKS * (every - whole), OPTIONAL_SHARE * total)
    # They end by the clock, and need no margin.
    return start_up + whole + others / CALIBRATION_MARGIN


def seconds_for_steps(left: float, validation: float, calibration: float) -> float:
    """Seconds until the steps must end, so that what follows them ends with the budget; may be negative.

    Args:
        left: Seconds until the end of the budget.
        validation: Seconds that the last validation will take.
        calibration: Seconds that the calibration will take; 0 where none follows.
    """
    return left - CLOSING_SECONDS - MARGIN * validation - CALIBRATION_MARGIN * calibration


def shortage(total: float, fixed: float, calibration: float = 0.0) -> str | None:
    """Why a budget is too short for any training, in one line, or None.

    Args:
        total: The budget in seconds.
        fixed: Seconds of everything that is no step.
        calibration: How many of them a calibration takes.
    """
    if fixed <= (1.0 - FEWEST_SHARE) * total:
        return None
    return (
        f"the time budget of one training is {total:.0f} s, and what comes before and after its steps (start, "
        f"preprocessing, last validation, calibration) takes about {fixed:.0f} s: give at least {enough(fixed)} for "
        "each fold that is trained; images that are preprocessed already stay so"
    ) + (f" (--calibrate false leaves out the calibration, {calibration:.0f} s of it)" if calibration else "")


def enough(fixed: float) -> str:
    """A budget of which half is left for steps, rounded up, as `train --time_budget` takes it."""
    if fixed <= 45.0:
        return f"{math.ceil(2 * fixed / 10) * 10}s"
    minutes = math.ceil(2 * fixed / 60)
    return f"{minutes if minutes <= 10 else math.ceil(minutes / 5) * 5}m"
