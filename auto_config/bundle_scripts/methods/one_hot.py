"""One-hot heatmaps: a point is the one voxel that holds it, shared with its neighbours where it lies between them.

The network's logits are the logarithm of a distribution over all voxels of the patch; it is trained by its negative
log-likelihood at the point (McCouat and Voiculescu, "Contour-Hugging Heatmaps for Landmark Detection", CVPR 2022; the
best published results of the package landmarker, Jonkers et al., SoftwareX 2025).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import nn

from ..points.peaks import Peaks, make_peaks
from .boxes import box_around
from .decoders import unflip_heatmaps
from .interfaces import LOGITS, Output, PointBatch, mean_over_batch
from .on_device import constants


def splat(points: torch.Tensor, size: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """The voxels that share a point, and their shares: bilinear in 2D, trilinear in 3D.

    A point within the outermost half voxel belongs to the border; one outside of the patch, or NaN, has shares of 0.

    Args:
        points: ``(..., D)`` voxels of the patch.
        size: shape of the patch in voxels.

    Returns:
        ``(..., 2^D)`` flat index of each voxel, and its share; the shares of a point inside sum to 1.
    """
    edge = constants(size, points)
    inside = ((points >= -0.5) & (points < edge - 0.5)).all(-1)
    place = torch.nan_to_num(points).clamp(min=torch.zeros_like(edge), max=edge - 1)
    low = place.floor()
    share = place - low
    steps = [1]
    for length in reversed(size[1:]):
        steps.insert(0, steps[0] * int(length))
    index, weight = [], []
    for corner in itertools.product((0, 1), repeat=len(size)):
        up = constants(corner, points)
        voxel = torch.minimum(low + up, edge - 1).long()
        index.append((voxel * constants(steps, voxel)).sum(-1))
        weight.append(torch.where(up.bool(), share, 1 - share).prod(-1))
    return torch.stack(index, -1), torch.stack(weight, -1) * inside[..., None]


class OneHotLoss(nn.Module):
    """Negative log-likelihood of the point under the softmax over all voxels of the patch.

    ``-sum_x H(x) log softmax(f)(x)`` with `splat` as H, which is never made dense. Where a landmark is absent, or lies
    outside of the patch, the publication has no target; here every voxel is as likely as the others, so that a flat
    distribution means that the landmark is not there. Of several points of a channel, each has the same share. An
    unknown landmark has no gradient.
    """

    def forward(self, output: Output, truth: PointBatch, size: Sequence[int]) -> torch.Tensor:
        """See `scripts.methods.interfaces.Loss`; the head is ``logits (B, L, *size)``."""
        flat = output[LOGITS].float().flatten(2)
        index, share = splat(truth.points.to(flat), size)
        # (B, L, K, corners) to (B, L, K * corners)
        share = share.flatten(2)
        total = share.sum(-1)
        here = (truth.status == 1) & (total > 0)
        likely = (flat.gather(2, index.flatten(2)) * share).sum(-1) / total.clamp(min=1e-9)
        lost = flat.logsumexp(-1) - torch.where(here, likely, flat.mean(-1))
        known = truth.status >= 0
        return mean_over_batch(torch.where(known, lost, 0.0).sum(), known.sum())


class LocalSoftArgmaxDecoder:
    """The mean place of the distribution in a box around its highest voxel.

    Of the distribution that minimises `OneHotLoss`, this is the point itself. At the border the box is cut, not filled
    with zeros, and the largest logit is taken off before the exponential, so that large logits stay finite.

    Args:
        radius: half width of the box in voxels; 0 is the plain argmax.
        temperature: the logits are divided by it, also for the confidence; 1 is what the training made.

    Raises:
        ValueError: a radius below 0, or a temperature that is not positive.
    """

    heads: tuple[str, ...] = (LOGITS,)
    stride = 1

    def __init__(self, radius: int = 2, temperature: float = 1.0) -> None:
        if int(radius) < 0:
            raise ValueError(f"the decoder's radius is {radius} voxels; it must be 0 or more")
        if not float(temperature) > 0:
            raise ValueError(f"the decoder's temperature is {temperature}; it must be positive")
        self.radius, self.temperature = int(radius), float(temperature)

    def decode(self, output: Output, log_prior: torch.Tensor | None = None) -> Peaks:
        """One peak for each channel; its confidence is the probability of the box.

        Args:
            output: ``logits (L, *size)``.
            log_prior: ``(L, *size)`` or what broadcasts to it: added where the highest voxel is chosen, and only there.
        """
        logits = output[LOGITS].float() / self.temperature
        index = (logits if log_prior is None else logits + log_prior).flatten(1).argmax(dim=1)
        box = box_around(logits, torch.arange(len(logits), device=logits.device), index, self.radius)
        values = box.values.masked_fill(~box.valid, -torch.inf)
        share = torch.softmax(values, dim=1)
        centre = (share[..., None] * box.voxels).sum(1)
        confidence = (values.logsumexp(1) - logits.flatten(1).logsumexp(1)).exp().clamp(max=1.0)
        offset = box.voxels - centre[:, None]
        covariance = torch.einsum("lb,lbi,lbj->lij", share, offset, offset)
        # A voxel is a box and not a point: its own variance keeps a heatmap of one voxel from being certain.
        covariance = covariance + torch.eye(covariance.shape[-1], device=covariance.device) / 12
        return make_peaks(centre, confidence, covariance)

    def unflip(self, output: Output, pairs: Sequence[int]) -> Output:
        """The logits of a mirror image back in place, with paired landmarks exchanged."""
        return unflip_heatmaps(output, pairs)

    def density(self, output: Output) -> torch.Tensor:
        """The probability of each voxel ``(L, *size)``."""
        logits = output[LOGITS].float() / self.temperature
        return torch.softmax(logits.flatten(1), dim=1).reshape(logits.shape)

    def single(self) -> LocalSoftArgmaxDecoder:
        """Itself: it finds one peak in each channel."""
        return self
