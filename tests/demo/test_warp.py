"""The warp moves image and points alike."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auto_config.demo.afids import afid_points
from auto_config.demo.brains import sample
from auto_config.demo.warp import CONTROL_SPACING_MM, INJECTIVE_SHARE, REACH_MM, Warp, random_warp

KNOTS = round(2 * REACH_MM / CONTROL_SPACING_MM) + 1
STILL = np.zeros((3, KNOTS, KNOTS, KNOTS))


@settings(max_examples=10, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**32 - 1))
def test_points_and_image_follow_inverse_maps(seed: int) -> None:
    warp = random_warp(np.random.default_rng(seed))
    points = afid_points()
    np.testing.assert_allclose(warp.to_template(warp.from_template(points)), points, atol=1e-4)


def test_equal_displacements_are_a_translation() -> None:
    """B-splines sum to one, so control points that all move by d move everything by d."""
    shift = np.array([3.0, -2.0, 5.0])
    warp = Warp(np.eye(4), STILL + shift[:, None, None, None])
    np.testing.assert_allclose(warp.to_template(afid_points()), afid_points() + shift, atol=1e-9)
    np.testing.assert_allclose(warp.from_template(afid_points()), afid_points() - shift, atol=1e-6)


def test_pose_is_applied_to_points_as_written() -> None:
    pose = np.array([[0, -1.1, 0, 4], [0.9, 0, 0, 5], [0, 0, 1, -6], [0, 0, 0, 1.0]])
    np.testing.assert_allclose(Warp(pose, STILL).from_template(np.array([[10.0, 20, 30]])), [[-18.0, 14, 24]])


def test_random_warps_are_injective_and_move_points_by_millimetres() -> None:
    moved = []
    for seed in range(20):
        warp = random_warp(np.random.default_rng(seed))
        assert np.abs(warp.control).max() <= INJECTIVE_SHARE * CONTROL_SPACING_MM
        deformation = Warp(np.eye(4), warp.control)
        moved.append(np.linalg.norm(deformation.from_template(afid_points()) - afid_points(), axis=1).mean())
    assert 3 < np.mean(moved) < 8


def test_a_deformation_that_folds_is_refused() -> None:
    folding = STILL.copy()
    folding[0, ::2] = 100.0
    with pytest.raises(RuntimeError, match="not inverted"):
        Warp(np.eye(4), folding).from_template(np.array([[17.0, 0, 0]]))


@pytest.mark.parametrize("seed", range(4))
def test_a_bright_blob_stays_on_its_point(seed: int) -> None:
    """The centre of mass of a small blob, painted into the template, lies within 0.1 voxel of the point that moved."""
    warp = random_warp(np.random.default_rng(seed))
    point = np.array([[12.3, -26.7, -9.8]])
    template_affine = np.eye(4)
    template_affine[:3, 3] = point[0] - 20.5
    grid = np.stack(np.meshgrid(*[np.arange(41.0)] * 3, indexing="ij"), axis=-1) @ template_affine[:3, :3]
    blob = np.exp(-0.5 * ((grid + template_affine[:3, 3] - point[0]) ** 2).sum(axis=-1) / 2.5**2)
    moved = warp.from_template(point)[0]
    spacing = np.array([2.0, 1.6, 3.0])
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = moved - 15 * spacing - 0.37
    values = sample(blob, template_affine, warp, (30, 30, 30), affine)
    voxels = np.stack(np.meshgrid(*[np.arange(30.0)] * 3, indexing="ij"), axis=-1)
    centre = (values[..., None] * voxels).sum(axis=(0, 1, 2)) / values.sum()
    assert np.abs(centre - (moved - affine[:3, 3]) / spacing).max() < 0.1
