"""The losses of Noothout's ablation, R, log R, C and their sums, and how votes of each are read."""

import pytest
import torch

from auto_config.bundle_scripts.methods.grid_votes import (
    CLASS,
    OFFSET,
    GridVoteDecoder,
    GridVoteLoss,
    centres,
    signed_log,
)
from auto_config.bundle_scripts.methods.interfaces import PointBatch

SIZE, STRIDE = {2: (16, 24), 3: (16, 24, 8)}, 4


def output(dims, landmarks=3):
    generator = torch.Generator().manual_seed(dims)
    grid = [edge // STRIDE for edge in SIZE[dims]]
    return {
        CLASS: torch.randn((1, landmarks, *grid), generator=generator).requires_grad_(),
        OFFSET: torch.randn((1, landmarks * dims, *grid), generator=generator).requires_grad_(),
    }


def truth(dims):
    points = torch.tensor([[[5.0, 9.5, 3.0], [-20.0, 4.0, 2.0], [float("nan")] * 3]])[..., :dims]
    return PointBatch(points[:, :, None], torch.tensor([[1, 1, 0]]))


def vectors(dims, landmark):
    """The way from the centre of each cell to a point, in voxels, ``(D, *grid)``."""
    like = torch.zeros(1)
    axes = [centres(edge // STRIDE, STRIDE, like) for edge in SIZE[dims]]
    places = torch.stack(torch.meshgrid(*axes, indexing="ij"))
    return truth(dims).points[0, landmark, 0].reshape(-1, *(1,) * dims) - places


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("logarithms", [True, False])
def test_the_parts_add_up_to_the_whole(dims, logarithms):
    found = output(dims)
    cells = GridVoteLoss(vectors=False)(found, truth(dims), SIZE[dims])
    alone = GridVoteLoss(cells=False, logarithms=logarithms)(found, truth(dims), SIZE[dims])
    both = GridVoteLoss(logarithms=logarithms)(found, truth(dims), SIZE[dims])
    torch.testing.assert_close(cells + alone, both)


@pytest.mark.parametrize("dims", [2, 3])
def test_vectors_are_compared_in_cells_or_as_logarithms_of_voxels(dims):
    found = output(dims)
    for logarithms in (True, False):
        errors = []
        for landmark in (0, 1):  # absent landmarks have no vectors
            way = vectors(dims, landmark)
            expected = signed_log(way) if logarithms else way / STRIDE
            errors.append((found[OFFSET][0, landmark * dims : (landmark + 1) * dims] - expected).abs().mean())
        loss = GridVoteLoss(cells=False, logarithms=logarithms)(found, truth(dims), SIZE[dims])
        torch.testing.assert_close(loss, sum(errors) / 2)


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize(("terms", "idle"), [({"vectors": False}, OFFSET), ({"cells": False}, CLASS)])
def test_a_head_that_does_not_count_has_a_gradient_of_zero(dims, terms, idle):
    found = output(dims)
    GridVoteLoss(**terms)(found, truth(dims), SIZE[dims]).backward()
    assert not found[idle].grad.any()
    assert all(x.grad[0, 0].any() for head, x in found.items() if head != idle)


def test_something_must_count():
    with pytest.raises(ValueError, match="one of them must be"):
        GridVoteLoss(cells=False, vectors=False)


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("logarithms", [True, False])
def test_without_cells_every_vote_weighs_the_same(dims, logarithms):
    point = truth(dims).points[0, 0, 0]
    way = vectors(dims, 0)
    offset = signed_log(way) if logarithms else way / STRIDE
    offset[(0, *(0,) * dims)] = 0.0  # one cell votes for its own centre along the first axis
    classes = output(dims, 1)[CLASS].detach()[0]
    found = GridVoteDecoder(STRIDE, cells=False, logarithms=logarithms).decode({CLASS: classes, OFFSET: offset})
    expected = point.clone()
    expected[0] -= way[(0, *(0,) * dims)] / classes[0].numel()
    torch.testing.assert_close(found.points[0], expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("dims", [2, 3])
def test_without_vectors_the_surest_cell_and_its_neighbours_vote(dims):
    """All other cells together have more of the probability, and would draw the point to the middle."""
    classes = torch.full((1, *(edge // STRIDE for edge in SIZE[dims])), -2.0)
    corner = (0,) * dims
    classes[(0, *corner)], classes[(0, 1, *corner[1:])] = 9.0, 9.0
    offset = torch.full((dims, *classes.shape[1:]), 50.0)
    found = GridVoteDecoder(STRIDE, vectors=False).decode({CLASS: classes, OFFSET: offset})
    expected = torch.full((dims,), (STRIDE - 1) / 2)
    expected[0] += STRIDE / 2
    # The 2^D neighbours, of a probability of 0.12 each, draw it by less than a voxel and a half.
    assert float((found.points[0] - expected).abs().max()) < 1.6
    prior = torch.zeros_like(classes)
    prior[(0, *(-1,) * dims)] = 50.0
    far = GridVoteDecoder(STRIDE, vectors=False).decode({CLASS: classes, OFFSET: offset}, prior)
    last = torch.tensor([float(edge) for edge in SIZE[dims]]) - (STRIDE + 1) / 2
    torch.testing.assert_close(far.points[0], last, atol=1e-3, rtol=0)
