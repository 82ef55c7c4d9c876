"""Decoders on the targets that they were made for."""

import numpy as np
import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from auto_config.bundle_scripts.methods.decoders import ArgmaxDecoder
from auto_config.bundle_scripts.methods.heatmap import EDTHeatmap

SIZE = 20
RADII = [[15] * 3, [11] * 3, [5] * 3, [15, 15, 3], [15, 3, 15], [15, 15, 5], [8, 15, 15], [15, 15], [11, 11], [15, 5]]


def positions(dims, count=100):
    """Random places at least 3 voxels from the border, and the ties: voxel centres and corners between voxels."""
    inner = 3 + torch.rand((count, dims), generator=torch.Generator().manual_seed(dims)) * (SIZE - 7)
    return torch.cat([inner, torch.full((1, dims), 7.0), torch.full((1, dims), 7.5)])


@pytest.mark.parametrize("radius", RADII, ids=str)
def test_cones_are_decoded_below_a_twentieth_of_a_voxel(radius):
    points = positions(len(radius))
    cone = EDTHeatmap(radius)(points[None], (SIZE,) * len(radius))[0].clamp(1e-6, 1 - 1e-6)
    found, confidence, _ = ArgmaxDecoder(link="sigmoid", sharpness=radius)(torch.logit(cone))
    assert (found - points).abs().max() < 0.05
    torch.testing.assert_close(confidence, cone.flatten(1).amax(1))


def test_on_a_thin_grid_one_sharpness_for_all_axes_is_not_enough():
    points = positions(3)
    cone = EDTHeatmap([15, 15, 3])(points[None], (SIZE,) * 3)[0].clamp(1e-6, 1 - 1e-6)
    found, *_ = ArgmaxDecoder(link="sigmoid", sharpness=15)(torch.logit(cone))
    assert (found - points).abs().max() > 0.1


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("height", [-20.0, 0.0, 30.0])
def test_gaussians_are_decoded_below_a_twentieth_of_a_voxel(dims, height):
    points = positions(dims)
    grid = torch.stack(torch.meshgrid(*[torch.arange(float(SIZE))] * dims, indexing="ij"), -1)
    logits = height - 0.5 * (grid - points.reshape(-1, *[1] * dims, dims)).square().sum(-1)
    found, *_ = ArgmaxDecoder(link="softmax")(logits)
    assert (found - points).abs().max() < 0.05


@given(
    st.integers(0, 2**20),
    st.sampled_from(["softmax", "sigmoid"]),
    st.sampled_from([(1, 1), (2, 7), (3, 4, 1), (6, 5, 4)]),
)
@settings(derandomize=True, deadline=None, max_examples=20, phases=[Phase.explicit, Phase.generate])
def test_any_logits_give_a_point_on_the_grid(seed, link, size):
    logits = 30 * torch.randn((4, *size), generator=torch.Generator().manual_seed(seed))
    points, confidence, *_ = ArgmaxDecoder(link=link, sharpness=15.0)(logits)
    assert points.isfinite().all()
    assert (points >= 0).all()
    assert (points <= torch.tensor(size) - 1).all()
    assert ((confidence >= 0) & (confidence <= 1)).all()


def test_confidence_is_the_sigmoid_of_the_highest_logit():
    logits = torch.full((2, 6, 6), -4.0)
    logits[0, 2, 3], logits[1, 4, 4] = 2.0, -1.0
    _, confidence, *_ = ArgmaxDecoder()(logits)
    torch.testing.assert_close(confidence, torch.sigmoid(torch.tensor([2.0, -1.0])))


def test_a_prior_chooses_between_peaks_and_moves_none():
    axis = torch.arange(24.0)
    near, far = -0.5 * (axis - 5.3) ** 2, 0.5 - 0.5 * (axis - 17.2) ** 2
    logits = torch.maximum(near, far)[None, :, None].expand(1, 24, 3) - torch.tensor([1.0, 0.0, 1.0])
    decoder = ArgmaxDecoder()
    assert decoder(logits)[0][0, 0] == pytest.approx(17.2, abs=0.02)
    prior = -0.5 * ((axis - 7.0) / 4.0).square()[None, :, None]
    assert decoder(logits, prior)[0][0, 0] == pytest.approx(5.3, abs=0.02)


def test_large_maps_are_cut_at_their_borders():
    logits = torch.full((1, 9, 9), -50.0)
    logits[0, 0, 8] = 5.0
    np.testing.assert_allclose(ArgmaxDecoder()(logits)[0][0], [0, 8], atol=1e-5)


def test_an_unknown_link_is_refused():
    with pytest.raises(ValueError, match="link is 'relu'"):
        ArgmaxDecoder(link="relu")


@pytest.mark.parametrize("sigma", [0.7, 1.0, 1.5])
def test_the_covariance_is_that_of_the_peak(sigma):
    axes = torch.meshgrid(*[torch.arange(21.0)] * 3, indexing="ij")
    offsets = [axis - centre for axis, centre in zip(axes, (10.2, 9.7, 10.0), strict=True)]
    logits = -0.5 * sum((offset / sigma) ** 2 for offset in offsets)
    points, _, covariance = ArgmaxDecoder()(logits[None])
    np.testing.assert_allclose(points[0], [10.2, 9.7, 10.0], atol=0.02)
    # The box reaches 5 voxels to each side, more than three sigma.
    np.testing.assert_allclose(covariance[0], np.eye(3) * (sigma**2 + 1 / 12), atol=0.03 * sigma**2)
