"""Unnamed ends of lines get an order from an axis of the cohort."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auto_config.bundle_scripts.points.landmarks import ABSENT, LandmarkSet
from auto_config.public_datasets.shared.end_points import CLOSE_COSINE, order_ends, orient_ends

SEEDS = st.integers(0, 10_000)


def lines_along(axis, seed, count=12, spread_degrees=15.0):
    """Lines that run along an axis, within an angle, from the lower to the higher coordinate."""
    rng = np.random.default_rng(seed)
    lines = {}
    for number in range(count):
        across = rng.normal(size=3)
        across[axis] = 0.0
        across /= np.linalg.norm(across)
        angle = np.radians(rng.uniform(0, spread_degrees))
        direction = np.cos(angle) * np.eye(3)[axis] + np.sin(angle) * across
        start = rng.normal(size=3) * 30
        lines[f"c{number}"] = np.array([start, start + direction * rng.uniform(5, 60)])
    return lines


def turned(points, seed, degrees):
    """Turned about a random axis."""
    rng = np.random.default_rng(seed)
    x, y, z = axis = rng.normal(size=3)
    x, y, z = axis / np.linalg.norm(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = np.radians(degrees)
    return points @ (np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross).T


@settings(max_examples=40, deadline=None, derandomize=True)
@given(axis=st.integers(0, 2), seed=SEEDS)
def test_the_order_of_the_input_plays_no_part(axis, seed):
    lines = lines_along(axis, seed)
    rng = np.random.default_rng(seed)
    flipped = {case: ends[::-1] if rng.random() < 0.5 else ends for case, ends in lines.items()}
    ordered, order = order_ends(flipped)
    assert order.axis == axis
    assert order.close == ()
    for case, ends in lines.items():  # made from the lower to the higher coordinate
        np.testing.assert_array_equal(ordered[case], ends)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(seed=SEEDS)
def test_any_lines_in_any_order_of_ends_give_the_same(seed):
    rng = np.random.default_rng(seed)
    # Whole numbers, so that equal coordinates occur too.
    lines = {f"c{number}": rng.integers(-3, 4, (2, 3)).astype(float) for number in range(9)}
    flipped = {case: ends[::-1] if rng.random() < 0.5 else ends for case, ends in lines.items()}
    one, first = order_ends(lines)
    other, second = order_ends(flipped)
    assert first == second
    for case, ends in lines.items():
        np.testing.assert_array_equal(one[case], other[case])
        assert sorted(map(tuple, one[case])) == sorted(map(tuple, ends))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(axis=st.integers(0, 2), seed=SEEDS, degrees=st.floats(-25, 25))
def test_a_small_turn_of_each_case_keeps_the_order(axis, seed, degrees):
    lines = lines_along(axis, seed)
    moved = {case: turned(ends, seed + number, degrees) for number, (case, ends) in enumerate(lines.items())}
    ordered, order = order_ends({case: ends[::-1] for case, ends in moved.items()})
    assert order.axis == axis
    assert not order.exchangeable
    for case, ends in moved.items():
        np.testing.assert_array_equal(ordered[case], ends)


def test_equal_coordinates_are_told_apart_by_the_next_axis():
    lines = {f"c{number}": np.array([[0.0, 0.0, 0.0], [9.0, 1.0, 0.0]]) for number in range(8)}
    lines["tie"] = np.array([[5.0, 2.0, 0.0], [5.0, -2.0, 0.0]])
    ordered, order = order_ends(lines, ("TCD_1", "TCD_2"))
    assert order.sides == ("left", "right")
    np.testing.assert_array_equal(ordered["tie"], [[5.0, -2.0, 0.0], [5.0, 2.0, 0.0]])
    assert order.close == ("tie",)
    assert order.exchangeable  # 1 of 9 is more than a tenth
    assert "1 of the 9 lines" in order.note
    assert "tie" in order.note
    assert "exchangeable" in order.note


def test_random_poses_make_the_ends_exchangeable_and_a_steady_cohort_does_not():
    rng = np.random.default_rng(0)
    random = {f"c{n}": np.array([np.zeros(3), rng.normal(size=3)]) for n in range(400)}
    _, order = order_ends(random)
    assert order.exchangeable
    assert len(order.close) / 400 == pytest.approx(CLOSE_COSINE, abs=0.05)  # |cos| is uniform on the sphere
    _, steady = order_ends(lines_along(1, 3, count=400, spread_degrees=40))
    assert not steady.exchangeable
    assert steady.sides == ("posterior", "anterior")
    assert "none of the 400" in steady.note


def test_long_lines_count_as_much_as_short_ones():
    lines = {f"c{n}": np.array([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0]]) for n in range(9)}
    lines["long"] = np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 900.0]])
    assert order_ends(lines)[1].axis == 0


def test_two_dimensions_and_no_line_at_all():
    ordered, order = order_ends({"a": np.array([[1.0, 9.0], [2.0, 3.0]])})
    assert order.sides == ("upper", "lower")
    np.testing.assert_array_equal(ordered["a"], [[2.0, 3.0], [1.0, 9.0]])
    assert order_ends({})[0] == {}
    with pytest.raises(ValueError, match="two points"):
        order_ends({"a": np.zeros((3, 3))})
    with pytest.raises(ValueError, match="two points"):
        order_ends({"a": np.array([[0.0, 0.0, np.nan], [1.0, 1.0, 1.0]])})


def test_only_the_ends_of_complete_lines_move():
    names = ("other", "b", "a")
    good = LandmarkSet(names, [[9.0, 9.0, 9.0], [3.0, 0.0, 0.0], [-3.0, 0.0, 0.0]], [1, 1, 1])
    half = LandmarkSet(names, [[9.0, 9.0, 9.0], [np.nan] * 3, [4.0, 0.0, 0.0]], [1, ABSENT, 1])
    oriented, (order,) = orient_ends({"good": good, "half": half}, [("a", "b")])
    assert oriented["good"] == good  # a is the left end already
    assert oriented["half"] == half
    assert order.lines == 1
    swapped, _ = orient_ends({"good": good}, [("b", "a")])
    np.testing.assert_array_equal(swapped["good"].points[1:], good.points[:0:-1])
    np.testing.assert_array_equal(swapped["good"].points[0], good.points[0])
