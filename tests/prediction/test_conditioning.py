"""Conditioning on points of a person: closed forms, brute force, outliers, rigid motion."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.spatial.transform import Rotation

from auto_config.prediction.conditioning import condition, condition_as_usual
from auto_config.prediction.shape_gaussian import ShapeGaussian, fit_gaussian


def turned(points, rotation, shift, scale=1.0):
    return scale * points @ rotation.T + shift


def test_with_a_sure_pose_it_is_the_conditional_gaussian():
    rng = np.random.default_rng(0)
    mean = rng.normal(size=(200, 3)) * 30
    modes = np.zeros((4, 200, 3))
    modes[:, :3] = rng.normal(size=(4, 3, 3))
    noise = np.full(200, 1e-6)
    noise[:3] = 0.2
    shape = ShapeGaussian(mean, modes, noise, (0.0, 0.02))
    points = mean.copy()
    points[:3] += rng.normal(size=(3, 3))
    given_points = points.copy()
    given_points[2] = np.nan
    found = condition(shape, given_points, 0.1, np.ones(200, dtype=bool))
    flat = modes[:, :3].reshape(4, -1)
    covariance = flat.T @ flat + 0.2 * np.eye(9)
    gain = covariance[6:, :6] @ np.linalg.inv(covariance[:6, :6])
    expected = mean[2] + gain @ (points - mean)[:2].ravel()
    np.testing.assert_allclose(found.points[2], expected, atol=2e-3)
    left = covariance[6:, 6:] - gain @ covariance[:6, 6:]
    np.testing.assert_allclose(found.deviation[2] ** 2, np.trace(left) / 3, rtol=1e-3)


def test_with_an_unknown_pose_it_is_the_best_pose_and_shape_of_all():
    rng = np.random.default_rng(3)
    mean = rng.normal(size=(7, 2)) * 10
    modes, noise = rng.normal(size=(2, 7, 2)) * 0.5, np.full(7, 0.01)
    shape = ShapeGaussian(mean, modes, noise, (0.0, 0.02))
    turn = np.array([[np.cos(0.7), -np.sin(0.7)], [np.sin(0.7), np.cos(0.7)]])
    truth = turned(mean + np.tensordot([0.8, -1.1], modes, 1) + rng.normal(size=(7, 2)) * 0.1, turn, [4.0, -9.0])
    seen = truth.copy()
    seen[5:] = np.nan
    found = condition(shape, seen, 0.1, np.ones(7, dtype=bool))

    def placed(x):
        rotation = np.array([[np.cos(x[0]), -np.sin(x[0])], [np.sin(x[0]), np.cos(x[0])]])
        return turned(mean + np.tensordot(x[4:], modes, 1), rotation, x[2:4], np.exp(x[1]))

    def cost(x):
        residual = (placed(x)[:5] - seen[:5]) / np.exp(x[1])
        return 0.5 * (residual**2).sum() / 0.01 + 0.5 * (x[4:] ** 2).sum() + 0.5 * (x[1] / 0.02) ** 2

    starts = [np.array([angle, 0.0, 4.0, -9.0, 0.0, 0.0]) for angle in np.arange(0, 6, 1.0)]
    best = min((minimize(cost, start, method="BFGS") for start in starts), key=lambda one: one.fun)
    np.testing.assert_allclose(found.points, placed(best.x), atol=0.02)


def anatomy(seed, landmarks=25, cases=30):
    rng = np.random.default_rng(seed)
    mean, modes = rng.normal(size=(landmarks, 3)) * 10, rng.normal(size=(3, landmarks, 3)) * 0.3

    def draw():
        return mean + np.tensordot(rng.normal(size=3), modes, 1) + rng.normal(size=(landmarks, 3)) * 0.1

    return fit_gaussian(np.stack([draw() for _ in range(cases)])), draw(), rng


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), share=st.floats(0, 0.6), angle=st.floats(0, np.pi))
def test_outliers_have_no_say_at_any_rotation(seed, share, angle):
    shape, truth, rng = anatomy(seed % 7)
    rng = np.random.default_rng(seed)
    axis = rng.normal(size=3)
    rotation = Rotation.from_rotvec(angle * axis / np.linalg.norm(axis)).as_matrix()
    truth = turned(truth, rotation, rng.normal(size=3) * 50)
    fixed = np.zeros(len(truth), dtype=bool)
    fixed[0] = True
    far = rng.permutation(np.arange(1, len(truth)))[: int(share * len(truth))]
    points = truth.copy()
    steps = rng.normal(size=(len(far), 3))
    points[far] += steps / np.linalg.norm(steps, axis=1, keepdims=True) * rng.uniform(5, 30, size=(len(far), 1))
    found = condition(shape, points, 0.1, fixed)
    assert not found.agree[far].any()
    assert np.linalg.norm(found.points - truth, axis=1).max() < 2.0
    assert found.agree[0]


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_what_moves_with_the_case_moves_with_it(seed):
    shape, truth, _ = anatomy(seed % 7)
    rng = np.random.default_rng(seed)
    points = truth.copy()
    points[3:9] += rng.normal(size=(6, 3)) * 10
    fixed = np.arange(len(truth)) < 2
    rotation, shift = Rotation.random(random_state=seed).as_matrix(), rng.normal(size=3) * 30
    one = condition(shape, points, 0.1, fixed)
    other = condition(shape, turned(points, rotation, shift), 0.1, fixed)
    np.testing.assert_allclose(other.points, turned(one.points, rotation, shift), atol=1e-4)
    np.testing.assert_allclose(other.deviation, one.deviation, atol=1e-4)
    np.testing.assert_array_equal(other.agree, one.agree)


def test_points_that_agree_on_nothing_move_nothing():
    shape, truth, rng = anatomy(1)
    points = rng.normal(size=truth.shape) * 200
    points[0] = truth[0]
    fixed = np.arange(len(truth)) < 1
    assert condition(shape, points, 0.1, fixed) is None
    # Enough points of a person do without the others.
    points[:6] = truth[:6]
    found = condition(shape, points, 0.1, np.arange(len(truth)) < 6)
    assert np.linalg.norm(found.points - truth, axis=1).max() < 3.0


@pytest.mark.parametrize("count", [1, 2, 3])
def test_few_points_of_a_person_carry_along_what_lies_as_usual(count):
    shape, truth, rng = anatomy(1)
    points = rng.normal(size=truth.shape) * 200
    fixed = np.arange(len(truth)) < count
    points[fixed] = truth[fixed]
    assert condition(shape, points, 0.1, fixed) is None
    usual = truth + rng.normal(size=truth.shape) * 0.3 + [8.0, -5.0, 3.0]  # the image lies elsewhere
    found = condition_as_usual(shape, points, usual, 0.1, fixed)
    assert np.linalg.norm(found.points - truth, axis=1).mean() < 1.0
    moved = condition_as_usual(shape, points + 7.0, usual - 4.0, 0.1, fixed)
    np.testing.assert_allclose(moved.points, found.points + 7.0, atol=1e-4)
    # Nothing is known without a person, or of landmarks without a usual place.
    assert condition_as_usual(shape, points, usual, 0.1, np.zeros(len(truth), dtype=bool)) is None
    assert condition_as_usual(shape, points, np.where(fixed[:, None], np.nan, usual), 0.1, fixed) is None


@pytest.mark.parametrize("known", [0, 2])
def test_too_few_points_say_nothing(known):
    shape, truth, _ = anatomy(2)
    points = np.full_like(truth, np.nan)
    points[:known] = truth[:known]
    assert condition(shape, points, 0.1, np.arange(len(truth)) < known) is None


def test_a_point_of_a_person_under_a_wrong_name_does_not_wreck_the_others():
    shape, truth, _ = anatomy(4)
    points = truth.copy()
    points[1] = truth[2]
    found = condition(shape, points, 0.1, np.arange(len(truth)) < 2)
    assert np.linalg.norm(found.points - truth, axis=1).max() < 2.0
    assert found.agree[1]  # it is nobody's to move
