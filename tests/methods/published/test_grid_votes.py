"""Cells that vote: the signed logarithm, the loss, its gradients and the decoder in closed form."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from auto_config.bundle_scripts.inference.strided_window import StridedWindowInferer
from auto_config.bundle_scripts.methods.grid_votes import (
    CLASS,
    OFFSET,
    GridVoteDecoder,
    GridVoteLoss,
    signed_exp,
    signed_log,
)
from auto_config.bundle_scripts.methods.interfaces import PointBatch

NAN = float("nan")
GRIDS = {2: (5, 4), 3: (4, 3, 2)}


def truth(points, status):
    return PointBatch(torch.as_tensor(points, dtype=torch.float32)[:, :, None], torch.tensor(status))


def cell_centres(grid, stride, dims):
    """``(D, *grid)`` voxels, by counting the voxels of each cell."""
    axes = [torch.arange(n * stride, dtype=torch.float32).reshape(n, stride).mean(1) for n in grid]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"))


def perfect(points, grid, stride, high=20.0):
    """The output of a network that knows ``points (L, D)``."""
    points = torch.as_tensor(points, dtype=torch.float32)
    dims = points.shape[1]
    vectors = points[(..., *(None,) * dims)] - cell_centres(grid, stride, dims)
    inside = (vectors.abs() <= stride / 2).all(1)
    classes = torch.where(inside, high, -high)
    offset = torch.sign(vectors) * torch.log(1 + vectors.abs())
    return {CLASS: classes, OFFSET: offset.flatten(0, 1)}


def voxels(grid, stride):
    return tuple(n * stride for n in grid)


@given(st.floats(-1e4, 1e4))
def test_the_signed_logarithm_has_an_inverse_and_is_odd(value):
    x = torch.tensor([value], dtype=torch.float64)
    torch.testing.assert_close(signed_exp(signed_log(x)), x, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(signed_log(-x), -signed_log(x))


def test_the_signed_logarithm_by_hand():
    x = torch.tensor([0.0, math.e - 1, 1 - math.e, 7.0], dtype=torch.float64)
    expected = torch.tensor([0.0, 1.0, -1.0, math.log(8)], dtype=torch.float64)
    torch.testing.assert_close(signed_log(x), expected)


@pytest.mark.parametrize("stride", [2, 8])
@pytest.mark.parametrize("dims", [2, 3])
@given(data=st.data())
@settings(max_examples=30, deadline=None)
def test_a_perfect_output_decodes_to_the_point_and_has_no_loss(dims, stride, data):
    grid = GRIDS[dims]
    size = voxels(grid, stride)
    points = [[data.draw(st.floats(-0.375, n - 0.625, width=32)) for n in size] for _ in range(2)]
    output = perfect(points, grid, stride)
    peaks = GridVoteDecoder(stride).decode(output)
    torch.testing.assert_close(peaks.points, torch.tensor(points), atol=2e-3, rtol=0)
    # Votes that agree have the spread of a voxel.
    torch.testing.assert_close(peaks.covariance, torch.eye(dims).repeat(2, 1, 1) / 12, atol=1e-3, rtol=0)
    assert peaks.confidence.min() > 0.999
    batch = {head: value[None] for head, value in output.items()}
    on_border = any(abs((x + 0.5) / stride % 1) < 1e-4 for point in points for x in point)
    if not on_border:
        assert float(GridVoteLoss()(batch, truth([points], [[1, 1]]), size)) < 1e-4


@pytest.mark.parametrize("dims", [2, 3])
def test_the_loss_by_hand(dims):
    """One landmark in the first cell: 2 cells of 4 voxels along the first axis, one along the others."""
    grid = (2, *(1,) * (dims - 1))
    classes, vectors = torch.zeros(1, 1, *grid), torch.zeros(1, dims, *grid)
    classes[0, 0].view(-1)[:] = torch.tensor([2.0, -1.0])
    point = [0.5, *(1.5,) * (dims - 1)]
    found = GridVoteLoss()({CLASS: classes, OFFSET: vectors}, truth([[point]], [[1]]), (8, *(4,) * (dims - 1)))
    cells = (math.log(1 + math.exp(-2)) + math.log(1 + math.exp(-1))) / 2
    # The centres are at 1.5 and 5.5 along the first axis; along the others the point is in the middle.
    logs = (math.log(2) + math.log(6)) / 2 / dims
    assert float(found) == pytest.approx(cells + logs, rel=1e-5)


def test_gradients_by_hand():
    """The cross-entropy's is that of a sigmoid, the absolute error's a sign, each over what is averaged."""
    generator = torch.Generator().manual_seed(0)
    classes = torch.randn(1, 2, 3, 2, generator=generator, requires_grad=True)
    vectors = torch.randn(1, 4, 3, 2, generator=generator, requires_grad=True)
    points = torch.tensor([[[9.0, 3.0], [20.0, 12.0]]])
    GridVoteLoss()({CLASS: classes, OFFSET: vectors}, truth(points, [[1, 1]]), (24, 16)).backward()
    target = torch.zeros(2, 3, 2)
    target[0, 1, 0] = target[1, 2, 1] = 1
    torch.testing.assert_close(classes.grad[0], (classes.detach()[0].sigmoid() - target) / 12)
    best = perfect(points[0], (3, 2), 8)[OFFSET]
    torch.testing.assert_close(vectors.grad[0], (vectors.detach()[0] - best).sign() / 24)


@pytest.mark.parametrize("dims", [2, 3])
def test_absent_unknown_and_outside(dims):
    grid = GRIDS[dims]
    size = voxels(grid, 8)
    shape = (1, 4, *grid)
    classes = torch.zeros(shape, requires_grad=True)
    vectors = torch.zeros(1, 4 * dims, *grid, requires_grad=True)
    points = torch.full((1, 4, dims), 5.0)
    points[0, 2] = NAN
    points[0, 3, 0] = -30.0
    # present, absent, unknown, present but outside of the patch
    GridVoteLoss()({CLASS: classes, OFFSET: vectors}, truth(points, [[1, 0, -1, 1]]), size).backward()
    by_landmark = vectors.grad.unflatten(1, (4, dims))[0]
    # Absent: every cell is pushed down, and no vector is trained.
    torch.testing.assert_close(classes.grad[0, 1], torch.full(grid, 0.5 / 3 / math.prod(grid)))
    assert not by_landmark[1].any()
    # Unknown: nothing.
    assert not classes.grad[0, 2].any()
    assert not by_landmark[2].any()
    # Outside: in no cell, and the vectors to it are trained: all point down along the first axis.
    torch.testing.assert_close(classes.grad[0, 3], classes.grad[0, 1])
    assert (by_landmark[3, 0] > 0).all()
    assert (classes.grad[0, 0] < 0).sum() == 1
    # A perfect output points there, and nothing says that it is here.
    peaks = GridVoteDecoder(8).decode(perfect(points[0], grid, 8))
    torch.testing.assert_close(peaks.points[3], points[0, 3], atol=1e-2, rtol=0)
    assert float(peaks.confidence[3]) < 1e-6


def test_votes_are_weighed_and_their_spread_is_the_covariance():
    """Two cells with weights 3 : 1 that point 4 voxels apart along the first axis."""
    classes = torch.tensor([[[math.log(3.0)], [-math.log(3.0)]]])  # probabilities 3/4 and 1/4
    offset = torch.zeros(2, 2, 1)
    offset[0, :, 0] = signed_log(torch.tensor([1.0, -3.0]))
    # Centres at 3.5 and 11.5, so votes at 4.5 and 8.5.
    peaks = GridVoteDecoder(8).decode({CLASS: classes, OFFSET: offset})
    torch.testing.assert_close(peaks.points, torch.tensor([[5.5, 3.5]]))
    torch.testing.assert_close(peaks.covariance[0], torch.tensor([[3.0, 0.0], [0.0, 0.0]]) + torch.eye(2) / 12)
    # Neighbours share a landmark between them.
    assert float(peaks.confidence[0]) == pytest.approx(1.0)
    # A prior weighs the voters and moves no vote.
    prior = torch.tensor([[[-50.0], [0.0]]])
    again = GridVoteDecoder(8).decode({CLASS: classes, OFFSET: offset}, prior)
    torch.testing.assert_close(again.points, torch.tensor([[8.5, 3.5]]))
    torch.testing.assert_close(again.confidence, peaks.confidence)


@pytest.mark.parametrize("dims", [2, 3])
def test_vectors_turn_in_the_mirror_and_pairs_change_places(dims):
    grid, pairs = GRIDS[dims], [1, 0, 2]
    size = voxels(grid, 8)
    points = torch.tensor([[6.2, 9.1, 3.3], [25.4, 11.9, 12.2], [16.1, 20.7, 5.0]])[:, :dims]
    flipped = points[pairs].clone()
    flipped[:, 0] = size[0] - 1 - flipped[:, 0]
    seen = {head: value[None] for head, value in perfect(flipped, grid, 8).items()}
    back = GridVoteDecoder(8).unflip(seen, pairs)
    for head, value in perfect(points, grid, 8).items():
        torch.testing.assert_close(back[head][0], value, atol=1e-5, rtol=0)
    assert GridVoteDecoder(8).density(back) is None


def test_a_stride_of_nothing_is_refused():
    with pytest.raises(ValueError, match="stride is 0"):
        GridVoteDecoder(0)
    with pytest.raises(ValueError, match=r"\[24, 20\] voxels; each edge must be a multiple of 8"):
        StridedWindowInferer([24, 20], stride=8)
