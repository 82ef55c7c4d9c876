"""Coordinates as means of heatmaps: moments, losses, gradients and decoders against closed forms, in 2D and 3D."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peak_memory import PeakMemory
from scipy.spatial.distance import jensenshannon
from scipy.special import softmax
from scipy.stats import multivariate_normal

from auto_config.bundle_scripts.methods.coordinates import losses
from auto_config.bundle_scripts.methods.coordinates.decoder import SpatialMeanDecoder, VisibleMeanDecoder
from auto_config.bundle_scripts.methods.coordinates.moments import moments
from auto_config.bundle_scripts.methods.coordinates.network import SpatialLogSoftmax
from auto_config.bundle_scripts.methods.coordinates.visibility import VISIBILITY, VisibleLikelihoodLoss
from auto_config.bundle_scripts.methods.interfaces import LOGITS, PointBatch
from auto_config.methods import METHODS
from auto_config.methods.backbones import BACKBONES
from auto_config.methods.base import MethodRequest

SIZES = {2: (9, 11), 3: (9, 8, 7)}
ASPECT = {2: [1.0, 1.25], 3: [1.0, 1.25, 3.0]}
NAN = float("nan")
LOSSES = {
    "js": losses.EuclideanLoss,
    "variance": lambda aspect: losses.EuclideanLoss(aspect, "variance", weight=100.0),
    "wing": losses.WingLoss,
    "uglli": losses.GaussianLikelihoodLoss,
    "luvli": VisibleLikelihoodLoss,
    "star": losses.StarLoss,
}
EVERY = pytest.mark.parametrize(("name", "dims"), [(name, dims) for name in LOSSES for dims in (2, 3)])


def truth(points, status):
    return PointBatch(torch.as_tensor(points, dtype=torch.float32)[:, :, None], torch.as_tensor(status))


def maps(dims, landmarks=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {
        LOGITS: 2 * torch.randn((1, landmarks, *SIZES[dims]), generator=generator),
        VISIBILITY: torch.randn((1, landmarks, *SIZES[dims]), generator=generator),
    }


def places(size):
    return np.stack(np.meshgrid(*[np.arange(n) for n in size], indexing="ij"), -1).reshape(-1, len(size))


def seen(logits, aspect):
    """Probability (N,), mean (D,) and covariance (D, D) in voxels of the finest axis, of one channel."""
    probability = softmax(logits.double().numpy().ravel())
    where = places(logits.shape) * aspect
    return probability, probability @ where, np.cov(where.T, aweights=probability, ddof=0)


def divergence(probability, size, point, aspect):
    """Jensen-Shannon divergence from a Gaussian of a voxel of the finest axis, 0.6 voxel at least, normalised."""
    squared = (((places(size) - point) / np.maximum(1 / aspect, 0.6)) ** 2).sum(1)
    return jensenshannon(probability, softmax(-0.5 * squared)) ** 2


def expected_loss(name, output, point, number, dims):
    """The loss of one landmark by the formula of its publication, in numpy."""
    size, aspect = SIZES[dims], np.array(ASPECT[dims])
    probability, mean, covariance = seen(output[LOGITS][0, number], aspect)
    error = mean - np.array(point) * aspect
    unit = 2 / max(np.array(size) * aspect)
    wide = covariance + np.eye(dims) / 12
    if name == "js":
        return np.linalg.norm(error) * unit + divergence(probability, size, point, aspect)
    if name == "variance":
        return np.linalg.norm(error) * unit + 100 * (((np.diag(covariance) - 1) * unit**2) ** 2).sum()
    if name == "wing":
        constant = 5 - 5 * math.log(1 + 5 / 0.5)
        each = [5 * math.log(1 + abs(e) / 0.5) if abs(e) < 5 else abs(e) - constant for e in error]
        return sum(each) + divergence(probability, size, point, aspect)
    if name == "uglli":
        # The density of a normal distribution, without its constant.
        return -multivariate_normal(mean, wide).logpdf(np.array(point) * aspect) - dims / 2 * math.log(2 * math.pi)
    if name == "luvli":
        laplace = 0.5 * math.log(np.linalg.det(wide)) + math.sqrt(3 * error @ np.linalg.inv(wide) @ error)
        logit = float(probability @ output[VISIBILITY][0, number].double().numpy().ravel())
        return laplace + math.log(1 + math.exp(-logit))
    variances, axes = np.linalg.eigh(wide * unit**2)
    along = np.abs(axes.T @ error * unit)
    smooth = np.where(along < 0.01, along**2 / 0.02, along - 0.005)
    return (smooth / np.sqrt(variances)).sum() + variances.sum() / 2


@pytest.mark.parametrize("dims", [2, 3])
@given(data=st.data())
@settings(max_examples=20, deadline=None)
def test_moments_are_those_of_numpy(dims, data):
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 1000)))
    size = tuple(data.draw(st.integers(2, 7)) for _ in range(dims))
    logits = 3 * torch.randn((2, 2, *size), generator=generator)
    probability = torch.softmax(logits.flatten(2), 2).reshape(logits.shape)
    mean, covariance = moments(probability)
    for b in range(2):
        for k in range(2):
            _, middle, spread = seen(logits[b, k], np.ones(dims))
            np.testing.assert_allclose(mean[b, k].numpy(), middle, atol=1e-4)
            np.testing.assert_allclose(covariance[b, k].numpy(), spread, atol=1e-3)


@EVERY
def test_a_loss_is_that_of_its_publication(name, dims):
    """The mean over landmarks: nothing is summed over the batch, and no small number stands beside a root."""
    output, point = maps(dims), [n / 2 - 0.3 for n in SIZES[dims]]
    points = [point, [p + 1.1 for p in point], [p - 2.6 for p in point]]
    loss = LOSSES[name](ASPECT[dims])
    expected = [expected_loss(name, output, one, number, dims) for number, one in enumerate(points)]
    found = loss(output, truth([points], [[1, 1, 1]]), SIZES[dims])
    assert float(found) == pytest.approx(np.mean(expected), rel=2e-3)
    twice = {head: value.repeat(2, *[1] * (dims + 1)) for head, value in output.items()}
    assert float(loss(twice, truth([points] * 2, [[1, 1, 1]] * 2), SIZES[dims])) == pytest.approx(
        float(found), rel=1e-5
    )


@EVERY
def test_absent_and_outside_are_flat_or_not_visible_and_unknown_has_no_part(name, dims):
    output = {head: value.requires_grad_() for head, value in maps(dims).items()}
    loss = LOSSES[name](ASPECT[dims])
    points = [[NAN] * dims, [-2.0] * dims, [3.0] * dims]
    found = loss(output, truth([points], [[0, 1, -1]]), SIZES[dims])
    probability = [seen(one.detach(), np.ones(dims))[0] for one in output[LOGITS][0]]
    if name == "luvli":
        logits = [
            p @ v.detach().double().numpy().ravel() for p, v in zip(probability, output[VISIBILITY][0], strict=True)
        ]
        expected = np.mean([math.log(1 + math.exp(logit)) for logit in logits[:2]])
    else:
        # Divergence of the flat distribution from what the network says.
        expected = np.mean([-np.log(p).mean() - math.log(len(p)) for p in probability[:2]])
    assert float(found) == pytest.approx(expected, rel=1e-3)
    gradients = torch.autograd.grad(found, list(output.values()), allow_unused=True)
    for gradient in (one for one in gradients if one is not None):
        assert torch.isfinite(gradient).all()
        assert not gradient[0, 2].any()
    nothing = loss(output, truth([points], [[-1] * 3]), SIZES[dims])
    assert float(nothing) == 0.0
    assert not torch.autograd.grad(nothing, output[LOGITS])[0].any()


@EVERY
def test_gradients_of_coordinates_are_those_of_finite_differences(name, dims):
    output = {head: value.requires_grad_() for head, value in maps(dims, seed=3).items()}
    loss = LOSSES[name](ASPECT[dims])
    point = [n / 2 - 0.3 for n in SIZES[dims]]
    points = truth([[point, [500.0] * dims, [NAN] * dims]], [[1, 1, 0]])
    value = loss(output, points, SIZES[dims])
    (gradient,) = torch.autograd.grad(value, output[LOGITS])
    if name == "luvli":
        # Visibility is read where the heatmap looks, and moves no point: of that part there is no gradient.
        output[VISIBILITY] = torch.zeros_like(output[VISIBILITY])
    direction = torch.randn(gradient.shape, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        high, low = (
            loss({**output, LOGITS: output[LOGITS] + side * 1e-2 * direction}, points, SIZES[dims]) for side in (1, -1)
        )
    assert float(high - low) / 2e-2 == pytest.approx(float((gradient * direction).sum()), rel=3e-2, abs=5e-3)


@pytest.mark.parametrize("dims", [2, 3])
def test_visibility_moves_no_point(dims):
    output = {head: value.requires_grad_() for head, value in maps(dims).items()}
    loss = VisibleLikelihoodLoss(ASPECT[dims])
    value = loss(output, truth([[[NAN] * dims] * 3], [[0, 0, 0]]), SIZES[dims])
    on_heatmap, on_visibility = torch.autograd.grad(value, [output[LOGITS], output[VISIBILITY]])
    assert not on_heatmap.any()
    assert (on_visibility > 0).all()


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("dims", [2, 3])
def test_a_heatmap_that_is_flat_or_one_voxel_has_finite_gradients(name, dims):
    """All variances alike, or none at all: roots, eigenvectors and inverses have no slope there of their own."""
    point = [float(n // 2) for n in SIZES[dims]]
    for height in (0.0, 200.0):
        logits = torch.zeros((1, 1, *SIZES[dims]))
        logits[(0, 0, *[int(p) for p in point])] = height
        logits.requires_grad_()
        output = {LOGITS: logits, VISIBILITY: torch.zeros_like(logits)}
        value = LOSSES[name]([1.0] * dims)(output, truth([[point]], [[1]]), SIZES[dims])
        (gradient,) = torch.autograd.grad(value, logits)
        assert torch.isfinite(value) and torch.isfinite(gradient).all()


def test_wing_loss_goes_on_as_a_straight_line():
    """landmarker's constructor raises in 2D; its formula is right."""
    for dims in (2, 3):
        wing = losses.WingLoss([1.0] * dims).wing
        low, high = wing(torch.tensor([5 - 1e-4, 5 + 1e-4])).tolist()
        assert low == pytest.approx(high, abs=1e-3)
        assert wing(torch.tensor([0.0, 0.5, 7.0])).tolist() == pytest.approx(
            [0.0, 5 * math.log(2), 7 - (5 - 5 * math.log(11))], rel=1e-5
        )


def test_a_regulariser_that_there_is_not_is_refused():
    with pytest.raises(ValueError, match="allowed are js, variance"):
        losses.EuclideanLoss([1.0, 1.0], "kl")


def gaussian(point, size, sigma):
    grid = torch.from_numpy(places(size)).float().reshape(*size, len(size))
    return torch.exp(-0.5 * ((grid - torch.tensor(point)) / sigma).square().sum(-1))


@pytest.mark.parametrize("dims", [2, 3])
def test_mean_and_covariance_of_a_gaussian_are_its_own(dims):
    size, point = (21,) * dims, [9.3, 10.4, 10.8][:dims]
    heat = gaussian(point, size, 1.5)[None]
    decoders = {"softmax": heat.clamp(min=1e-30).log(), "relu": 0.7 * heat}
    for weights, logits in decoders.items():
        found = SpatialMeanDecoder(weights).decode({LOGITS: logits})
        torch.testing.assert_close(found.points, torch.tensor([point]), atol=1e-3, rtol=0)
        torch.testing.assert_close(found.covariance[0], (1.5**2 + 1 / 12) * torch.eye(dims), atol=0.01, rtol=0)
        assert 0 < float(found.confidence[0]) < 1


def test_a_sigmoid_counts_everything_unless_a_box_is_given():
    """landmarker's mean of the sigmoid of heatmaps in [0, 1] is 31.8 voxels off: half of each voxel counts."""
    size, point = (65, 65), [12.2, 12.4]
    logits = gaussian(point, size, 2.0)[None]
    all_of_it = SpatialMeanDecoder("sigmoid").decode({LOGITS: logits}).points
    assert float((all_of_it - torch.tensor([point])).abs().max()) > 15
    boxed = SpatialMeanDecoder("relu", radius=6).decode({LOGITS: logits + 0.001}).points
    torch.testing.assert_close(boxed, torch.tensor([point]), atol=0.05, rtol=0)
    trained = torch.logit(gaussian(point, size, 2.0)[None].clamp(1e-7, 1 - 1e-7))
    torch.testing.assert_close(
        SpatialMeanDecoder("sigmoid").decode({LOGITS: trained}).points, torch.tensor([point]), atol=0.01, rtol=0
    )


def test_large_logits_stay_finite_and_a_box_at_the_border_is_cut():
    logits = torch.zeros(1, 9, 9)
    logits[0, 0, 8] = 1e4
    for radius in (None, 2):
        found = SpatialMeanDecoder(radius=radius).decode({LOGITS: logits})
        assert found.points.tolist() == [[0.0, 8.0]]
        assert torch.isfinite(found.pack()[:, :3]).all()


@pytest.mark.parametrize(("weights", "radius", "match"), [("none", None, "allowed are"), ("relu", 0, "1 or more")])
def test_wrong_decoders_are_refused(weights, radius, match):
    with pytest.raises(ValueError, match=match):
        SpatialMeanDecoder(weights, radius)


def test_a_prior_weighs_the_votes():
    logits = torch.full((1, 21, 21), -20.0)
    logits[0, 5, 5], logits[0, 15, 15] = 0.5, 0.0
    prior = torch.zeros(1, 21, 21)
    prior[0, :10] = -50.0
    decoder = SpatialMeanDecoder()
    assert 8 < float(decoder.decode({LOGITS: logits}).points[0, 0]) < 10
    assert decoder.decode({LOGITS: logits}, prior).points[0].tolist() == pytest.approx([15.0, 15.0], abs=0.01)


def test_visibility_is_read_where_the_heatmap_looks_and_is_the_confidence():
    heat = gaussian([5.0, 6.0], (12, 12), 1.0).clamp(min=1e-30).log()
    visibility = torch.full((2, 12, 12), -3.0)
    visibility[0, 2:9, 3:10] = 3.0
    found = VisibleMeanDecoder().decode({LOGITS: heat.expand(2, -1, -1), VISIBILITY: visibility})
    assert found.confidence.tolist() == pytest.approx([0.9526, 0.0474], abs=2e-3)
    output = {LOGITS: torch.randn(1, 3, 4, 4), VISIBILITY: torch.randn(1, 3, 4, 4)}
    turned = VisibleMeanDecoder().unflip(output, [1, 0, 2])
    torch.testing.assert_close(turned[VISIBILITY], output[VISIBILITY][:, [1, 0, 2]].flip(2))


def test_a_network_of_maps_ends_in_logarithms_of_probabilities():
    network = SpatialLogSoftmax(torch.nn.Conv3d(1, 5, 3, padding=1), 3).eval()
    image = torch.randn(2, 1, 6, 5, 4)
    out = network(image)
    torch.testing.assert_close(out[:, :3].exp().flatten(2).sum(2), torch.ones(2, 3))
    torch.testing.assert_close(out[:, 3:], network.network(image)[:, 3:])
    torch.testing.assert_close(torch.jit.script(network)(image), out)


@pytest.mark.parametrize(
    ("method", "name"), [("dsnt", "js"), ("wing", "wing"), ("uglli", "uglli"), ("luvli", "luvli"), ("star", "star")]
)
def test_bytes_that_losses_on_coordinates_hold(method, name):
    size = (24, 24, 24)
    heads = [LOGITS, VISIBILITY] if method == "luvli" else [LOGITS]
    half = torch.randn((2, 2 * len(heads), *size)).bfloat16().requires_grad_()
    points = truth(torch.full((2, 2, 3), 11.3), [[1, 1]] * 2)
    with PeakMemory() as memory:
        # The softmax of the network is part of it.
        maps = SpatialLogSoftmax(torch.nn.Identity(), 2)(half).split(2, dim=1)
        LOSSES[name]([1.0] * 3)(dict(zip(heads, maps, strict=True)), points, size).backward()
    limit = METHODS[method].loss_bytes_per_voxel
    assert 0.8 * limit < memory.peak / (half.numel() / len(heads)) <= limit


def _rule(method):
    stage = {"batch_size": 2, "patch_size": [32, 32, 32], "spacing": [1.0, 1.0, 1.0]}
    return METHODS[method].training(MethodRequest(BACKBONES["tiny"], stage)).loss.value


@pytest.mark.parametrize("method", ["dsnt", "wing"])
@pytest.mark.parametrize("dims", [2, 3])
def test_a_map_with_two_peaks_costs_more_than_a_point_that_is_off(method, dims):
    """The regulariser as the method plans it is felt: the mean alone cannot tell two peaks from one between them."""
    size = (33,) * dims
    loss = {"dsnt": losses.EuclideanLoss, "wing": losses.WingLoss}[method]([1.0] * dims, **_rule(method))
    grid = torch.stack(torch.meshgrid(*[torch.arange(33.0)] * dims, indexing="ij"))

    def peak(place):
        centre = torch.tensor([place] + [16.0] * (dims - 1)).reshape(-1, *(1,) * dims)
        return -0.5 * (grid - centre).square().sum(0)

    point = truth([[[16.0] * dims]], [[1]])
    two, off = (
        float(loss({LOGITS: one[None, None]}, point, size))
        for one in (torch.logaddexp(peak(8.0), peak(24.0)), peak(18.0))
    )
    assert two > off
