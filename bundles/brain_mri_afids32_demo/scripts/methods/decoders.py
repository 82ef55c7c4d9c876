"""From heatmap logits to sub-voxel points."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch.nn import functional

from ..points.peaks import Peaks, make_peaks
from .boxes import Box, LocalDecoder, box_around
from .interfaces import LOGITS, Output
from .on_device import constants, exchanged

LINKS = ("softmax", "sigmoid")


class ArgmaxDecoder(LocalDecoder):
    """Argmax, then a mean shift to the centre of the peak.

    Around the highest voxel, weights ``w = exp(sharpness * (f - max f))`` are averaged under a Gaussian window that
    moves to its own centre of mass until it rests. For a peak that is symmetric about its centre the fixed point is
    that centre, whatever the profile, so there is no bias of the kind a parabola has on a cone (0.25 becomes 0.17
    voxel).

    ``link`` says what the logits were trained to be: ``softmax`` (``f`` = logit, for the spatial cross-entropy, whose
    peak is a Gaussian) or ``sigmoid`` (``f`` = log sigmoid of the logit, for cones; sharpness = radius in voxels makes
    ``w`` about ``exp(-d)``).

    Args:
        link: ``softmax`` or ``sigmoid``.
        sharpness: factor on ``f``, one number, or one for each axis: on an anisotropic grid a cone has another radius
            along each axis, and the weights that find the centre along an axis are those that are ``exp(-d)`` along it.
        window: standard deviation of the moving window in voxels.
        radius: half width in voxels of the box around the argmax that is looked at.
        rounds: number of shifts.

    Raises:
        ValueError: if the link is not known.
    """

    stride = 1

    def __init__(
        self,
        link: str = "softmax",
        sharpness: float | Sequence[float] = 1.0,
        window: float = 1.5,
        radius: int = 5,
        rounds: int = 12,
    ) -> None:
        if link not in LINKS:
            raise ValueError(f"the decoder's link is {link!r}; allowed are {', '.join(LINKS)}")
        self.link, self.window = link, float(window)
        self.sharpness = [float(s) for s in sharpness] if isinstance(sharpness, Sequence) else float(sharpness)
        self.radius, self.rounds = int(radius), int(rounds)

    def __call__(
        self, logits: torch.Tensor, log_prior: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Decode.

        Args:
            logits: ``(L, *size)``, any float type; computed in float32.
            log_prior: ``(L, *size)`` or a shape that broadcasts to it: added where the highest voxel is chosen, and
                only there, so that it draws no point to its own centre.

        Returns:
            ``(L, D)`` voxel coordinates, float32, ``(L,)`` confidence, the sigmoid of the logit there, and the
            ``(L, D, D)`` covariance in voxels of ``w`` in the box around the highest voxel, about the point.
        """
        index = (logits if log_prior is None else logits + log_prior).flatten(1).argmax(dim=1)
        return self.refine(logits, torch.arange(len(logits), device=logits.device), index)

    def read(self, box: Box, scalars: Output) -> Peaks:
        """The sub-voxel peak in each box; see `LocalDecoder`."""
        del scalars
        return make_peaks(*self._centre(box, alone=True))

    def unflip(self, output: Output, pairs: Sequence[int]) -> Output:
        """The logits of a mirror image back in place, with paired landmarks exchanged."""
        return unflip_heatmaps(output, pairs)

    def density(self, output: Output) -> torch.Tensor:
        """The probability of each voxel ``(L, *size)``."""
        return self.probability(output[LOGITS])

    def single(self) -> ArgmaxDecoder:
        """Itself: it finds one peak in each channel."""
        return self

    def probability(self, logits: torch.Tensor) -> torch.Tensor:
        """Heatmaps as probabilities: each of ``(L, *size)`` logits becomes weights ``w`` that sum to 1, float32."""
        value = logits.float() if self.link == "softmax" else functional.logsigmoid(logits.float())
        sharpness = np.mean(self.sharpness).item()
        return torch.softmax((sharpness * value).flatten(1), dim=1).reshape(value.shape)

    def refine(
        self, logits: torch.Tensor, channel: torch.Tensor, index: torch.Tensor, *, alone: bool = True
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The sub-voxel place of peaks whose highest voxel is known.

        Args:
            logits: ``(L, *size)``.
            channel: ``(N,)`` channel of each peak.
            index: ``(N,)`` its highest voxel, counted flat.
            alone: a channel has one peak; else a higher neighbour weighs no more than the peak itself.

        Returns:
            ``(N, D)`` voxel coordinates, ``(N,)`` confidence and ``(N, D, D)`` covariance, as a call gives them.
        """
        return self._centre(box_around(logits, channel, index, self.radius), alone=alone)

    def _centre(self, box: Box, *, alone: bool) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """What `refine` gives, from the boxes."""
        values, voxels, valid, dims = box.values, box.voxels, box.valid, box.voxels.shape[-1]
        value = values if self.link == "softmax" else functional.logsigmoid(values)
        if alone:
            value = value - value.masked_fill(~valid, -torch.inf).amax(dim=1, keepdim=True)
        else:
            value = (value - value[:, voxels.shape[1] // 2, None]).clamp(max=0.0)
        # (L, box, D): the weights for each axis of the centre.
        sharpness = [self.sharpness] if isinstance(self.sharpness, float) else self.sharpness
        weight = torch.exp(constants(sharpness, value) * value[..., None]) * valid[..., None]
        centre = box.peak
        for _ in range(self.rounds):
            window = torch.exp(-0.5 * ((voxels - centre[:, None]) / self.window).square().sum(-1, keepdim=True))
            near = window * weight
            centre = (near * voxels).sum(1) / near.sum(1)
        # The window of the shift would bound the spread, so here the weights count alone, the mean of the axes.
        share = weight.mean(-1)
        share = share / share.sum(1, keepdim=True)
        offset = voxels - centre[:, None]
        covariance = torch.einsum("lb,lbi,lbj->lij", share, offset, offset)
        # A voxel is a box and not a point: its own variance keeps a heatmap of one voxel from being certain.
        covariance = covariance + torch.eye(dims, device=covariance.device) / 12
        return centre, torch.sigmoid(box.highest), covariance


def unflip_heatmaps(output: Output, pairs: Sequence[int]) -> Output:
    """Heatmaps ``(B, L, *size)`` of a mirror image back in place, with paired landmarks exchanged."""
    return {LOGITS: exchanged(output[LOGITS], 1, pairs).flip(2)}
