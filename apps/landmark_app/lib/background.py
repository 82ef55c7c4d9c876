"""What the jobs that MONAI Label runs in a process of their own share: trainings and batch inferences."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psutil

_SECONDS_BETWEEN_LOOKS = 0.5


@contextmanager
def end_with_parent() -> Iterator[None]:
    """End this process and those it started when the process that started it is gone: nobody could stop it then."""
    parent, is_over = os.getppid(), threading.Event()

    def watch() -> None:
        while not is_over.wait(_SECONDS_BETWEEN_LOOKS):
            if os.getppid() != parent:
                for process in psutil.Process().children(recursive=True):
                    process.kill()
                os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        is_over.set()


def failure(message: str) -> SystemExit:
    """Print why a job failed, and give back what ends its process.

    MONAI Label shows the last lines of output as the details of a job, so the last one is the message without a
    traceback, and the exit status makes its state ERROR.

    Args:
        message: one line.
    """
    print(f"error: {message}", flush=True)
    return SystemExit(2)


def one_line(error: BaseException) -> str:
    """The first line of an error's text, or its type if it has none."""
    return str(error).strip().partition("\n")[0] or type(error).__name__
