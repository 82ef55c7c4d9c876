"""From heatmaps with the height of a peak to sub-voxel points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from ...points.peaks import Peaks, make_peaks
from ..boxes import Box, LocalDecoder
from ..decoders import unflip_heatmaps
from ..interfaces import LOGITS, Output, without_scalars
from ..on_device import exchanged
from .fit import fitted_covariance
from .maps import peak_height

_FLOOR = 1e-6
"""Share of the height of a peak that is 0 for densities and logarithms."""


class PeakDecoder(LocalDecoder):
    """The highest voxel, then the top of a parabola of logarithms; the covariance is that of a fitted Gaussian.

    The heatmap is linear: a voxel's value is a height, and the confidence is that of the top over the one that training
    aims at.

    Source: sub-voxel readout of Payer et al. 2019, but of logarithms: a parabola of a Gaussian itself errs by 0.05
        voxel where its standard deviation is 1, as along thick slices; that of its logarithm does not. The fit of a
        Gaussian is that of Payer et al. 2020 and Thaler et al. 2021.

    Args:
        height: that training aims at.
        radius: half width in voxels of the box around the highest voxel to which the Gaussian is fitted.

    Raises:
        ValueError: a height that is not positive, or a radius below 1.
    """

    stride = 1

    def __init__(self, height: float = 1.0, radius: int = 5) -> None:
        if not float(height) > 0 or int(radius) < 1:
            raise ValueError(f"the decoder has height {height} and radius {radius}; they must be above 0 and 1 or more")
        self.height, self.radius = float(height), int(radius)

    def heights(self, landmarks: int, dims: int, scalars: Output) -> torch.Tensor | float:
        """Height ``(L,)``, or one for all, of the peak of a landmark that is there."""
        del landmarks, dims, scalars
        return self.height

    def read(self, box: Box, scalars: Output) -> Peaks:
        """The peak in each box; see `LocalDecoder`."""
        landmarks, _, dims = box.voxels.shape
        share = replace(box, values=_divided(box.values, self.heights(landmarks, dims, scalars)))
        offsets = share.voxels - share.peak[:, None]
        covariance = fitted_covariance(share.values, offsets, share.valid, widest=self.radius + 1.0)
        offset, height = top(share)
        return make_peaks(share.peak + offset, height.clamp(0.0, 1.0), covariance)

    def chosen(self, output: Output) -> torch.Tensor:
        """The logarithm of the heatmap as a share of its height, to which a prior is added."""
        return self._share(output).clamp(min=_FLOOR).log()

    def _share(self, output: Output) -> torch.Tensor:
        """Heatmaps ``(L, *size)`` as shares of their heights."""
        heatmap = output[LOGITS].float()
        landmarks, dims = len(heatmap), heatmap.ndim - 1
        return _divided(heatmap, self.heights(landmarks, dims, without_scalars(output)[1]))

    def unflip(self, output: Output, pairs: Sequence[int]) -> Output:
        """The heatmaps of a mirror image back in place, with paired landmarks exchanged."""
        return unflip_heatmaps(output, pairs)

    def density(self, output: Output) -> torch.Tensor:
        """The share of each voxel ``(L, *size)`` in what is above 0; the same for all voxels of an empty heatmap."""
        share = self._share(output).clamp(min=0) + _FLOOR
        return share / share.flatten(1).sum(1).reshape(-1, *[1] * (share.ndim - 1))

    def single(self) -> PeakDecoder:
        """Itself: it finds one peak in each channel."""
        return self


class LearntPeakDecoder(PeakDecoder):
    """A `PeakDecoder` of Gaussians whose widths the network has learnt: their height follows from the width.

    Args:
        gamma: integral of a Gaussian over the voxels of the finest axis.
        radius: see `PeakDecoder`.
    """

    heads: tuple[str, ...] = (LOGITS, "log_sigma")

    def __init__(self, gamma: float, radius: int = 5) -> None:
        super().__init__(gamma, radius)

    def heights(self, landmarks: int, dims: int, scalars: Output) -> torch.Tensor:
        """Height ``(L,)`` of a Gaussian with the learnt widths: ``(L,)`` of round ones, or ``(L * D,)``."""
        sigma = scalars["log_sigma"].float().reshape(landmarks, -1).exp().expand(landmarks, dims)
        return peak_height(self.height, sigma)

    def unflip(self, output: Output, pairs: Sequence[int]) -> Output:
        """Heatmaps and widths of a mirror image, with paired landmarks exchanged."""
        widths = exchanged(output["log_sigma"].reshape(len(pairs), -1), 0, pairs).flatten()
        return unflip_heatmaps(output, pairs) | {"log_sigma": widths}


def _divided(maps: torch.Tensor, heights: torch.Tensor | float) -> torch.Tensor:
    """Maps ``(L, ...)`` by the height ``(L,)`` of each, or by one for all."""
    if isinstance(heights, float):
        return maps / heights
    return maps / heights.to(maps).reshape(-1, *[1] * (maps.ndim - 1))


def top(box: Box) -> tuple[torch.Tensor, torch.Tensor]:
    """Where the parabola through the logarithms of the highest voxel and its two neighbours is highest, for each axis.

    Args:
        box: around the highest voxel of each channel.

    Returns:
        ``(L, D)`` offset from that voxel, within half a voxel and 0 along an axis on whose border it lies; and the
        height ``(L,)`` there.
    """
    dims = box.voxels.shape[-1]
    edge = round(box.values.shape[1] ** (1 / dims))
    highest, middle = box.highest, box.values.shape[1] // 2
    floor = highest.clamp(min=_FLOOR)
    offsets, rise = [], torch.zeros_like(highest)
    for axis in range(dims):
        step = edge ** (dims - 1 - axis)
        inside = box.valid[:, middle - step] & box.valid[:, middle + step]
        # Below a thousandth of the peak a logarithm is that of noise.
        low, high = (
            (torch.where(inside, box.values[:, middle + side * step], highest) / floor).clamp(1e-3).log()
            for side in (-1, 1)
        )
        bend = low + high
        offset = torch.where(inside & (bend < 0), 0.5 * (low - high) / bend.clamp(max=-1e-12), 0.0).clamp(-0.5, 0.5)
        offsets.append(offset)
        rise = rise - 0.5 * bend * offset.square()
    return torch.stack(offsets, dim=-1), highest * rise.exp()
