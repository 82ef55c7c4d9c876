"""Anchor balls: the loss against loops over balls, votes, absent and unknown landmarks."""

import itertools
import math

import pytest
import torch

from auto_config.bundle_scripts.methods.interfaces import PointBatch
from auto_config.bundle_scripts.methods.networks.anchor_balls import AnchorBallDecoder, AnchorBallLoss, heads_of
from auto_config.methods.combining.losses import anchor_heads

UNIT, STRIDE, LANDMARKS = 8.0, 4, 4
RADII = (0.5, 1.0)
SIZES = {2: (16, 12), 3: (16, 12, 8)}


def noise(dims, batch=1, landmarks=LANDMARKS):
    generator = torch.Generator().manual_seed(dims)
    grid = [edge // STRIDE for edge in SIZES[dims]]
    heads = heads_of(landmarks, dims, len(RADII))
    return {head: torch.randn((batch, n, *grid), generator=generator) for head, n in heads.items()}


def truth(points, status):
    return PointBatch(torch.as_tensor(points, dtype=torch.float32)[:, :, None], torch.tensor(status))


def softplus(x):
    return math.log1p(math.exp(x))


def smooth(x):
    return 0.5 * x * x if abs(x) < 1 else abs(x) - 0.5


def by_hand(output, points, status, dims):
    """The loss of one image, ball by ball, for a number of hard negatives that all balls are below."""
    known = [k for k in range(LANDMARKS) if status[k] >= 0]
    cells = list(itertools.product(*(range(edge // STRIDE) for edge in SIZES[dims])))
    balls = list(itertools.product(range(len(RADII)), cells))
    holds = {k: [] for k in range(LANDMARKS)}
    ways = {}
    for k, (n, cell) in itertools.product(range(LANDMARKS), balls):
        centre = [(index + 0.5) * STRIDE - 0.5 for index in cell]
        ways[k, n, cell] = [(p - c) / (UNIT * RADII[n]) for p, c in zip(points[k], centre, strict=True)]
        if status[k] == 1 and math.hypot(*ways[k, n, cell]) < 1:
            holds[k].append((n, cell))
    usual = sum(((math.pi if dims == 2 else 4 / 3 * math.pi) * (UNIT * r / STRIDE) ** dims) for r in RADII)
    classes, where = 0.0, 0.0
    for k in known:
        logit = {(n, cell): float(output[f"class_{n}"][(0, k, *cell)]) for n, cell in balls}
        mine = max(len(holds[k]), 1)
        total = sum(softplus(-logit[ball]) for ball in holds[k]) / mine
        for n, cell in holds[k]:
            others = [j for j in known if j != k and (n, cell) not in holds[j]]
            total += sum(softplus(float(output[f"class_{n}"][(0, j, *cell)])) for j in others) / 3 / mine
        if status[k] == 0:
            highest = sorted(logit.values())[-5:]
            total += 0.2 * sum(map(softplus, highest)) / len(highest)
        every = [softplus(-x if ball in holds[k] else x) for ball, x in logit.items()]
        classes += (total + 0.001 * sum(every) / usual) / len(known)
    present = [k for k in range(LANDMARKS) if status[k] == 1]
    for k in present:
        for n, cell in holds[k]:
            found = [math.tanh(float(output[f"offset_{n}"][(0, k * dims + axis, *cell)])) for axis in range(dims)]
            errors = [smooth(a - b) for a, b in zip(found, ways[k, n, cell], strict=True)]
            where += sum(errors) / dims / len(holds[k]) / len(present)
    return classes + where


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("status", [[1, 1, 0, -1], [1, 1, 1, 1], [0, 0, -1, -1]])
def test_the_loss_is_that_of_every_ball_by_hand(dims, status):
    points = [[5.3, 6.1, 3.7], [6.0, 4.4, 4.2], [9.0, 2.0, 1.0], [-2.5, 4.0, 3.0]]
    points = [point[:dims] for point in points]
    output = noise(dims)
    found = AnchorBallLoss(UNIT, RADII, negatives=5)(output, truth([points], [status]), SIZES[dims])
    assert float(found) == pytest.approx(by_hand(output, points, status, dims), rel=1e-4)


@pytest.mark.parametrize("dims", [2, 3])
def test_unknown_landmarks_have_no_gradient_and_absent_ones_are_pushed_down(dims):
    points = torch.full((1, LANDMARKS, dims), 5.0)
    points[0, 2:] = float("nan")
    output = {head: x.requires_grad_() for head, x in noise(dims).items()}
    AnchorBallLoss(UNIT, RADII)(output, truth(points, [[1, 1, 0, -1]]), SIZES[dims]).backward()
    for number in range(len(RADII)):
        classes, offset = output[f"class_{number}"].grad[0], output[f"offset_{number}"].grad[0].unflatten(0, (-1, dims))
        assert not classes[3].any()
        assert not offset[2:].any()
        assert (classes[2] > 0).all()
        assert offset[:2].any()
    none = AnchorBallLoss(UNIT, RADII)(output, truth(points, [[-1] * LANDMARKS]), SIZES[dims])
    none.backward()
    assert float(none.detach()) == 0


def test_two_landmarks_in_one_ball_have_places_of_their_own():
    """The publication has one offset for a ball, so both would be found at one place."""
    dims, landmarks = 2, 2
    points = torch.tensor([[7.0, 6.0], [8.5, 6.5]])
    output = {head: torch.zeros_like(x).requires_grad_() for head, x in noise(2, landmarks=2).items()}
    optimizer = torch.optim.Adam(output.values(), lr=0.3)
    for _ in range(150):
        optimizer.zero_grad()
        AnchorBallLoss(UNIT, RADII)(output, truth([points.tolist()], [[1, 1]]), SIZES[dims]).backward()
        optimizer.step()
    found = AnchorBallDecoder(UNIT, RADII, STRIDE).decode({head: x.detach()[0] for head, x in output.items()})
    assert found.points.shape == (landmarks, dims)
    torch.testing.assert_close(found.points, points, atol=0.05, rtol=0)
    assert float(found.confidence.min()) > 0.9


def silent(dims):
    """An output in which no ball holds a landmark, and all offsets are 0."""
    return {
        head: torch.full_like(x[0], -9.0) if "class" in head else torch.zeros_like(x[0])
        for head, x in noise(dims).items()
    }


@pytest.mark.parametrize("dims", [2, 3])
def test_a_vote_that_is_far_off_moves_nothing(dims):
    output = silent(dims)
    near, middle, far = (1,) * dims, (2,) + (1,) * (dims - 1), (3,) + (1,) * (dims - 1)
    for cell, logit in ((near, 3.0), (middle, 2.0), (far, 4.0)):
        output["class_1"][(0, *cell)] = logit
    point = torch.tensor([7.5, 5.5, 5.5][:dims])
    for cell in (near, middle):
        centre = torch.tensor([(index + 0.5) * STRIDE - 0.5 for index in cell])
        output["offset_1"][(slice(0, dims), *cell)] = torch.atanh((point - centre) / UNIT)
    found = AnchorBallDecoder(UNIT, RADII, STRIDE, votes=3).decode(output)
    torch.testing.assert_close(found.points[0], point, atol=1e-4, rtol=0)
    assert float(found.confidence[0]) == pytest.approx(1 / (1 + math.exp(-4.0)))
    # The covariance knows of the vote at the third cell, 6 voxels away along the first axis.
    assert float(found.covariance[0, 0, 0]) > 5
    assert float(found.covariance[0, 1, 1]) == pytest.approx(1 / 12, abs=1e-4)
    # A landmark in no ball has next to no confidence.
    assert float(found.confidence[1]) < 1e-3


def test_a_prior_chooses_balls_and_moves_no_vote():
    output = silent(2)
    for cell in ((0, 0), (3, 2)):
        output["class_0"][(0, *cell)] = 2.0
    prior = torch.zeros(1, 4, 3)
    prior[0, 3, 2] = 20.0
    found = AnchorBallDecoder(UNIT, RADII, STRIDE, votes=1).decode(output, prior)
    assert found.points[0].tolist() == [13.5, 9.5]
    assert float(found.confidence[0]) == pytest.approx(1 / (1 + math.exp(-2.0)))


def test_heads_of_the_row_are_those_of_the_part():
    for dims in (2, 3):
        assert list(anchor_heads(5, dims).items()) == list(heads_of(5, dims).items())
        assert AnchorBallDecoder(UNIT).heads == tuple(anchor_heads(5, dims))


@pytest.mark.parametrize("arguments", [{"unit": 0.0}, {"unit": 8.0, "radii": [0.0]}, {"unit": 8.0, "votes": 0}])
def test_balls_without_a_size_and_no_votes_are_refused(arguments):
    with pytest.raises(ValueError, match="each must be positive"):
        AnchorBallDecoder(**arguments)
    if "votes" not in arguments:
        with pytest.raises(ValueError, match="each must be positive"):
            AnchorBallLoss(**arguments)
