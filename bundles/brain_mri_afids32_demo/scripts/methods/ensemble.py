"""Several trained networks as one, the mean of their outputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn


class EnsembleNetwork(nn.Module):
    """Mean of the outputs of several networks of the same kind.

    Outputs are averaged, not points, so that a network that is far off is outvoted instead of drawing the mean to the
    side. The shape model is that of the first network.

    Args:
        members: the networks, at least one.

    Raises:
        ValueError: there is no network.
    """

    flipped = False

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        if not members:
            raise ValueError("an ensemble needs at least one network")
        self.members = nn.ModuleList(members)

    @property
    def shape(self) -> Any:
        """The shape model of the first network."""
        return self.members[0].shape

    def views(self) -> list[nn.Module]:
        """The networks one by one."""
        return list(self.members)

    def forward(self, image: Any) -> Any:
        """Mean output for an image ``(B, C, *size)``, or for a dictionary of them, name by name and head by head."""
        first, *rest = self.members
        # In single precision, also where each of them is called in half: sums would be rounded anew each time.
        mean = _map(_single, first(image))
        # One sum that grows, so that memory holds two outputs and not one for each network.
        for member in rest:
            mean = _map(torch.add, mean, member(image))
        count = len(self.members)
        return _map(lambda value: value / count, mean)


def _single(value: torch.Tensor) -> torch.Tensor:
    return value.float() if value.dtype.itemsize == 2 else value


def mean_of_two(one: Any, other: Any) -> Any:
    """The mean of two tensors, or of dictionaries of them, name by name."""
    return _map(lambda a, b: (a + b) / 2, one, other)


def _map(change: Any, value: Any, *others: Any) -> Any:
    """Change tensors, or those of nested dictionaries of the same names."""
    if isinstance(value, dict):
        return {name: _map(change, part, *[other[name] for other in others]) for name, part in value.items()}
    return change(value, *others)
