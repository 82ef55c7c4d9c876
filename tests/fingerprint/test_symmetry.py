"""Left-right pairs from names and from the mean shape."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from auto_config.fingerprint.symmetry import find_symmetry, symmetry_from_geometry

# Ten points on the right, their mirror images, four on the midline; mm. No other plane comes near.
RIGHT = np.random.default_rng(3).uniform([4, -20, -10], [15, 30, 12], (10, 3))
MIDDLE = np.array([[0, -25.0, 3], [0, -5, 14], [0, 12, -9], [0, 33, 1]])
HEAD = np.concatenate([RIGHT, RIGHT * [-1, 1, 1], MIDDLE])
PAIRS = tuple((number, number + 10) for number in range(10))


def _cohort(shape, *, cases=12, noise=0.4, seed=0):
    """Posed and varied copies of a shape: up to 15 degrees and 5 mm."""
    rng = np.random.default_rng(seed)
    copies = []
    for _ in range(cases):
        turn = Rotation.from_euler("xyz", rng.uniform(-15, 15, 3), degrees=True).as_matrix()
        copies.append((shape + rng.normal(scale=noise, size=shape.shape)) @ turn.T + rng.uniform(-5, 5, 3))
    return np.array(copies)


def test_pairs_of_a_posed_symmetric_shape():
    found = symmetry_from_geometry(_cohort(HEAD))
    assert found.source == "geometry"
    assert found.pairs == PAIRS
    assert found.midline == (20, 21, 22, 23)
    assert 0 < found.residual_mm < 0.5
    assert found.spread_mm == pytest.approx(0.4 * np.sqrt(3), rel=0.2)
    assert "10 pairs, 4 on the midline" in found.reason


@given(seed=st.integers(0, 10_000))
@settings(max_examples=8, deadline=None, derandomize=True)
def test_order_of_landmarks_does_not_matter(seed):
    order = np.random.default_rng(seed).permutation(len(HEAD))
    found = symmetry_from_geometry(_cohort(HEAD[order], seed=seed))
    expected = {frozenset((int(np.flatnonzero(order == i)[0]), int(np.flatnonzero(order == j)[0]))) for i, j in PAIRS}
    assert {frozenset(pair) for pair in found.pairs} == expected


def test_slightly_asymmetric_shapes_are_still_paired():
    shape = HEAD + np.random.default_rng(1).normal(scale=0.2, size=HEAD.shape)
    assert symmetry_from_geometry(_cohort(shape)).pairs == PAIRS


@pytest.mark.parametrize("seed", range(8))
def test_no_pairs_where_there_is_no_symmetry(seed):
    shape = np.random.default_rng(seed).uniform(-20, 20, (24, 3))
    found = symmetry_from_geometry(_cohort(shape))
    assert (found.pairs, found.midline, found.source) == ((), (), "none")


def test_one_landmark_without_partner_spoils_the_table():
    shape = np.concatenate([HEAD, [[12.0, 5.0, 25.0]]])
    assert symmetry_from_geometry(_cohort(shape)).pairs == ()


def test_symmetry_across_another_axis_is_not_left_and_right():
    assert symmetry_from_geometry(_cohort(HEAD[:, [1, 0, 2]])).pairs == ()


def test_two_planes_that_fit_alike_are_not_believed():
    angles = np.arange(8) * np.pi / 4
    ring = np.stack([20 * np.cos(angles), 20 * np.sin(angles), np.zeros(8)], axis=1)
    ring = np.concatenate([ring, ring * 0.5 + [0, 0, 9.0]])
    assert symmetry_from_geometry(_cohort(ring, noise=0.01)).pairs == ()


def test_too_little_to_tell():
    assert symmetry_from_geometry(_cohort(HEAD, cases=2)).source == "none"
    assert symmetry_from_geometry(_cohort(HEAD[[0, 1, 10, 11, 20]])).source == "none"
    lost = _cohort(HEAD)
    lost[:, 4] = np.nan
    assert symmetry_from_geometry(lost).pairs == ()


def test_a_landmark_missing_in_some_cases_does_no_harm():
    points = _cohort(HEAD)
    points[:4, 2] = np.nan
    assert symmetry_from_geometry(points).pairs == PAIRS


NAMES = [f"R point {n}" for n in range(10)] + [f"L point {n}" for n in range(10)] + ["a", "b", "c", "d"]


def test_names_come_first():
    found = find_symmetry(NAMES, _cohort(HEAD))
    assert found.source == "names"
    assert found.pairs == PAIRS
    assert found.midline == (20, 21, 22, 23)


def test_an_unpaired_name_off_the_midline_is_not_on_it():
    found = find_symmetry([*NAMES, "shunt"], _cohort(np.concatenate([HEAD, [[14.0, 5.0, 9.0]]])))
    assert found.pairs == PAIRS
    assert found.midline == (20, 21, 22, 23)
    assert "'shunt'" in found.reason


def test_names_without_any_case():
    found = find_symmetry(["left eye", "nose", "right eye"], np.zeros((0, 3, 3)))
    assert (found.pairs, found.midline) == (((0, 2),), (1,))


def test_names_without_sides_ask_the_shape():
    assert find_symmetry([str(n) for n in range(24)], _cohort(HEAD)).pairs == PAIRS
