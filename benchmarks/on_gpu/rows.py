"""Rows of a table, each with a limit of time: what was found before a fault or the end of the time stays."""

from __future__ import annotations

import contextlib
import gc
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch

Row = dict[str, Any]
Part = tuple[str, Callable[[Row], None]]
"""What a row is called, and what fills it."""

LEAST_S = 5.0
"""A part that is begun has at least this long."""


class OutOfTimeError(BaseException):
    """A part took longer than its share.

    No `Exception`, because torch's compiler and data loaders catch those and go on.
    """


@contextlib.contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Raise `OutOfTimeError` in what takes longer."""

    def ring(*_: Any) -> None:
        raise OutOfTimeError(f"longer than {seconds:.0f} s")

    before = signal.signal(signal.SIGALRM, ring)
    # Again each second: what is raised in a callback of the garbage collector, or in a ``__del__``, is lost.
    signal.setitimer(signal.ITIMER_REAL, max(seconds, 0.01), 1.0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def line(error: BaseException) -> str:
    """An error on one line."""
    said = str(error).strip()
    return f"{type(error).__name__}: {said.splitlines()[0] if said else ''}"[:160]


def attempt(name: str, seconds: float, work: Callable[[Row], None]) -> Row:
    """A row with what was measured, and with the error if there was one."""
    started, found = time.perf_counter(), Row()
    try:
        with at_most(seconds):
            work(found)
    except (Exception, OutOfTimeError) as error:
        found["error"] = line(error)
    release()
    return {"part": name, **found, "took_s": time.perf_counter() - started}


def release() -> None:
    """Give back what the last part held, or it would count among the next one's peak.

    Engines, loaders and their handlers name each other, so that only a collection frees them and the tensors in them.
    """
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def rows_of(parts: list[Part], end: float) -> Iterator[Row]:
    """Every part, one after the other; none may take more than twice a fair share of the time that is left.

    Args:
        parts: the most important first.
        end: time of `time.perf_counter`, after which no part is begun.
    """
    for number, (name, work) in enumerate(parts):
        left = end - time.perf_counter()
        if left <= 0:
            yield {"part": name, "error": "not begun: the time is over"}
        else:
            yield attempt(name, min(left, max(LEAST_S, 2 * left / (len(parts) - number + 1))), work)


def shown(row: Row) -> str:
    """A row for people."""
    values = [
        f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in row.items()
        if name != "part" and value is not None
    ]
    return f"{row['part']:36}  {'  '.join(values)}"
