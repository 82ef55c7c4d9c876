"""Cells of a coarse grid that say whether they hold a landmark, and vote where it is.

Source: Noothout et al., "Deep Learning-Based Regression and Classification for Automatic Landmark Localization in
Medical Images", IEEE TMI 2020. The output has two heads on a grid whose cells are cubes of a few voxels: ``class``
``(B, L, *grid)``, the logit that a cell holds the landmark, and ``offset`` ``(B, L * D, *grid)``, the D numbers of the
first landmark first: the vector in voxels from the centre of a cell to the landmark, as `signed_log`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from ..points.peaks import Peaks, make_peaks, places_of
from .interfaces import Output, PointBatch, mean_over_batch
from .on_device import exchanged

CLASS, OFFSET = "class", "offset"


def signed_log(offset: torch.Tensor) -> torch.Tensor:
    """``sign(d) ln(1 + |d|)``: near landmarks to a fraction of a voxel, far ones to a share of their distance.

    The publication trains on logarithms of displacements and gives no formula; this one has a sign and no pole at 0.
    """
    return offset.sign() * offset.abs().log1p()


def signed_exp(value: torch.Tensor) -> torch.Tensor:
    """The inverse of `signed_log`."""
    return value.sign() * value.abs().expm1()


def centres(cells: int, stride: float, like: torch.Tensor) -> torch.Tensor:
    """Voxel coordinates ``(cells,)`` of the centres of cells of `stride` voxels, of which the first begins at -0.5."""
    steps = torch.arange(cells, device=like.device, dtype=torch.float32)
    return (steps + 0.5) * stride - 0.5


def _along(values: torch.Tensor, axis: int, dims: int) -> torch.Tensor:
    """``(..., n)`` to ``(..., 1, .., n, .., 1)`` with n at spatial `axis`."""
    return values.reshape(*values.shape[:-1], *(1,) * axis, values.shape[-1], *(1,) * (dims - axis - 1))


class GridVoteLoss(nn.Module):
    """Binary cross-entropy of the cells, and mean absolute error of the logarithms of their vectors.

    Both are means over cells, then over landmarks, and have the same weight, as in the publication. What it leaves
    open: an absent landmark is in no cell and has no vectors; an unknown one has no gradient; one outside of the patch
    is in no cell, and the vectors to it are trained, because a cell may know where it lies without seeing it. It finds
    one point for each landmark, so of several points of a channel the first counts.

    The publication compares five losses, in its words R, log R, C, R + C and log R + C; the last one is the default.

    Args:
        cells: whether the cells count (C).
        vectors: whether the vectors count (R).
        logarithms: whether vectors are compared as logarithms.

    Raises:
        ValueError: neither cells nor vectors count.
    """

    def __init__(self, cells: bool = True, vectors: bool = True, logarithms: bool = True) -> None:
        super().__init__()
        if not (cells or vectors):
            raise ValueError("neither the cells nor their vectors are trained; one of them must be")
        self.cells, self.vectors, self.logarithms = bool(cells), bool(vectors), bool(logarithms)

    def forward(self, output: Output, truth: PointBatch, size: Sequence[int]) -> torch.Tensor:
        """See `scripts.methods.interfaces.Loss`; heads as this module describes them."""
        classes, dims = output[CLASS].float(), len(size)
        vectors = output[OFFSET].float().unflatten(1, (classes.shape[1], dims))
        points = torch.nan_to_num(truth.points[:, :, 0].float())
        here = torch.ones((), device=classes.device)
        error = torch.zeros((), device=classes.device)
        for axis, (edge, cells) in enumerate(zip(size, classes.shape[2:], strict=True)):
            where, stride = points[..., axis, None], edge / cells
            cell = ((where + 0.5) / stride).floor()
            here = here * _along(cell == torch.arange(cells, device=cell.device), axis, dims)
            vector = where - centres(cells, stride, where)
            # Voxels and not logarithms: shares of the patch, so that both have the same size beside the cells.
            vector = signed_log(vector) if self.logarithms else vector / stride
            error = error + (vectors[:, :, axis] - _along(vector, axis, dims)).abs() / dims
        known, present = truth.status >= 0, truth.status == 1
        here = here * present[(..., *(None,) * dims)]
        cross_entropy = functional.binary_cross_entropy_with_logits(classes, here, reduction="none")
        # What does not count is multiplied by 0 and not left out, so that every head has a gradient.
        return self.cells * _mean(cross_entropy, known) + self.vectors * _mean(error, present)


def _mean(values: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
    """Mean of ``(B, L, *grid)`` over the chosen ones of ``(B, L)``; 0 (with a gradient of 0) when there is none."""
    return mean_over_batch(torch.where(chosen, values.flatten(2).mean(2), 0.0).sum(), chosen.sum())


def _near_highest(weight: torch.Tensor) -> torch.Tensor:
    """Which cells ``(L, *grid)`` are the highest one of each landmark, or next to it."""
    highest = places_of(weight.flatten(1).argmax(1), weight.shape[1:])
    near = torch.ones((), dtype=torch.bool, device=weight.device)
    for axis, cells in enumerate(weight.shape[1:]):
        steps = torch.arange(cells, device=weight.device) - highest[:, axis, None]
        near = near & _along(steps.abs() <= 1, axis, weight.ndim - 1)
    return near


class GridVoteDecoder:
    """The mean of where the cells point to, each with the probability that it holds the landmark as its weight.

    ``sum_p c_p (x_p + d_p) / sum_p c_p`` over all cells, as in the publication: every vector is that of a landmark to
    be found, so neighbours of its cell help. The confidence is the probability that the landmark lies in the cell or
    next to it, where that is largest: between two cells each has half of the probability.

    It has no density, so no level sets: votes say a place and a spread, which the covariance holds.

    Without cells every vote weighs the same. Without vectors a cell votes for its own centre; then the most probable
    cell and those next to it vote, because all others, each with a little probability, draw the mean to the middle of
    the patch. The publication does not say how it reads networks that are trained with a part of the loss.

    Args:
        stride: voxels for one cell, along each axis.
        cells: whether the cells were trained, and weigh the votes.
        vectors: whether the vectors were trained.
        logarithms: whether vectors are logarithms of voxels; else they are cells.

    Raises:
        ValueError: a stride below 1.
    """

    heads: tuple[str, ...] = (CLASS, OFFSET)

    def __init__(self, stride: int = 8, cells: bool = True, vectors: bool = True, logarithms: bool = True) -> None:
        if int(stride) < 1:
            raise ValueError(f"the decoder's stride is {stride} voxels; it must be 1 or more")
        self.stride = int(stride)
        self.cells, self.vectors, self.logarithms = bool(cells), bool(vectors), bool(logarithms)

    def decode(self, output: Output, log_prior: torch.Tensor | None = None) -> Peaks:
        """One peak for each landmark; its covariance is the spread of the votes, and that of a voxel.

        Args:
            output: ``class (L, *grid)`` and ``offset (L * D, *grid)``.
            log_prior: ``(L, *grid)`` or what broadcasts to it: added to the logarithm of the weights. It chooses who
                votes and moves no vote, so cells that agree keep their point.
        """
        classes = output[CLASS].float()
        landmarks, dims = len(classes), classes.ndim - 1
        offset = output[OFFSET].float()
        offset = signed_exp(offset) if self.logarithms else offset * self.stride
        votes = (offset * self.vectors).unflatten(0, (landmarks, dims))
        place = [_along(centres(n, self.stride, classes), axis, dims) for axis, n in enumerate(classes.shape[1:])]
        votes = torch.stack([votes[:, axis] + place[axis] for axis in range(dims)], dim=-1).flatten(1, -2)
        weight = functional.logsigmoid(classes) if self.cells else torch.zeros_like(classes)
        if log_prior is not None:
            weight = weight + log_prior
        if not self.vectors:
            weight = weight.masked_fill(~_near_highest(weight), -torch.inf)
        share = torch.softmax(weight.flatten(1), dim=1)
        points = torch.einsum("lp,lpd->ld", share, votes)
        apart = votes - points[:, None]
        covariance = torch.einsum("lp,lpi,lpj->lij", share, apart, apart)
        # A voxel is a box and not a point: its own variance keeps votes that agree from being certain.
        covariance = covariance + torch.eye(dims, device=covariance.device) / 12
        pool = functional.avg_pool3d if dims == 3 else functional.avg_pool2d
        # Padded before, because pools refuse grids below their window.
        near = pool(functional.pad(classes.sigmoid(), (1, 1) * dims), 3, stride=1, divisor_override=1)
        return make_peaks(points, near.flatten(1).amax(1).clamp(max=1.0), covariance)

    def unflip(self, output: Output, pairs: Sequence[int]) -> Output:
        """The output of a mirror image back in place: paired landmarks exchanged, vectors turned along that axis."""
        classes, offset = output[CLASS], output[OFFSET]
        vectors = exchanged(offset.unflatten(1, (classes.shape[1], classes.ndim - 2)), 1, pairs).flip(3)
        vectors = torch.cat([-vectors[:, :, :1], vectors[:, :, 1:]], dim=2)
        return {CLASS: exchanged(classes, 1, pairs).flip(2), OFFSET: vectors.flatten(1, 2)}

    def density(self, output: Output) -> None:
        """None: votes have no level sets."""

    def single(self) -> GridVoteDecoder:
        """Itself: it finds one peak for each landmark."""
        return self
