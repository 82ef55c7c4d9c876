"""Balls around the cells of a coarse grid: which landmark lies in a ball, and where in it.

Source: He et al., "Anchor Ball Regression Model for Large-Scale 3D Skull Landmark Detection", Neurocomputing 567, 2024;
the form for incomplete data of H3DE-Net (Huang et al., 2025). The output has two heads for each size of ball, on a grid
with cells of a few voxels: ``class_K`` ``(B, L, *grid)``, the logit that the landmark lies in the ball of size K around
the cell, and ``offset_K`` ``(B, L * D, *grid)``, the D numbers of the first landmark first, whose tanh times the ball's
radius is the way from the cell's centre to it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from ...points.peaks import Peaks, make_peaks
from ..grid_votes import centres
from ..interfaces import Output, PointBatch, mean_over_batch
from ..on_device import constants, exchanged

RADII = (0.5, 0.75, 1.0, 1.25)
"""Sizes of balls, in units that decoder and loss are given."""
SIZES = len(RADII)


def class_head(number: int) -> str:
    """Name of the head of a size of ball that says which landmarks are in it."""
    return f"class_{number}"


def offset_head(number: int) -> str:
    """Name of the head of a size of ball that says where in it they are."""
    return f"offset_{number}"


def heads_of(landmarks: int, spatial_dims: int, sizes: int = SIZES) -> dict[str, int]:
    """Channels of each head in their order: that of the smallest ball's landmarks is the first."""
    found: dict[str, int] = {}
    for number in range(sizes):
        found |= {class_head(number): landmarks, offset_head(number): landmarks * spatial_dims}
    return found


def _places(grid: Sequence[int], stride: float, like: torch.Tensor) -> torch.Tensor:
    """Voxel coordinates ``(cells, D)`` of the centres of all cells."""
    axes = [centres(cells, stride, like) for cells in grid]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).flatten(0, -2)


class AnchorBallLoss(nn.Module):
    """Cross-entropies of who is in which ball, and the smooth absolute error of where.

    Of each landmark that is present, the balls that hold it are its positives. The sum is, with the published weights:
    cross-entropy on the positives; on the other landmarks at these balls, divided by their number; 0.2 times that on
    the 256 highest balls of each absent landmark; 0.001 times that of all balls; and the smooth L1 of the offsets of
    the positives, in radii.

    What is open: means and sums. Here each term is a mean over landmarks of what it is for one of them: a mean over its
    positives or its hard negatives; all balls are summed, and divided by as many as hold a landmark that lies in the
    middle of an image, or nothing would keep balls silent that are near no landmark. A landmark outside of the patch
    has no positives unless a ball reaches so far. Unknown landmarks count nowhere, neither as others. A landmark has
    offsets of its own, where the publication has one for all landmarks in a ball, and two in one ball share it.

    Args:
        unit: voxels of a radius of 1.
        radii: of the balls, in units.
        negatives: highest balls of an absent landmark that count.

    Raises:
        ValueError: no radius, or one that is not positive.
    """

    def __init__(self, unit: float, radii: Sequence[float] = RADII, negatives: int = 256) -> None:
        super().__init__()
        if not radii or min(radii) <= 0 or unit <= 0:
            raise ValueError(f"balls have radii of {list(radii)} times {unit} voxels; each must be positive")
        self.radii, self.negatives = [float(unit) * float(r) for r in radii], int(negatives)

    def forward(self, output: Output, truth: PointBatch, size: Sequence[int]) -> torch.Tensor:
        """See `scripts.methods.interfaces.Loss`; heads as this module describes them."""
        numbers = range(len(self.radii))
        first = output[class_head(0)]
        dims, landmarks = len(size), first.shape[1]
        strides = [edge / cells for edge, cells in zip(size, first.shape[2:], strict=True)]
        places = _places(first.shape[2:], strides[0], first)
        known, present = truth.status >= 0, truth.status == 1
        points = torch.nan_to_num(truth.points[:, :, 0].float())
        # (B, L, cells, D), in voxels
        way = points[:, :, None] - places
        distance = way.square().sum(-1)
        radii = constants(self.radii, first, torch.float32)
        # (B, L, sizes, cells)
        inside = (distance[:, :, None] < radii[:, None].square()) & present[..., None, None]
        logits = torch.stack([output[class_head(n)].float().flatten(2) for n in numbers], 2)
        count = inside.flatten(2).sum(2)
        yes, no = functional.softplus(-logits), functional.softplus(logits)
        found = _mean_of(yes, inside, count)
        # Of the balls of one landmark the others: each landmark's sum over those it is not in, weighed by who is there.
        others = known[..., None, None] & ~inside
        silent = (no * others).sum(1, keepdim=True) - no * others
        found = found + _mean_of(silent, inside, count) / max(landmarks - 1, 1)
        hard = no.flatten(2).topk(min(self.negatives, no[0, 0].numel()), dim=2).values.mean(2)
        found = found + 0.2 * torch.where(truth.status == 0, hard, 0.0)
        every = torch.where(inside, yes, no).flatten(2).sum(2) / self._usual(strides[0], dims)
        found = found + 0.001 * every
        return _mean_of_known(found, known) + _mean_of_known(self._offsets(output, way, inside, count), present)

    def _offsets(self, output: Output, way: torch.Tensor, inside: torch.Tensor, count: torch.Tensor) -> torch.Tensor:
        """Smooth L1 in radii ``(B, L)``, the mean over the axes and over the balls that hold a landmark."""
        batch, landmarks, cells, dims = way.shape
        total = torch.zeros((batch, landmarks), device=way.device)
        for number, radius in enumerate(self.radii):
            vector = output[offset_head(number)].float().reshape(batch, landmarks, dims, cells).tanh()
            error = functional.smooth_l1_loss(vector, (way / radius).clamp(-1, 1).movedim(-1, 2), reduction="none")
            total = total + torch.where(inside[:, :, number], error.mean(2), 0.0).sum(2)
        return total / count.clamp(min=1)

    def _usual(self, stride: float, dims: int) -> float:
        """Balls that hold a landmark far from any border: the volume of each size, in cells."""
        volume = {1: 2.0, 2: torch.pi, 3: 4 / 3 * torch.pi}[dims]
        return max(1.0, sum(volume * (radius / stride) ** dims for radius in self.radii))


def _mean_of(values: torch.Tensor, chosen: torch.Tensor, count: torch.Tensor) -> torch.Tensor:
    """Mean ``(B, L)`` of ``(B, L, sizes, cells)`` over the chosen balls; 0 where there is none."""
    return torch.where(chosen, values, 0.0).flatten(2).sum(2) / count.clamp(min=1)


def _mean_of_known(values: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
    """Mean of ``(B, L)`` over the chosen ones; 0 (with a gradient of 0) when there is none."""
    return mean_over_batch(torch.where(chosen, values, 0.0).sum(), chosen.sum())


class AnchorBallDecoder:
    """Of the points of the balls that are surest of a landmark, the one with the least summed distance to the others.

    Source: He et al., 2024: 15 balls vote. A vote that is far off moves nothing, where a mean would follow it. The
    confidence is the probability of the surest ball, so a landmark that is absent has little.

    Args:
        unit: voxels of a radius of 1.
        radii: of the balls, in units.
        stride: voxels for one cell, along each axis.
        votes: balls that vote.

    Raises:
        ValueError: a stride, a number of votes or a radius that is not positive.
    """

    def __init__(self, unit: float, radii: Sequence[float] = RADII, stride: int = 4, votes: int = 15) -> None:
        if int(stride) < 1 or int(votes) < 1 or min(radii) <= 0 or unit <= 0:
            raise ValueError(
                f"the decoder has a stride of {stride} voxels, {votes} votes and radii of {list(radii)} times {unit} "
                "voxels; each must be positive"
            )
        self.radii, self.stride, self.votes = [float(unit) * float(r) for r in radii], int(stride), int(votes)
        self.heads = tuple(heads_of(1, 1, len(self.radii)))

    def decode(self, output: Output, log_prior: torch.Tensor | None = None) -> Peaks:
        """One peak for each landmark; its covariance is that of the votes about it, and that of a voxel.

        Args:
            output: ``class_K (L, *grid)`` and ``offset_K (L * D, *grid)``.
            log_prior: ``(L, *grid)`` or what broadcasts to it: added to the logits where balls are chosen, and only
                there.
        """
        numbers, first = range(len(self.radii)), output[class_head(0)]
        landmarks, grid = first.shape[0], first.shape[1:]
        dims = len(grid)
        places = _places(grid, self.stride, first)
        logits = torch.stack([output[class_head(n)].float().flatten(1) for n in numbers], 1)
        chosen = logits
        if log_prior is not None:
            chosen = logits + log_prior.expand(landmarks, *grid).flatten(1)[:, None]
        points = torch.stack(
            [
                places + radius * output[offset_head(n)].float().reshape(landmarks, dims, -1).tanh().transpose(1, 2)
                for n, radius in zip(numbers, self.radii, strict=True)
            ],
            1,
        )
        best = chosen.flatten(1).topk(min(self.votes, chosen[0].numel()), dim=1).indices
        votes = points.flatten(1, 2).gather(1, best[..., None].expand(-1, -1, dims))
        apart = (votes[:, :, None] - votes[:, None]).norm(dim=-1).sum(2)
        centre = votes.gather(1, apart.argmin(1)[:, None, None].expand(-1, 1, dims))[:, 0]
        weight = torch.softmax(functional.logsigmoid(logits.flatten(1).gather(1, best)), dim=1)
        offset = votes - centre[:, None]
        covariance = torch.einsum("lv,lvi,lvj->lij", weight, offset, offset)
        # A voxel is a box and not a point: its own variance keeps votes that agree from being certain.
        covariance = covariance + torch.eye(dims, device=covariance.device) / 12
        return make_peaks(centre, torch.sigmoid(logits.flatten(1).gather(1, best)).amax(1), covariance)

    def unflip(self, output: Output, pairs: Sequence[int]) -> Output:
        """The output of a mirror image back in place: paired landmarks exchanged, offsets turned along that axis."""
        found: Output = {}
        for number in range(len(self.radii)):
            classes, offset = output[class_head(number)], output[offset_head(number)]
            vectors = exchanged(offset.unflatten(1, (classes.shape[1], classes.ndim - 2)), 1, pairs).flip(3)
            vectors = torch.cat([-vectors[:, :, :1], vectors[:, :, 1:]], dim=2)
            found[class_head(number)] = exchanged(classes, 1, pairs).flip(2)
            found[offset_head(number)] = vectors.flatten(1, 2)
        return found

    def density(self, output: Output) -> None:
        """None: votes have no level sets."""

    def single(self) -> AnchorBallDecoder:
        """Itself: it finds one peak for each landmark."""
        return self
