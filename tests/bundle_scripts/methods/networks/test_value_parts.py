"""Heatmaps as values: Gaussians, balls, their losses and decoders against closed forms."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from auto_config.bundle_scripts.methods.interfaces import LOGITS, PointBatch
from auto_config.bundle_scripts.methods.networks.targets import BallHeatmap, GaussianHeatmap
from auto_config.bundle_scripts.methods.networks.value_decoders import TaylorDecoder, TopCentroidDecoder
from auto_config.bundle_scripts.methods.networks.value_losses import HardNegativeL1Loss, MeanSquaredLoss
from auto_config.bundle_scripts.methods.networks.wrapped import CoordConv, LogProbability

SIZES = {2: (12, 10), 3: (12, 10, 8)}
NAN = float("nan")


def grid(size):
    return torch.stack(torch.meshgrid(*[torch.arange(float(n)) for n in size], indexing="ij"), -1)


def truth(points, status):
    return PointBatch(torch.as_tensor(points, dtype=torch.float32), torch.as_tensor(status))


def gaussian(point, sigma, size):
    return torch.exp(-0.5 * ((grid(size) - torch.tensor(point)) / torch.tensor(sigma)).square().sum(-1))


@pytest.mark.parametrize("dims", [2, 3])
def test_a_gaussian_has_its_width_along_each_axis_and_reaches_in_from_outside(dims):
    size, sigma = SIZES[dims], [1.5, 2.0, 0.75][:dims]
    for point in ([4.3, 5.8, 3.1][:dims], [-1.5, 4.0, 2.0][:dims]):
        made = GaussianHeatmap(sigma)(torch.tensor([[point]]), size)
        torch.testing.assert_close(made[0, 0], gaussian(point, sigma, size), atol=1e-6, rtol=1e-4)
    assert not GaussianHeatmap(sigma)(torch.full((1, 1, dims), NAN), size).any()


def test_a_thick_axis_has_the_whole_gaussian():
    """SR-UNet's box has 3 sigma of the first axis, in voxels, along every axis."""
    made = GaussianHeatmap([2.0, 2.0, 2.0 / 3])(torch.tensor([[[10.0, 10.0, 10.0]]]), (21, 21, 21))[0, 0]
    for step in (0, 3, 6):
        millimetres = math.exp(-0.5 * (step / 2) ** 2)
        assert float(made[10 + step, 10, 10]) == pytest.approx(millimetres, rel=1e-4)
        assert float(made[10, 10, 10 + step // 3]) == pytest.approx(millimetres, rel=1e-4)


@pytest.mark.parametrize("dims", [2, 3])
def test_a_ball_is_two_at_its_point_and_minus_one_outside(dims):
    size, radius, point = SIZES[dims], [4.0, 4.0, 2.0][:dims], [5.25, 4.5, 3.0][:dims]
    made = BallHeatmap(radius)(torch.tensor([[point]]), size)[0, 0]
    distance = ((grid(size) - torch.tensor(point)) * torch.tensor([1.0, 1.0, 2.0][:dims])).norm(dim=-1)
    expected = torch.where(distance <= 4, 2 * torch.exp(-distance.square() / (0.2 * 16)), -1.0)
    torch.testing.assert_close(made, expected)
    assert float(made[made > -1].min()) > 2 * math.exp(-5) - 1e-6
    assert (BallHeatmap(radius)(torch.full((1, 1, dims), NAN), size) == -1).all()


@pytest.mark.parametrize("kind", [GaussianHeatmap, BallHeatmap])
def test_a_target_without_width_is_refused(kind):
    with pytest.raises(ValueError, match="every axis needs a positive number"):
        kind([2.0, 0.0])


@pytest.mark.parametrize("dims", [2, 3])
def test_the_squared_error_is_a_mean_over_known_landmarks_and_weighted_heads(dims):
    size, sigma = SIZES[dims], [1.5] * dims
    points = [[[[4.3, 5.8, 3.1][:dims]], [[2.0] * dims], [[3.0] * dims], [[500.0] * dims]]]
    generator = torch.Generator().manual_seed(dims)
    output = {head: torch.randn((1, 4, *size), generator=generator).requires_grad_() for head in (LOGITS, "coarse")}
    status = [[1, 0, -1, 1]]
    loss = MeanSquaredLoss(GaussianHeatmap(sigma), {LOGITS: 3.0, "coarse": 1.0})(output, truth(points, status), size)
    empty = torch.zeros(size)
    target = torch.stack([gaussian(points[0][0][0], sigma, size), empty, empty])
    parts = [(output[head][0, [0, 1, 3]] - target).square().mean() for head in (LOGITS, "coarse")]
    torch.testing.assert_close(loss, (3 * parts[0] + parts[1]) / 4)
    loss.backward()
    assert not output[LOGITS].grad[0, 2].any()
    torch.testing.assert_close(
        output[LOGITS].grad[0, 0], 0.75 * 2 * (output[LOGITS][0, 0].detach() - target[0]) / (3 * target[0].numel())
    )
    none = MeanSquaredLoss(GaussianHeatmap(sigma))(output, truth(points, [[-1] * 4]), size)
    none.backward()
    assert float(none.detach()) == 0
    with pytest.raises(ValueError, match="each must be positive"):
        MeanSquaredLoss(GaussianHeatmap(sigma), {LOGITS: 0.0})


def smooth(x):
    return torch.where(x.abs() < 1, 0.5 * x.square(), x.abs() - 0.5)


@pytest.mark.parametrize("dims", [2, 3])
def test_as_many_of_the_highest_voxels_outside_count_as_the_ball_has(dims):
    size, radius, point = SIZES[dims], [2.0] * dims, [4.3, 5.8, 3.1][:dims]
    found = torch.randn((1, 1, *size), generator=torch.Generator().manual_seed(1)).requires_grad_()
    loss = HardNegativeL1Loss(BallHeatmap(radius))({LOGITS: found}, truth([[[point]]], [[1]]), size)
    target = BallHeatmap(radius)(torch.tensor([[point]]), size).flatten()
    values, inside = found.detach().flatten(), target >= 0
    count = int(inside.sum())
    hardest = values[~inside].sort(descending=True).values[:count]
    expected = smooth(values - target)[inside].mean() + smooth(hardest + 1).mean()
    torch.testing.assert_close(loss.detach(), expected)
    loss.backward()
    moved = found.grad.flatten() != 0
    assert int(moved.sum()) <= 2 * count
    assert not (moved & ~inside & (values < hardest.min())).any()


@pytest.mark.parametrize("dims", [2, 3])
def test_absent_and_far_landmarks_have_negatives_too_and_unknown_ones_nothing(dims):
    """H3DE-Net counts the voxels of the ball, so without one nothing is learnt of a landmark that is not there."""
    size, radius = SIZES[dims], [2.0] * dims
    voxels = math.prod(size)
    points = [[[[4.3, 5.8, 3.1][:dims]], [[2.0] * dims], [[500.0] * dims], [[3.0] * dims]]]
    found = torch.randn((1, 4, *size), generator=torch.Generator().manual_seed(1)).requires_grad_()
    loss = HardNegativeL1Loss(BallHeatmap(radius))({LOGITS: found}, truth(points, [[1, 0, 1, -1]]), size)
    loss.backward()
    ball = int((BallHeatmap(radius)(torch.tensor([points[0][0]]), size) >= 0).sum())
    wanted = max(ball, -(-voxels // 10))
    for channel in (1, 2):
        values, gradient = found.detach()[0, channel].flatten(), found.grad[0, channel].flatten()
        hardest = values.sort(descending=True)
        assert set(gradient.nonzero()[:, 0].tolist()) <= set(hardest.indices[:wanted].tolist())
        expected = (hardest.values[:wanted] + 1).clamp(-1, 1) / (3 * wanted)
        torch.testing.assert_close(gradient[hardest.indices[:wanted]], expected)
    assert not found.grad[0, 3].any()
    none = HardNegativeL1Loss(BallHeatmap(radius))({LOGITS: found}, truth(points, [[-1] * 4]), size)
    none.backward()
    assert float(none.detach()) == 0


def test_a_ball_that_fills_the_patch_has_no_outside():
    found = torch.zeros((1, 1, 4, 4), requires_grad=True)
    loss = HardNegativeL1Loss(BallHeatmap([50.0, 50.0]))({LOGITS: found}, truth([[[[1.0, 1.0]]]], [[1]]), (4, 4))
    loss.backward()
    assert torch.isfinite(loss)
    assert found.grad.all()


@pytest.mark.parametrize("dims", [2, 3])
@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_the_taylor_step_is_exact_on_gaussians_of_any_width(dims, data):
    size = (15, 16, 14)[:dims]
    point = [data.draw(st.floats(4, 9, width=32)) for _ in size]
    sigma = [data.draw(st.floats(1.0, 4.0, width=32)) for _ in size]
    height = data.draw(st.sampled_from([0.2, 1.0, 3.0]))
    value = TaylorDecoder().decode({LOGITS: height * gaussian(point, sigma, size)[None]})
    # At half a voxel two are equally high.
    torch.testing.assert_close(value.points[0], torch.tensor(point), atol=2e-3, rtol=0)
    assert float(value.confidence[0]) <= 1.0
    logits = -0.5 * ((grid(size) - torch.tensor(point)) / torch.tensor(sigma)).square().sum(-1)[None]
    softmax = TaylorDecoder("softmax").decode({LOGITS: logits})
    torch.testing.assert_close(softmax.points[0], torch.tensor(point), atol=2e-3, rtol=0)


def test_a_turned_gaussian_has_no_error_across_its_axes():
    """Without the mixed derivatives the step along each axis would be off by 0.15 voxel here."""
    shape = torch.tensor([[4.0, 1.8], [1.8, 2.0]])
    offset = grid((21, 21)) - torch.tensor([10.3, 9.6])
    heat = torch.exp(-0.5 * torch.einsum("xyi,ij,xyj->xy", offset, torch.linalg.inv(shape), offset))[None]
    torch.testing.assert_close(
        TaylorDecoder().decode({LOGITS: heat}).points[0], torch.tensor([10.3, 9.6]), atol=1e-3, rtol=0
    )


def test_where_no_parabola_opens_down_the_voxel_itself_is_the_point():
    corner = gaussian([0.2, 0.3], [2.0, 2.0], (9, 9))[None]
    assert TaylorDecoder().decode({LOGITS: corner}).points.tolist() == [[0.0, 0.0]]
    empty = TaylorDecoder().decode({LOGITS: torch.zeros(1, 9, 9)})
    assert torch.isfinite(empty.points).all()
    assert float(empty.confidence[0]) == 0.0
    with pytest.raises(ValueError, match="allowed are value, softmax"):
        TaylorDecoder("sigmoid")


@pytest.mark.parametrize("dims", [2, 3])
def test_the_centre_of_the_top_is_the_point_of_a_ball(dims):
    size, point = (41, 40, 38)[:dims], [20.3, 18.8, 19.4][:dims]
    heat = BallHeatmap([20.0] * dims)(torch.tensor([[point]]), size)[0]
    found = TopCentroidDecoder().decode({LOGITS: heat})
    torch.testing.assert_close(found.points[0], torch.tensor(point), atol=0.12, rtol=0)
    assert float(found.confidence[0]) == pytest.approx(1.0, abs=0.02)
    absent = TopCentroidDecoder().decode({LOGITS: torch.full_like(heat, -1.0)})
    assert float(absent.confidence[0]) == 0.0
    assert torch.isfinite(absent.points).all()


def test_of_two_tops_the_point_is_at_one_and_not_between():
    """H3DE-Net's mean over all voxels above the threshold lies where nothing is: at 30 of 15 and 45."""
    heat = torch.maximum(*BallHeatmap([10.0, 10.0])(torch.tensor([[[15.0, 15.0], [45.0, 15.0]]]), (61, 31))[0])[None]
    found = TopCentroidDecoder().decode({LOGITS: heat}).points[0]
    assert float((found - torch.tensor([15.0, 15.0])).norm()) < 0.2
    prior = -0.5 * (grid((61, 31)) - torch.tensor([45.0, 15.0])).square().sum(-1)[None] / 25
    chosen = TopCentroidDecoder().decode({LOGITS: heat}, prior).points[0]
    assert float((chosen - torch.tensor([45.0, 15.0])).norm()) < 0.2


@pytest.mark.parametrize("arguments", [{"voxels": 0}, {"radius": 0}])
def test_a_decoder_that_counts_nothing_is_refused(arguments):
    with pytest.raises(ValueError, match="it must be 1 or more"):
        TopCentroidDecoder(**arguments)


@pytest.mark.parametrize("dims", [2, 3])
def test_a_wrapped_network_gives_logarithms_of_probabilities_and_is_scripted(dims):
    layer = (torch.nn.Conv2d, torch.nn.Conv3d)[dims - 2](1, 3, 3, padding=1)
    image = torch.randn(2, 1, *SIZES[dims], generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found = LogProbability(layer)(image)
        torch.testing.assert_close(found.flatten(2).exp().sum(2), torch.ones(2, 3))
        torch.testing.assert_close(torch.jit.script(LogProbability(layer))(image), found)


@pytest.mark.parametrize("dims", [2, 3])
def test_coordinates_are_centres_of_voxels_between_the_borders_of_the_patch(dims):
    image = torch.zeros(2, 1, *SIZES[dims])
    seen = CoordConv(torch.nn.Identity())(image)
    assert seen.shape == (2, 1 + dims, *SIZES[dims])
    for axis, size in enumerate(SIZES[dims]):
        along = seen[0, 1 + axis].movedim(axis, 0)
        expected = (torch.arange(size) + 0.5) * 2 / size - 1
        torch.testing.assert_close(along, expected[(..., *(None,) * (dims - 1))].expand_as(along))
    torch.testing.assert_close(torch.jit.script(CoordConv(torch.nn.Identity()))(image), seen)
