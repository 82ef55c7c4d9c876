"""The mean place of a heatmap."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ...points.peaks import Peaks, make_peaks, places_of
from ..boxes import box_around
from ..decoders import unflip_heatmaps
from ..interfaces import LOGITS, Output
from ..on_device import exchanged
from .moments import moments
from .visibility import VISIBILITY, visibility_of

WEIGHTS = ("softmax", "sigmoid", "relu")
_BOX = 2
"""Half width in voxels of the box around the highest voxel whose weight is the confidence."""


class SpatialMeanDecoder:
    """Weighted mean of all voxels, and the covariance of the weights: what losses on coordinates train.

    With ``softmax`` this is the soft-argmax. ``sigmoid`` and ``relu`` are the weighted spatial mean of heatmaps that
    are trained to be heights; ``sigmoid`` of a heatmap that is about 0 elsewhere draws to the middle of the image.

    Source: Nibali et al., arXiv 1801.07372; Jonkers et al., landmarker, SoftwareX 2025.

    Args:
        weights: ``softmax``, ``sigmoid`` or ``relu`` of the logits.
        radius: half width in voxels of a box around the highest voxel, outside of which nothing counts; None for all.
        levels: whether heatmaps have a form whose level sets are regions. A loss on coordinates alone leaves it open.

    Raises:
        ValueError: weights of another kind, or a radius below 1.
    """

    heads: tuple[str, ...] = (LOGITS,)
    stride = 1

    def __init__(self, weights: str = "softmax", radius: int | None = None, levels: bool = True) -> None:
        if weights not in WEIGHTS:
            raise ValueError(f"the decoder's weights are {weights!r}; allowed are {', '.join(WEIGHTS)}")
        if radius is not None and int(radius) < 1:
            raise ValueError(f"the decoder's radius is {radius} voxels; it must be 1 or more, or null")
        self.weights, self.radius, self.levels = weights, radius, bool(levels)

    def decode(self, output: Output, log_prior: torch.Tensor | None = None) -> Peaks:
        """One point for each channel; see `scripts.methods.interfaces.Decoder`.

        A prior weighs the voxels, and chooses the highest one.
        """
        share = self._shares(output[LOGITS].float(), log_prior)
        counted = share
        if self.radius is not None:
            counted = _boxed(share, self.radius)
        mean, covariance = moments(counted[None])
        covariance = covariance[0] + torch.eye(covariance.shape[-1], device=covariance.device) / 12
        return make_peaks(mean[0], self.confidence(output, share), covariance)

    def confidence(self, output: Output, share: torch.Tensor) -> torch.Tensor:
        """``(L,)`` in [0, 1]: the share of the box around the highest voxel."""
        del output
        channels = torch.arange(len(share), device=share.device)
        box = box_around(share, channels, share.flatten(1).argmax(dim=1), _BOX)
        return (box.values * box.valid).sum(1).clamp(max=1.0)

    def unflip(self, output: Output, pairs: Sequence[int]) -> Output:
        """The heatmaps of a mirror image back in place, with paired landmarks exchanged."""
        return unflip_heatmaps(output, pairs)

    def density(self, output: Output) -> torch.Tensor | None:
        """The share of each voxel ``(L, *size)``; None without `levels`."""
        return self._shares(output[LOGITS].float(), None) if self.levels else None

    def single(self) -> SpatialMeanDecoder:
        """Itself: it finds one point in each channel."""
        return self

    def _shares(self, logits: torch.Tensor, log_prior: torch.Tensor | None) -> torch.Tensor:
        """Weights ``(L, *size)`` with sums of 1."""
        if self.weights == "softmax":
            value = logits
        else:
            value = (torch.sigmoid(logits) if self.weights == "sigmoid" else logits.clamp(min=0)).clamp(min=1e-9).log()
        value = value if log_prior is None else value + log_prior
        return torch.softmax(value.flatten(1), dim=1).reshape(logits.shape)


class VisibleMeanDecoder(SpatialMeanDecoder):
    """A `SpatialMeanDecoder` whose confidence is a second map, read where the heatmap looks.

    Args:
        weights: see `SpatialMeanDecoder`.
        radius: see there.
        levels: see there.
    """

    heads: tuple[str, ...] = (LOGITS, VISIBILITY)

    def confidence(self, output: Output, share: torch.Tensor) -> torch.Tensor:
        """``(L,)``: the probability that a landmark is visible."""
        return torch.sigmoid(visibility_of(output, share, 1))

    def unflip(self, output: Output, pairs: Sequence[int]) -> Output:
        """Both maps of a mirror image back in place, with paired landmarks exchanged."""
        return unflip_heatmaps(output, pairs) | {VISIBILITY: exchanged(output[VISIBILITY], 1, pairs).flip(2)}


def _boxed(share: torch.Tensor, radius: int) -> torch.Tensor:
    """Weights ``(L, *size)`` within a box around the highest voxel, with sums of 1."""
    place = places_of(share.flatten(1).argmax(dim=1), share.shape[1:]).unbind(-1)
    for axis, index in enumerate(place):
        near = (torch.arange(share.shape[1 + axis], device=share.device) - index[:, None]).abs() <= radius
        share = share * near.reshape(len(share), *(-1 if d == axis else 1 for d in range(share.ndim - 1)))
    total = share.flatten(1).sum(1).clamp(min=1e-30)
    return share / total.reshape(-1, *[1] * (share.ndim - 1))
