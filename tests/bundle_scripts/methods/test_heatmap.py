"""Heatmap targets against closed forms."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from auto_config.bundle_scripts.methods.heatmap import EDTHeatmap, GaussianTarget

QUIET = settings(derandomize=True, deadline=None, max_examples=15)


def test_at_a_voxel_centre_the_cone_is_the_transform_of_a_ball():
    """nnLandmark's template is the distance transform of a ball of radius 15, divided by its maximum."""
    cone = EDTHeatmap([15, 15, 15])(torch.full((1, 1, 3), 17.0), (35, 35, 35))[0, 0].numpy()
    assert (cone > 0).sum() == 14_147
    assert (cone == 1).sum() == 1
    axis = np.arange(35) - 17
    ball = sum(np.meshgrid(*[axis**2] * 3, indexing="ij")) <= 15**2
    np.testing.assert_array_equal(cone > 0, ball)
    # The transform counts to the nearest voxel outside, at least 1 away; the cone is its closed form and falls to 0.
    template = ndimage.distance_transform_edt(ball)
    template /= template.max()
    np.testing.assert_allclose(cone, template, atol=0.067)
    np.testing.assert_allclose(cone[cone > 0.2], template[cone > 0.2], atol=0.04)
    np.testing.assert_allclose(cone[17, 17, 17:24], [1, 0.9335, 0.867, 0.8004, 0.7339, 0.6674, 0.6009], atol=1e-3)


@given(
    st.lists(st.floats(2.0, 20.0), min_size=2, max_size=3),
    st.tuples(*[st.floats(-6.0, 14.0)] * 3),
)
@QUIET
def test_a_cone_falls_linearly_with_the_distance_in_steps_of_the_finest_axis(radius, point):
    dims, finest = len(radius), max(radius)
    point = np.array(point[:dims], dtype=np.float32).astype(np.float64)
    size = (9, 8, 7)[:dims]
    cone = EDTHeatmap(radius)(torch.tensor(point)[None, None], size)[0, 0].numpy()
    grid = np.stack(np.meshgrid(*[np.arange(n) for n in size], indexing="ij"), -1)
    distance = np.linalg.norm((grid - point) * finest / np.array(radius), axis=-1)
    np.testing.assert_allclose(cone, np.maximum(0, 1 - distance / np.sqrt(finest**2 + 1)), atol=1e-6)


def test_a_landmark_outside_reaches_in_with_its_part_of_the_cone():
    target = EDTHeatmap([5, 5, 5])
    whole = target(torch.tensor([[[3.3, 10.0, 10.0]]]), (21, 21, 21))[0, 0]
    part = target(torch.tensor([[[-2.7, 10.0, 10.0]]]), (15, 21, 21))[0, 0]
    torch.testing.assert_close(part, whole[6:])
    assert part.max() > 0.4


def test_no_point_makes_an_empty_heatmap_and_leaves_the_others_alone():
    points = torch.tensor([[[float("nan")] * 2, [3.0, 3.0]]])
    cone = EDTHeatmap([5, 5])(points, (7, 7))[0]
    assert cone[0].abs().max() == 0
    assert cone[1, 3, 3] == 1


@given(st.tuples(*[st.floats(-3.0, 12.0)] * 3), st.floats(0.5, 3.0))
@QUIET
def test_factors_multiply_to_a_gaussian_with_sum_one(point, sigma):
    point = torch.tensor(point, dtype=torch.float64)
    size = (9, 10, 8)
    factors = GaussianTarget(sigma).factors(point[None, None], size)
    product = torch.einsum("i,j,k->ijk", *[f[0, 0] for f in factors])
    grid = torch.stack(torch.meshgrid(*[torch.arange(n, dtype=torch.float64) for n in size], indexing="ij"), -1)
    dense = torch.softmax((-0.5 * (grid - point).square().sum(-1) / sigma**2).flatten(), 0).reshape(size)
    torch.testing.assert_close(product, dense)
    assert product.sum() == pytest.approx(1.0)


@pytest.mark.parametrize("radius", [[0.0, 5.0], [-1.0, 2.0]])
def test_a_radius_must_be_positive(radius):
    with pytest.raises(ValueError, match="radius of the heatmap"):
        EDTHeatmap(radius)


def test_a_sigma_must_be_positive():
    with pytest.raises(ValueError, match="sigma is 0"):
        GaussianTarget(0.0)


def test_cones_in_pictures_have_the_radius_of_those_in_volumes():
    """The reference's are the first slice of a ball's template there, a disc of radius 11: docs/method.md says so."""
    heatmap = EDTHeatmap([15.0, 15.0])(torch.tensor([[[20.0, 20.0]]]), (41, 41))[0, 0]
    assert int((heatmap > 0).sum()) == 709
    assert float(heatmap.max()) == 1.0
