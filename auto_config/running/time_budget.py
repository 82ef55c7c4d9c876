"""An amount of time as a person writes it."""

import math
import re

from auto_config.errors import UserError

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}
_AMOUNT = re.compile(r"(\d+(?:\.\d+)?)\s*([smh])")
_BUDGET = re.compile(rf"(?:{_AMOUNT.pattern}\s*)+")

PREDICTIONS_OF_A_CASE = 4.5
"""How often a calibration predicts each validation case at most: whole, three times with a cut field of view, and half
of the cases once more, spoiled on purpose. A test counts; more looks at a case are added here."""

CLOSING_SECONDS = 2.0
"""A calibration learns from its predictions, writes its file and leaves Python in about this time."""


def parse_time_budget(text: str | float) -> float:
    """Read an amount of time.

    Args:
        text: ``"90s"``, ``"15m"``, ``"1h"``, ``"1h30m"``, or a number of seconds.

    Returns:
        Seconds, above 0.

    Raises:
        UserError: If it is something else.
    """
    seconds = math.nan
    if isinstance(text, str) and _BUDGET.fullmatch(text.strip().lower()):
        seconds = sum(float(amount) * _UNITS[unit] for amount, unit in _AMOUNT.findall(text.lower()))
    elif not isinstance(text, bool):
        try:
            seconds = float(text)
        except (TypeError, ValueError):
            seconds = math.nan
    if not (math.isfinite(seconds) and seconds > 0):
        raise UserError(f"time_budget is {text!r}; give a time above 0: 90s, 15m, 1h30m, or a number of seconds.")
    return seconds


def spoken(seconds: float) -> str:
    """A time to the second: ``45 s``, ``14 min 53 s``, ``1 h 02 min 00 s``."""
    minutes, rest = divmod(round(max(0.0, seconds)), 60)
    if not minutes:
        return f"{rest} s"
    hours, minutes_of_hour = divmod(minutes, 60)
    return f"{hours} h {minutes_of_hour:02d} min {rest:02d} s" if hours else f"{minutes} min {rest:02d} s"


def share_of_fold(left: float, kept: float, folds: int) -> float:
    """Seconds for the next of some trainings that share a time.

    Args:
        left: Seconds until the end of the whole.
        kept: Seconds that the calibration of the folds before needs at the end.
        folds: Trainings that are left, the next one included.
    """
    return max(1.0, (left - kept) / folds)
