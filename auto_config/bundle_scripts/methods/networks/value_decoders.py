"""Decoders of outputs that are heatmaps: the top of a Gaussian by its Taylor series, the centre of the top."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ...points.peaks import Peaks, make_peaks
from ..boxes import Box, LocalDecoder, box_around
from ..decoders import unflip_heatmaps
from ..interfaces import LOGITS, Output

_SMALLEST = 1e-4
"""Below this share of the highest value a heatmap says nothing; its logarithm ends there."""


def _with_voxel(covariance: torch.Tensor) -> torch.Tensor:
    """A voxel is a box and not a point: its own variance keeps a heatmap of one voxel from being certain."""
    return covariance + torch.eye(covariance.shape[-1], device=covariance.device) / 12


def _spread(box: Box, weight: torch.Tensor, centre: torch.Tensor) -> torch.Tensor:
    """Covariance ``(N, D, D)`` of weights ``(N, M)`` of a box about points ``(N, D)``."""
    share = weight / weight.sum(1, keepdim=True).clamp(min=1e-12)
    offset = box.voxels - centre[:, None]
    return _with_voxel(torch.einsum("nb,nbi,nbj->nij", share, offset, offset))


class _OneMap:
    """What decoders of one map for each landmark have in common."""

    heads: tuple[str, ...] = (LOGITS,)
    stride = 1

    def unflip(self, output: Output, pairs: Sequence[int]) -> Output:
        """The maps of a mirror image back in place, with paired landmarks exchanged."""
        return unflip_heatmaps(output, pairs)


class TaylorDecoder(_OneMap):
    """The highest voxel, moved to the top of the parabola that the logarithm of a Gaussian is there.

    The derivatives of the logarithm at the highest voxel give ``-H^-1 g``, which is the rest of the way to the top of a
    Gaussian of any width along each axis, exactly; H has the second derivatives along the axes and across them. At a
    border the neighbour outside is taken for as high as the parabola of the others would have it. The step is at most
    one voxel along each axis, and none where the heatmap does not curve down.

    Source: DARK (Zhang et al., CVPR 2020) without its smoothing, which would widen the Gaussian; the map is that of a
        network and not noise. In 3D here as in 2D.

    Args:
        link: ``value``: the output is a heatmap; ``softmax``: it is its logarithm.

    Raises:
        ValueError: another link.
    """

    def __init__(self, link: str = "value") -> None:
        if link not in ("value", "softmax"):
            raise ValueError(f"the decoder's link is {link!r}; allowed are value, softmax")
        self.link = link

    def decode(self, output: Output, log_prior: torch.Tensor | None = None) -> Peaks:
        """One peak for each channel; its confidence is the height of the heatmap there, or the sigmoid of the logit.

        Args:
            output: ``logits (L, *size)``.
            log_prior: ``(L, *size)`` or what broadcasts to it: added to the logarithm where the highest voxel is
                chosen.
        """
        maps = output[LOGITS].float()
        logarithm = self._logarithm(maps)
        index = (logarithm if log_prior is None else logarithm + log_prior).flatten(1).argmax(1)
        channel = torch.arange(len(maps), device=maps.device)
        near = box_around(logarithm, channel, index, 1)
        centre = near.peak + _step_to_top(near)
        wide = box_around(logarithm, channel, index, 5)
        weight = torch.exp(wide.values - wide.values.amax(1, keepdim=True)) * wide.valid
        highest = maps.flatten(1).gather(1, index[:, None])[:, 0]
        confidence = highest.clamp(0, 1) if self.link == "value" else torch.sigmoid(highest)
        return make_peaks(centre, confidence, _spread(wide, weight, centre))

    def density(self, output: Output) -> torch.Tensor:
        """The heatmap as a probability of each voxel ``(L, *size)``."""
        logarithm = self._logarithm(output[LOGITS].float())
        return torch.softmax(logarithm.flatten(1), dim=1).reshape(logarithm.shape)

    def single(self) -> TaylorDecoder:
        """Itself: it finds one peak in each channel."""
        return self

    def _logarithm(self, maps: torch.Tensor) -> torch.Tensor:
        """Of each map, relative to its highest value."""
        if self.link == "softmax":
            return maps
        highest = maps.flatten(1).amax(1).clamp(min=_SMALLEST)[(..., *(None,) * (maps.ndim - 1))]
        return (maps / highest).clamp(min=_SMALLEST).log()


def _step_to_top(box: Box) -> torch.Tensor:
    """``(N, D)`` from the middle of boxes of 3 voxels along each axis to the top of the parabola there."""
    dims = box.voxels.shape[-1]
    shape = (len(box.values), *(3,) * dims)
    values, valid = box.values.reshape(shape), box.valid.reshape(shape)

    def at(*steps: int) -> torch.Tensor:
        return _entry(values, steps)

    def unit(axis: int, step: int) -> list[int]:
        return [step if one == axis else 0 for one in range(dims)]

    middle, gradient, hessian = at(*(0,) * dims), [], values.new_zeros(len(values), dims, dims)
    inside = torch.ones(len(values), dtype=torch.bool, device=values.device)
    for axis in range(dims):
        low, high = unit(axis, -1), unit(axis, 1)
        gradient.append((at(*high) - at(*low)) / 2)
        hessian[:, axis, axis] = at(*high) - 2 * middle + at(*low)
        inside &= _entry(valid, low) & _entry(valid, high)
        for other in range(axis):
            corners = [
                (a * b, [a if one == axis else b if one == other else 0 for one in range(dims)])
                for a in (-1, 1)
                for b in (-1, 1)
            ]
            across = sum(sign * at(*steps) for sign, steps in corners) / 4
            hessian[:, axis, other] = hessian[:, other, axis] = across
    slope = torch.stack(gradient, -1)
    down = (torch.linalg.eigvalsh(hessian) < -1e-6).all(-1) & inside
    safe = torch.where(down[:, None, None], hessian, -torch.eye(dims, device=values.device))
    step = -torch.linalg.solve(safe, slope[..., None])[..., 0].clamp(-1, 1)
    return torch.where(down[:, None], step, 0.0)


def _entry(boxes: torch.Tensor, steps: Sequence[int]) -> torch.Tensor:
    """``(N,)`` what boxes ``(N, 3, ..)`` hold so many steps from their middle."""
    for step in steps:
        boxes = boxes[:, 1 + step]
    return boxes


class TopCentroidDecoder(_OneMap, LocalDecoder):
    """The centre of the highest voxels around the highest one, each counted once.

    Source: H3DE-Net (Huang et al., 2025): a threshold of 0.999 of the highest value, lowered by 0.1 until there are 500
    voxels, and their mean place. In 2D as many pixels as a disc has whose radius is that of a ball of 500 voxels. Here
    only voxels in a box around the highest one count: of two tops of equal height the published mean lies between them,
    where nothing is. The threshold falls smoothly to the value of the last voxel that is wanted, and not by steps of
    0.1, after which there may be twice as many.

    Args:
        voxels: how many of the highest voxels count; None for 500 in 3D and 76 in 2D.
        radius: half width of the box in voxels.

    Raises:
        ValueError: no voxel, or a radius below 1.
    """

    def __init__(self, voxels: int | None = None, radius: int = 10) -> None:
        if voxels is not None and int(voxels) < 1:
            raise ValueError(f"the decoder counts {voxels} voxels; it must be 1 or more")
        if int(radius) < 1:
            raise ValueError(f"the decoder's radius is {radius} voxels; it must be 1 or more")
        self.voxels, self.radius = None if voxels is None else int(voxels), int(radius)

    def read(self, box: Box, scalars: Output) -> Peaks:
        """The peak in each box of heatmaps from -1 to 2; its confidence goes from 0 at -1 to 1 at 2, their height."""
        del scalars
        wanted = self.voxels or {2: 76, 3: 500}[box.voxels.shape[-1]]
        values = box.values.masked_fill(~box.valid, -torch.inf)
        limit = values.topk(min(wanted, values.shape[1]), dim=1).values[:, -1:]
        # Of a patch with fewer voxels all count.
        weight = ((values >= limit) & box.valid).float()
        centre = (weight[..., None] * box.voxels).sum(1) / weight.sum(1, keepdim=True)
        shape = values.clamp(min=_SMALLEST) * box.valid
        return make_peaks(centre, ((box.highest + 1) / 3).clamp(0, 1), _spread(box, shape, centre))

    def chosen(self, output: Output) -> torch.Tensor:
        """The logarithm of the heatmap, to which a prior is added."""
        return output[LOGITS].float().clamp(min=_SMALLEST).log()

    def density(self, output: Output) -> torch.Tensor:
        """The part of a heatmap above 0 as a probability of each voxel ``(L, *size)``; flat where there is none."""
        maps = output[LOGITS].float().clamp(min=1e-6)
        total = maps.flatten(1).sum(1)[(..., *(None,) * (maps.ndim - 1))]
        return maps / total

    def single(self) -> TopCentroidDecoder:
        """Itself: it finds one peak in each channel."""
        return self
