"""How points lie: proper rotations, robust fits, and a pose that does not depend on any case."""

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from auto_config.bundle_scripts.points.pose.rotations import (
    angle_deg,
    fit_pose,
    mean_rotation,
    plane_rotation,
    proper,
    quarter_turns,
    random_rotation,
    tells_pose,
    upright,
)
from auto_config.bundle_scripts.points.procrustes import similarity

QUIET = settings(derandomize=True, deadline=None, max_examples=15, phases=[Phase.explicit, Phase.generate])
RIGHT = np.random.default_rng(3).uniform([4, -20, -10], [15, 30, 12], (6, 3))
MIDDLE = np.array([[0, -25.0, 3], [0, -5, 14], [0, 33, 1]])
HEAD = np.concatenate([RIGHT, RIGHT * [-1, 1, 1], MIDDLE])
MIRROR = np.array([*range(6, 12), *range(6), 12, 13, 14])


def shape_of(dims, landmarks=15, seed=1):
    return np.random.default_rng(seed).uniform(-20, 20, (landmarks, dims))


@given(st.integers(0, 10**6), st.floats(0, 180))
@QUIET
def test_the_angle_is_that_of_the_rotation(seed, degrees):
    axis = np.random.default_rng(seed).normal(size=3)
    turn = Rotation.from_rotvec(np.radians(degrees) * axis / np.linalg.norm(axis)).as_matrix()
    assert angle_deg(turn) == pytest.approx(degrees, abs=1e-4)
    assert angle_deg(plane_rotation(-np.radians(degrees))) == pytest.approx(degrees, abs=1e-4)


@given(st.integers(0, 10**6), st.sampled_from([2, 3]))
@QUIET
def test_a_fit_finds_any_rotation_though_a_third_of_the_points_is_wrong(seed, dims):
    random = np.random.default_rng(seed)
    mean, turn = shape_of(dims), random_rotation(random, dims)
    points = 1.1 * mean @ turn.T + random.uniform(-50, 50, dims) + random.normal(size=mean.shape) * 0.1
    wrong = random.choice(len(mean), 5, replace=False)
    points[wrong] += random.uniform(10, 40, (5, dims)) * random.choice([-1, 1], (5, dims))
    fit = fit_pose(mean, points, 0.3)
    assert angle_deg(fit.rotation.T @ turn) < 1.0
    right = np.setdiff1d(np.arange(len(mean)), wrong)
    assert fit.distance[right].max() < 1.0 < fit.distance[wrong].min()


@given(st.integers(0, 10**6), st.sampled_from([2, 3]))
@QUIET
def test_a_rotation_is_never_a_reflection(seed, dims):
    """Points that are the mirror image of the shape are fitted badly, and by a turn."""
    mean = shape_of(dims, seed=seed)
    fit = fit_pose(mean, mean * ([-1.0] + [1.0] * (dims - 1)), 0.3)
    assert np.linalg.det(fit.rotation) == pytest.approx(1.0)
    assert np.linalg.det(proper(np.diag([-1.0] + [1.0] * (dims - 1)))) == pytest.approx(1.0)
    assert np.median(fit.distance) > 1.0


def test_what_does_not_tell_a_pose():
    line = np.outer(np.arange(4.0), [1.0, 2.0, 3.0])
    assert not tells_pose(line)
    assert not tells_pose(line[:2])
    assert not tells_pose(np.ones((3, 2)))
    assert tells_pose(line[:2, :2])
    assert tells_pose(np.vstack([line[:2], [[5.0, 0, 0]]]))
    assert fit_pose(line, line, 1.0) is None
    assert fit_pose(np.full((4, 3), np.nan), line, 1.0) is None


def test_quarter_turns_are_all_proper_and_begin_with_none():
    for dims, count in ((2, 8), (3, 24)):
        turns = quarter_turns(dims)
        assert len({tuple(np.round(turn, 6).ravel() + 0.0) for turn in turns}) == count
        assert all(np.linalg.det(turn) == pytest.approx(1.0) for turn in turns)
        np.testing.assert_allclose(turns[0], np.eye(dims))
        angles = [angle_deg(turn) for turn in turns]
        assert angles == sorted(angles, key=lambda a: round(a, 6))


@given(st.integers(0, 10**6))
@QUIET
def test_every_rotation_is_near_a_quarter_turn(seed):
    """62.8 degrees is the farthest in 3D, and half of 45 in 2D."""
    for dims, most in ((2, 22.51), (3, 62.81)):
        turn = random_rotation(np.random.default_rng(seed), dims)
        assert min(angle_deg(one.T @ turn) for one in quarter_turns(dims)) <= most


def test_random_rotations_are_uniform():
    """The mean of uniform rotations is nothing, and their angles have the density (1 - cos) / pi."""
    random = np.random.default_rng(0)
    turns = np.stack([random_rotation(random, 3) for _ in range(4000)])
    assert np.abs(turns.mean(0)).max() < 0.05
    assert np.mean([angle_deg(turn) < 90 for turn in turns]) == pytest.approx(0.5 - 1 / np.pi, abs=0.025)
    assert np.abs(np.mean([random_rotation(random, 2) for _ in range(4000)], axis=0)).max() < 0.05


@given(st.integers(0, 10**6))
@QUIET
def test_an_upright_shape_is_the_same_however_it_lay(seed):
    turn = random_rotation(np.random.default_rng(seed), 3)
    shape = HEAD + np.random.default_rng(5).normal(size=HEAD.shape) * 0.1
    one = upright(shape, MIRROR)
    np.testing.assert_allclose(upright(shape @ turn.T + 7.0, MIRROR), one, atol=1e-6)
    np.testing.assert_allclose(upright(shape @ turn.T, None), upright(shape, None), atol=1e-6)
    # Only turned and moved: a similarity of size 1 without reflection.
    assert angle_deg(proper(similarity(shape, one, np.ones(len(shape)))[:3, :3])) >= 0
    np.testing.assert_allclose(
        np.linalg.norm(one[:, None] - one, axis=-1), np.linalg.norm(shape[:, None] - shape, axis=-1), atol=1e-6
    )
    assert np.linalg.det(similarity(shape, one, np.ones(len(shape)))[:3, :3]) == pytest.approx(1.0)


@given(st.integers(0, 10**6), st.sampled_from([2, 3]))
@QUIET
def test_similarities_of_many_weights_are_those_of_each(seed, dims):
    rng = np.random.default_rng(seed)
    source, target = rng.normal(size=(2, 7, dims))
    weights = rng.uniform(size=(5, 7)) * (rng.uniform(size=(5, 7)) < 0.7) + 1e-3
    together = similarity(source, target, weights)
    assert together.shape == (5, dims + 1, dims + 1)
    for one, weight in zip(together, weights, strict=True):
        np.testing.assert_allclose(one, similarity(source, target, weight), atol=1e-9)
        assert np.linalg.det(one[:dims, :dims]) > 0


def test_the_mirror_image_of_an_upright_symmetric_shape_is_upright():
    turn = random_rotation(np.random.default_rng(9), 3)
    one = upright(HEAD @ turn.T, MIRROR)
    np.testing.assert_allclose((one * [-1, 1, 1])[MIRROR], one, atol=1e-6)


def test_an_upright_shape_with_landmarks_that_nobody_knows():
    shape = HEAD.copy()
    shape[3] = np.nan
    one = upright(shape, MIRROR)
    assert np.isnan(one[3]).all()
    assert np.isfinite(np.delete(one, 3, axis=0)).all()
    assert np.isnan(upright(np.full((4, 3), np.nan), None)).all()


def test_the_mean_rotation_lies_between():
    turns = [plane_rotation(np.radians(degrees)) for degrees in (10, 30)]
    assert angle_deg(mean_rotation(turns)) == pytest.approx(20, abs=1e-6)
