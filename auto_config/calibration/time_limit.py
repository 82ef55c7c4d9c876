"""Predictions that a calibration makes while there is time: cuts and spoiled cases, of which fewer also serve."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from auto_config.wording import counted

Task = TypeVar("Task")

MOST_SECONDS_OF_CUTS = 600.0
"""Presence is good enough then, whatever the time."""

SHARE_OF_CUTS = 0.75
"""Of the time that is left after the whole cases: there are up to three cuts of a case, and half a spoiled one."""


@dataclass
class Pace:
    """The seconds of the longest part so far."""

    longest: float = 0.0


class TimeLimit:
    """Ends work when its next part would take too long, judged by the longest part so far.

    A case whose first answer is implausible is looked at in many poses and takes several times as long as another, so
    the mean would not do.

    Args:
        seconds: From now on.
        brief: Somebody has less time than this work usually gets: what did not fit now may fit another time, so what
            was left out is not kept as all there is.
        pace: The longest part so far, shared with work before or after; None begins anew.
    """

    def __init__(self, seconds: float = math.inf, *, brief: bool = False, pace: Pace | None = None) -> None:
        self.until = time.monotonic() + seconds
        self.brief, self.pace = brief, Pace() if pace is None else pace
        self.omitted, self._done = 0, 0

    def these(self, tasks: Sequence[Task], share: float = 1.0, first: float = 1.0) -> Iterator[Task]:
        """The tasks that fit, one after the other; the others are counted in `omitted`.

        Args:
            tasks: To be worked on between two values of this iterator.
            share: Part of the time left for these ones, above 0 and at most 1.
            first: How many times as long as the longest part so far the very first task of this limit may take, whose
                kind was not measured yet.
        """
        now = time.monotonic()
        until = now + share * (self.until - now)
        for number, task in enumerate(tasks):
            began = time.monotonic()
            if began + self.pace.longest * (1.0 if self._done else first) >= until:
                self.omitted += len(tasks) - number
                return
            yield task
            self._done += 1
            self.pace.longest = max(self.pace.longest, time.monotonic() - began)


def limits_of(seconds: float | None, longest: float = 0.0) -> tuple[TimeLimit, TimeLimit]:
    """The limits of cuts and, after them, of spoiled cases.

    Args:
        seconds: For both from now on; None where nobody waits.
        longest: Seconds that a whole case took.
    """
    if seconds is None:
        return TimeLimit(MOST_SECONDS_OF_CUTS), TimeLimit()
    own, pace = SHARE_OF_CUTS * seconds, Pace(longest)
    cuts = TimeLimit(min(own, MOST_SECONDS_OF_CUTS), brief=own < MOST_SECONDS_OF_CUTS, pace=pace)
    return cuts, TimeLimit(seconds, brief=True, pace=pace)


def omitted_notes(
    cuts: TimeLimit, spoiled: TimeLimit, remedy: str = "; calibrate once more without a time for these"
) -> list[str]:
    """What a calibration says of cases that did not fit into the time, at most one sentence.

    Args:
        cuts: The limit of cuts.
        spoiled: That of spoiled cases.
        remedy: For those that more time would bring.
    """
    kinds = ((cuts, "cut"), (spoiled, "spoiled"))
    said = [counted(limit.omitted, f"{kind} case") for limit, kind in kinds if limit.omitted]
    if not said:
        return []
    helps = any(limit.brief and limit.omitted for limit in (cuts, spoiled))
    return [f"there was no time for {' and '.join(said)}{remedy if helps else ''}"]
