"""What the jobs that MONAI Label runs in a process of their own share: trainings and batch inferences."""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psutil

_SECONDS_BETWEEN_LOOKS = 0.5
_STANDARD_OUTPUT = 1  # MONAI Label reads it line by line


@contextmanager
def end_with_parent() -> Iterator[None]:
    """End this process and those it started when the process that started it is gone: nobody could stop it then.

    It may be gone before the block begins, since a job imports for many seconds first.
    """
    parent, is_over = os.getppid(), threading.Event()

    def look() -> None:
        if os.getppid() != parent or nobody_reads(_STANDARD_OUTPUT):
            for process in psutil.Process().children(recursive=True):
                process.kill()
            os._exit(1)

    def watch() -> None:
        while not is_over.wait(_SECONDS_BETWEEN_LOOKS):
            look()

    look()
    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        is_over.set()


def nobody_reads(file: int) -> bool:
    """Whether a file is a pipe whose other end is closed, as a server's is that was killed.

    Args:
        file: its descriptor.
    """
    if not hasattr(select, "poll"):  # Windows, where the parent alone tells
        return False
    poll = select.poll()
    poll.register(file, 0)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))


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
