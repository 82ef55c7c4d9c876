"""The box around the highest voxel of a map, and decoders that read nothing else."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch

from ..points.peaks import Peaks, places_of
from .interfaces import LOGITS, Decoder, Output, without_scalars
from .on_device import constants


@dataclass(frozen=True)
class Box:
    """The voxels in a box around N peaks, M voxels each.

    Args:
        values: ``(N, M)`` logits, float32.
        voxels: ``(N, M, D)`` voxel coordinates, float32; of those outside of the image, the nearest inside.
        valid: ``(N, M)`` whether a voxel is inside.
        peak: ``(N, D)`` voxel coordinates of the middle, float32.
    """

    values: torch.Tensor
    voxels: torch.Tensor
    valid: torch.Tensor
    peak: torch.Tensor

    @property
    def highest(self) -> torch.Tensor:
        """``(N,)`` value of the middle."""
        return self.values[:, self.values.shape[1] // 2]


def places(peak: torch.Tensor, size: torch.Size, radius: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The voxels of boxes around peaks.

    Args:
        peak: ``(N, D)`` voxels, whole numbers.
        size: of the image.
        radius: half width of the boxes in voxels.

    Returns:
        ``(N, M, D)`` voxels, those outside moved to the nearest inside, and ``(N, M)`` whether they were inside.
    """
    edges, dims = constants(size, peak), len(size)
    steps = torch.arange(-radius, radius + 1, device=peak.device)
    box = torch.stack(torch.meshgrid(*[steps] * dims, indexing="ij"), dim=-1).reshape(-1, dims)
    voxels = peak[:, None] + box[None]
    valid = ((voxels >= 0) & (voxels < edges)).all(-1)
    return voxels.clamp(min=torch.zeros_like(edges), max=edges - 1), valid


def box_around(logits: torch.Tensor, channel: torch.Tensor, index: torch.Tensor, radius: int) -> Box:
    """The logits near peaks whose highest voxel is known.

    Args:
        logits: ``(L, *size)``.
        channel: ``(N,)`` channel of each peak.
        index: ``(N,)`` its highest voxel, counted flat.
        radius: half width of the box in voxels.
    """
    peak = places_of(index, logits.shape[1:])
    voxels, valid = places(peak, logits.shape[1:], radius)
    strides = constants(
        list(itertools.accumulate(reversed(logits.shape[2:]), lambda a, b: a * b, initial=1))[::-1], index
    )
    values = logits.flatten(1)[channel[:, None], (voxels * strides).sum(-1)].float()
    return Box(values, voxels.to(torch.float32), valid, peak.to(torch.float32))


class LocalDecoder(ABC):
    """A decoder of one peak for each channel of `LOGITS` that, without a prior, looks only near its highest voxel.

    So it needs no map of the whole image: `scripts.inference.streaming` keeps the box around the highest voxel of what
    is merged so far, and lets go of the rest. The peaks are the same, because it reads the same box.
    """

    heads: tuple[str, ...] = (LOGITS,)
    radius: int
    """Half width of the box in voxels."""

    @abstractmethod
    def read(self, box: Box, scalars: Output) -> Peaks:
        """The peak of each channel.

        Args:
            box: around the highest voxel of L channels.
            scalars: ``(n,)`` of learnt scalars, those of the output.
        """

    def decode(self, output: Output, log_prior: torch.Tensor | None = None) -> Peaks:
        """One peak for each channel; see `scripts.methods.interfaces.Decoder`.

        A prior is added where the highest voxel is chosen, and only there.
        """
        logits = output[LOGITS]
        index = (logits if log_prior is None else self.chosen(output) + log_prior).flatten(1).argmax(dim=1)
        channels = torch.arange(len(logits), device=logits.device)
        return self.read(box_around(logits, channels, index, self.radius), without_scalars(output)[1])

    def chosen(self, output: Output) -> torch.Tensor:
        """What a prior is added to, ``(L, *size)``: grows with the map, so that without a prior both choose alike."""
        return output[LOGITS]


def local_decoder(decoder: Decoder) -> LocalDecoder | None:
    """The decoder, if all that it reads is near the highest voxel; None for one that reads the whole map.

    One of somebody's own that inherits such a decoder, and decodes in its own way, reads the whole map too.
    """
    kind: Any = type(decoder)
    return decoder if isinstance(decoder, LocalDecoder) and kind.decode is LocalDecoder.decode else None
