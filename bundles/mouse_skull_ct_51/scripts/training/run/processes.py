"""What the processes of a training tell each other beside gradients."""

from __future__ import annotations

from typing import TypeVar

from torch import distributed

Item = TypeVar("Item")


def gathered(own: list[Item]) -> list[Item]:
    """The items of all processes, those of process 0 first. Every process must ask.

    Args:
        own: Items of this process, which can be pickled.
    """
    if not (distributed.is_available() and distributed.is_initialized()):
        return own
    parts: list[list[Item]] = [[] for _ in range(distributed.get_world_size())]
    distributed.all_gather_object(parts, own)
    return [item for part in parts for item in part]
