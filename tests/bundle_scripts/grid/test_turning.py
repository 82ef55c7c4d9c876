"""Turned grids: exact maps there and back, and intensities of images that have a formula."""

import numpy as np
import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from auto_config.bundle_scripts.grid.grids import apply_affine, world_to_voxel
from auto_config.bundle_scripts.grid.turning import sampled, turned_about, turned_box
from auto_config.bundle_scripts.points.pose.rotations import quarter_turns, random_rotation

QUIET = settings(derandomize=True, deadline=None, max_examples=15, phases=[Phase.explicit, Phase.generate])
SHAPES = {2: (19, 14), 3: (15, 12, 9)}
SPACINGS = {2: np.array([0.5, 1.25]), 3: np.array([0.5, 1.25, 2.0])}


def grid_of(size):
    return np.stack(np.meshgrid(*[np.arange(n, dtype=float) for n in size], indexing="ij"), -1)


@given(st.integers(0, 10**6), st.sampled_from([2, 3]))
@QUIET
def test_points_go_forth_and_back_and_distances_stay(seed, dims):
    random = np.random.default_rng(seed)
    affine, size = turned_box(random_rotation(random, dims), SPACINGS[dims], SHAPES[dims])
    points = random.uniform(0, 1, (6, dims)) * (np.array(SHAPES[dims]) - 1)
    turned = world_to_voxel(affine, points)
    np.testing.assert_allclose(apply_affine(affine, turned), points, atol=1e-9)
    assert (turned >= -1e-6).all()
    assert (turned <= np.array(size) - 1 + 1e-6).all()
    apart = [np.linalg.norm((p[:, None] - p) * SPACINGS[dims], axis=-1) for p in (points, turned)]
    np.testing.assert_allclose(*apart, atol=1e-9)
    assert np.linalg.det(affine) == pytest.approx(1.0)


@given(st.integers(0, 10**6), st.sampled_from([2, 3]))
@QUIET
def test_a_linear_image_keeps_its_intensities_exactly(seed, dims):
    """Linear interpolation of a linear function is that function: an error of a voxel anywhere would show."""
    random = np.random.default_rng(seed)
    slope = random.uniform(-1, 1, dims)
    image = torch.from_numpy(grid_of(SHAPES[dims]) @ slope)[None].float()
    affine, size = turned_box(random_rotation(random, dims), SPACINGS[dims], SHAPES[dims])
    found = sampled(image, affine, size, -7.0)[0].numpy()
    at = apply_affine(affine, grid_of(size))
    inside = ((at >= 0) & (at <= np.array(SHAPES[dims]) - 1)).all(-1)
    assert inside.sum() > 50
    np.testing.assert_allclose(found[inside], (at @ slope)[inside], atol=1e-3)
    outside = ((at < -1) | (at > np.array(SHAPES[dims]))).any(-1)
    assert (found[outside] == -7.0).all()


@pytest.mark.parametrize("dims", [2, 3])
def test_a_quarter_turn_of_cubes_puts_voxels_on_voxels(dims):
    image = torch.randn((1, *SHAPES[dims]), generator=torch.Generator().manual_seed(0))
    for turn in quarter_turns(dims):
        if not np.allclose(np.abs(turn), np.round(np.abs(turn))):
            continue
        affine, size = turned_box(turn, np.ones(dims), SHAPES[dims])
        assert sorted(size) == sorted(SHAPES[dims])
        found = sampled(image, affine, size, 0.0)
        torch.testing.assert_close(found.flatten().sort().values, image.flatten().sort().values, atol=1e-5, rtol=0)


def test_far_from_the_origin_no_digit_is_lost():
    """A crop at voxel 3 000 of a picture is as exact as one at the corner."""
    image = torch.arange(4000.0).expand(1, 3, 4000) / 4000
    crop = sampled(image, turned_about(np.eye(2), np.ones(2), np.array([1.0, 3000.25])), (1, 9), 0.0)
    np.testing.assert_allclose(crop[0, 0], (3000.25 + np.arange(9)) / 4000, atol=1e-6)


def test_a_grid_beside_the_image_is_air():
    far = turned_about(np.eye(3), np.ones(3), np.array([40.0, 0, 0]))
    assert (sampled(torch.ones((2, *SHAPES[3])), far, (4, 4, 4), -3.0) == -3).all()
