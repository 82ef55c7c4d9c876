"""One function over many cases, in processes, with a progress bar."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from auto_config.errors import UserError

Item = TypeVar("Item")
Result = TypeVar("Result")

_FEWEST_FOR_PROCESSES = 8
"""Fewer cases than this are read sooner than processes start."""


def map_cases(
    function: Callable[[Item], Result], cases: Sequence[Item], *, workers: int | None, label: str
) -> list[Result]:
    """Call a function for each case, with a progress bar on standard error.

    Args:
        function: can be pickled, as its results.
        cases: what it is called with.
        workers: processes; 1 for this one alone, None for one on each core, or for this one where the cases are few.
        label: what is done, for the bar and for the error, such as ``"reading images"``.

    Returns:
        The results in the order of the cases.

    Raises:
        UserError: `workers` is below 1, or a process was killed, which is mostly for want of memory.
    """
    if workers is not None and workers < 1:
        raise UserError(f"--workers is {workers}; give 1 or more, or leave it out to use every core")
    if workers is None:
        workers = 1 if len(cases) < _FEWEST_FOR_PROCESSES else _cores()
    workers = min(workers, len(cases))
    columns = (TextColumn(label), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    # In a notebook each turn of a bar is an output of its own, and empty without another package.
    hidden = not sys.stderr.isatty()
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=hidden) as bar:
        task = bar.add_task("", total=len(cases))
        if workers <= 1:
            results = []
            for case in cases:
                results.append(function(case))
                bar.advance(task)
            return results
        # Spawned, not forked: safe beside the thread of the bar, and a caller may have torch's threads or a GPU open.
        pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"))
        try:
            with _ctrl_c_ignored():  # by the processes, which start here: each would print a traceback of its own
                futures = [pool.submit(function, case) for case in cases]
            for future in as_completed(futures):
                future.result()
                bar.advance(task)
        except BrokenProcessPool as error:
            raise UserError(
                f"a process was killed while {label}, mostly for want of memory; use --workers 1"
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)  # after an error or Ctrl-C, without the cases that have not begun
        return [future.result() for future in futures]


@contextlib.contextmanager
def _ctrl_c_ignored() -> Iterator[None]:
    """Ignore Ctrl-C, and so do processes that start meanwhile, for good; only a main thread can say so."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
