"""From heatmaps with the height of a peak to sub-voxel points."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ...points.peaks import Peaks, make_peaks
from ..decoders import box_around, unflip_heatmaps
from ..interfaces import LOGITS, Output
from .fit import fitted_covariance
from .maps import peak_height

_FLOOR = 1e-6
"""Share of the height of a peak that is 0 for densities and logarithms."""


class PeakDecoder:
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

    heads: tuple[str, ...] = (LOGITS,)
    stride = 1

    def __init__(self, height: float = 1.0, radius: int = 5) -> None:
        if not float(height) > 0 or int(radius) < 1:
            raise ValueError(f"the decoder has height {height} and radius {radius}; they must be above 0 and 1 or more")
        self.height, self.radius = float(height), int(radius)

    def heights(self, output: Output) -> torch.Tensor:
        """Height ``(L,)`` of the peak of a landmark that is there."""
        return torch.full_like(output[LOGITS][:, 0].flatten(1)[:, 0].float(), self.height)

    def decode(self, output: Output, log_prior: torch.Tensor | None = None) -> Peaks:
        """One peak for each channel; see `scripts.methods.interfaces.Decoder`.

        A prior is added to the logarithm of the heatmap where the highest voxel is chosen, and only there.
        """
        heatmap = output[LOGITS].float()
        heights = self.heights(output)
        share = heatmap / heights.reshape(-1, *[1] * (heatmap.ndim - 1))
        chosen = share if log_prior is None else share.clamp(min=_FLOOR).log() + log_prior
        index = chosen.flatten(1).argmax(dim=1)
        box = box_around(share, torch.arange(len(share), device=share.device), index, self.radius)
        offsets = box.voxels - box.peak[:, None]
        covariance = fitted_covariance(box.values, offsets, box.valid, widest=self.radius + 1.0)
        offset, height = top(share, index)
        return make_peaks(box.peak + offset, height.clamp(0.0, 1.0), covariance)

    def unflip(self, output: Output, pairs: Sequence[int]) -> Output:
        """The heatmaps of a mirror image back in place, with paired landmarks exchanged."""
        return unflip_heatmaps(output, pairs)

    def density(self, output: Output) -> torch.Tensor:
        """The share of each voxel ``(L, *size)`` in what is above 0; the same for all voxels of an empty heatmap."""
        heatmap = output[LOGITS].float()
        heights = self.heights(output).reshape(-1, *[1] * (heatmap.ndim - 1))
        share = (heatmap / heights).clamp(min=0) + _FLOOR
        return share / share.flatten(1).sum(1).reshape(heights.shape)

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

    def heights(self, output: Output) -> torch.Tensor:
        """Height ``(L,)`` of a Gaussian with the learnt widths: ``(L,)`` of round ones, or ``(L * D,)``."""
        landmarks, dims = output[LOGITS].shape[0], output[LOGITS].ndim - 1
        sigma = output["log_sigma"].float().reshape(landmarks, -1).exp().expand(landmarks, dims)
        return peak_height(self.height, sigma)

    def unflip(self, output: Output, pairs: Sequence[int]) -> Output:
        """Heatmaps and widths of a mirror image, with paired landmarks exchanged."""
        widths = output["log_sigma"].reshape(len(pairs), -1)[list(pairs)].flatten()
        return unflip_heatmaps(output, pairs) | {"log_sigma": widths}


def top(heatmap: torch.Tensor, index: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Where the parabola through the logarithms of the highest voxel and its two neighbours is highest, for each axis.

    Args:
        heatmap: ``(L, *size)``.
        index: ``(L,)`` highest voxel of each channel, counted flat.

    Returns:
        ``(L, D)`` offset from that voxel, within half a voxel and 0 along an axis on whose border it lies; and the
        height ``(L,)`` there.
    """
    size, flat = heatmap.shape[1:], heatmap.flatten(1)
    place = torch.unravel_index(index, size)
    highest = flat.gather(1, index[:, None])[:, 0]
    middle = highest.clamp(min=_FLOOR)
    offsets, step, rise = [], flat.shape[1], torch.zeros_like(highest)
    for axis, edge in enumerate(size):
        step //= edge
        inside = (place[axis] > 0) & (place[axis] < edge - 1)
        # Below a thousandth of the peak a logarithm is that of noise.
        low, high = (
            (flat.gather(1, torch.where(inside, index + side * step, index)[:, None])[:, 0] / middle).clamp(1e-3).log()
            for side in (-1, 1)
        )
        bend = low + high
        offset = torch.where(inside & (bend < 0), 0.5 * (low - high) / bend.clamp(max=-1e-12), 0.0).clamp(-0.5, 0.5)
        offsets.append(offset)
        rise = rise - 0.5 * bend * offset.square()
    return torch.stack(offsets, dim=-1), highest * rise.exp()
