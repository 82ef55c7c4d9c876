"""Small numbers for a device without waiting for it: a copy from ordinary memory makes the host wait for the GPU."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch


def constants(values: Sequence[float], like: torch.Tensor, dtype: torch.dtype | None = None) -> torch.Tensor:
    """A handful of numbers ``(n,)``, made on a device and not sent there.

    Args:
        values: n numbers of this program.
        like: a tensor of the device, and of the type unless another one is given.
        dtype: of the result.
    """
    return torch.stack([torch.full((), value, device=like.device, dtype=dtype or like.dtype) for value in values])


def sent(values: torch.Tensor, device: torch.device) -> torch.Tensor:
    """A tensor of the host on a device; the host goes on at once.

    Args:
        values: on the host.
        device: any; tensors for the host's own are given back as they are.
    """
    return values.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else values.to(device)


def exchanged(maps: torch.Tensor, axis: int, pairs: Sequence[int]) -> torch.Tensor:
    """Maps in which each landmark has the place of its partner along an axis; the host goes on at once.

    Args:
        maps: on any device.
        axis: of the landmarks.
        pairs: the partner of each landmark, itself where it has none.
    """
    return maps.index_select(axis, sent(torch.tensor(list(pairs)), maps.device))


@dataclass(frozen=True)
class Rows:
    """Which of the channels ``(B, L)`` of a batch count in a loss.

    Args:
        count: how many.
        index: their places in the batch and among the landmarks, on the device of the maps; None for all.
    """

    count: int
    index: tuple[torch.Tensor, torch.Tensor] | None

    @classmethod
    def where(cls, counted: torch.Tensor, device: torch.device) -> Rows:
        """Those that a mask ``(B, L)`` of the host names, for maps on a device."""
        count = int(counted.sum())
        if count == counted.numel():
            return cls(count, None)
        batch, landmark = counted.nonzero(as_tuple=True)
        return cls(count, (sent(batch, device), sent(landmark, device)))

    def of(self, maps: torch.Tensor) -> torch.Tensor:
        """The chosen ``(rows, ...)`` of ``(B, L, ...)`` in float32; not copied when all are chosen."""
        return (maps.flatten(0, 1) if self.index is None else maps[self.index]).float()
