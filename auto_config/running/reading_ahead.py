"""The next item is read while the one before it is worked on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Read = TypeVar("Read")


def read_ahead(read: Callable[[Item], Read], items: Iterable[Item]) -> Iterator[tuple[Item, Callable[[], Read]]]:
    """Items in their order, each with what gives its content; a thread reads the next one meanwhile.

    At most two contents are there at a time: that of the item at hand, and that of the next one.

    Args:
        read: called in the thread, for one item after the other.
        items: what to read.

    Yields:
        An item and a function that waits for its content. What `read` raised of the item, this function raises.
    """
    pool = ThreadPoolExecutor(1, thread_name_prefix="reading")
    waiting: tuple[Item, Future[Read]] | None = None
    try:
        for item in items:
            before, waiting = waiting, (item, pool.submit(read, item))
            if before is not None:
                yield before[0], before[1].result
                # Nothing of the item before may stay in memory while the next one is worked on.
                del before
        if waiting is not None:
            last, waiting = waiting, None
            yield last[0], last[1].result
    finally:
        # After an error or Ctrl+C: what is being read is not waited for longer than it takes.
        pool.shutdown(wait=True, cancel_futures=True)
