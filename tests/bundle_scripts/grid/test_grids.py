"""Arithmetic between grids against closed forms."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from auto_config.bundle_scripts.grid.grids import (
    apply_affine,
    coarse_affine,
    coarse_to_planned,
    embed_affine,
    world_to_voxel,
)

QUIET = settings(derandomize=True, deadline=None, max_examples=30)
NUMBERS = st.floats(-100, 100, width=32)


@given(arrays(np.float64, (3, 3), elements=st.floats(-0.3, 0.3)), arrays(np.float64, (5, 3), elements=NUMBERS))
@QUIET
def test_world_to_voxel_undoes_apply_affine(skew, points):
    affine = np.eye(4)
    affine[:3, :3] = np.diag([0.5, -2.0, 3.0]) + skew  # rows dominated by the diagonal: never singular
    affine[:3, 3] = [7, -80, 3]
    np.testing.assert_allclose(world_to_voxel(affine, apply_affine(affine, points)), points, atol=1e-8)


def test_nan_stays_nan_and_touches_no_other_point():
    points = apply_affine(np.diag([2.0, 3.0, 1.0]), np.array([[1.0, 1.0], [np.nan, 1.0]]))
    assert np.isnan(points[1]).any()
    np.testing.assert_array_equal(points[0], [2, 3])


def test_a_picture_takes_its_part_of_the_large_affine():
    large = np.arange(16.0).reshape(4, 4)
    np.testing.assert_array_equal(embed_affine(large, 2), [[0, 1, 3], [4, 5, 7], [0, 0, 1]])
    np.testing.assert_array_equal(embed_affine(embed_affine(large, 2), 2), embed_affine(large, 2))


@given(st.tuples(*[st.integers(1, 7)] * 3), arrays(np.float64, (4, 3), elements=NUMBERS))
@QUIET
def test_the_centre_of_a_block_is_the_mean_of_its_voxels(factor, points):
    first = np.array([0.0, 0.0, 0.0])
    voxels = np.stack(np.meshgrid(*[np.arange(f) for f in factor], indexing="ij"), -1).reshape(-1, 3)
    np.testing.assert_allclose(coarse_to_planned(first, factor), voxels.mean(0))
    affine = np.array([[0.0, -2, 0, 5], [1, 0, 0, -3], [0, 0, 1.5, 2], [0, 0, 0, 1]])
    np.testing.assert_allclose(
        apply_affine(coarse_affine(affine, factor), points),
        apply_affine(affine, coarse_to_planned(points, factor)),
        atol=1e-9,
    )
