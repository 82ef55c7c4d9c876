"""Work that yields to everything else of the server: a network takes all cores, and answers must not wait for it."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

import anyio

Result = TypeVar("Result")

NICENESS = 10
"""Of the threads here, and of those that torch starts from them: others get nine of ten parts of a core they share."""


async def run_quietly(function: Callable[[], Result]) -> Result:
    """The result of a blocking function, from a thread of its own with a low priority.

    A thread cannot raise its priority again without a privilege, so it is not one that others use later. It does not
    keep the process alive.

    Args:
        function: what blocks.
    """
    found: Future[Result] = Future()
    context = contextvars.copy_context()

    def work() -> None:
        yield_to_others()
        try:
            found.set_result(context.run(function))
        except BaseException as error:
            found.set_exception(error)

    threading.Thread(target=work, name="quiet", daemon=True).start()
    answer = asyncio.wrap_future(found)
    with anyio.CancelScope(shield=True):
        await asyncio.wait([answer])
    return answer.result()


def yield_to_others() -> None:
    """Lower the priority of this thread, where the system has one for each thread."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            own = threading.get_native_id()
            os.setpriority(os.PRIO_PROCESS, own, os.getpriority(os.PRIO_PROCESS, own) + NICENESS)
