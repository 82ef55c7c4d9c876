"""Impossible and exchanged points are found, honest variation is not."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from auto_config.bundle_scripts.points.landmarks import LandmarkSet
from auto_config.datasets.checks.exchanges import exchanged_pairs, impossible_points, pairs_against_others
from auto_config.datasets.checks.shape_outliers import find_outliers, median_shape, medians_of_others
from auto_config.datasets.model.dataset import Case, Dataset
from auto_config.datasets.model.properties import Properties

LANDMARKS, CASES = 16, 14


def cohort(seed: int = 0) -> np.ndarray:
    """Shapes (N, L, 3) mm of size about 50 with 1 mm of variation, each in its own pose and size."""
    rng = np.random.default_rng(seed)
    mean = rng.uniform(-50, 50, (LANDMARKS, 3))
    shapes = []
    for _ in range(CASES):
        turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
        turn *= np.sign(np.linalg.det(turn))
        shape = (mean + rng.normal(0, 1, mean.shape)) * rng.uniform(0.8, 1.25)
        shapes.append(shape @ turn.T + rng.uniform(-100, 100, 3))
    return np.stack(shapes)


def dataset(shapes: np.ndarray, names: list[str] | None = None, **properties: object) -> tuple[Dataset, list[Case]]:
    names = names or [f"p{number}" for number in range(shapes.shape[1])]
    cases = []
    for number, shape in enumerate(shapes):
        status = np.isfinite(shape[:, 0]).astype(np.int8)
        cases.append(Case(f"c{number}", (Path(f"c{number}.nii.gz"),), LandmarkSet(tuple(names), shape, status)))
    return Dataset(Path("data"), "test", tuple(names), tuple(cases), 3, properties=Properties(**properties)), cases


@pytest.mark.parametrize("seed", range(3))
def test_honest_variation_is_silent(seed: int):
    assert find_outliers(cohort(seed)) == []


@pytest.mark.parametrize("missing", [False, True])
def test_a_moved_point_is_told_with_its_distance(missing: bool):
    shapes = cohort()
    if missing:
        shapes[2:5, 3] = np.nan
        shapes[4, 8:10] = np.nan
    shapes[4, 6] += [25.0, -10.0, 5.0]
    (found,) = find_outliers(shapes)
    assert (found.case, found.landmark, found.exchanged_with) == (4, 6, None)
    assert found.distance_mm == pytest.approx(np.linalg.norm([25, 10, 5]), rel=0.2)
    assert found.distance_mm > found.limit_mm


def test_two_points_that_changed_places_are_told_as_such():
    shapes = cohort()
    shapes[7, [2, 9]] = shapes[7, [9, 2]]
    found = {one.landmark: one.exchanged_with for one in find_outliers(shapes) if one.case == 7}
    assert found == {2: 9, 9: 2}
    (problem,) = impossible_points(*dataset(shapes))
    assert "fit if they change places" in problem.message
    assert problem.case == "c7"
    assert problem.severity == "warning"


def test_several_wrong_cases_do_not_hide_each_other():
    shapes = cohort()
    shapes[1, 0] += 40
    shapes[2, 0] -= 40
    shapes[3, 5] += [0, 40, 0]
    assert {(one.case, one.landmark) for one in find_outliers(shapes)} == {(1, 0), (2, 0), (3, 5)}


def test_too_little_data_says_nothing():
    shapes = cohort()
    shapes[0, 0] += 100
    assert find_outliers(shapes[:5]) == []
    assert find_outliers(shapes[:, :5]) == []


def test_a_case_in_disorder_is_told_once():
    shapes = cohort()
    shapes[3] = shapes[3][np.random.default_rng(1).permutation(LANDMARKS)]
    (problem,) = [one for one in impossible_points(*dataset(shapes)) if one.case == "c3"]
    assert "check the order" in problem.message


def test_loose_landmarks_are_not_judged():
    shapes = cohort()
    shapes[4, 6] += [25.0, -10.0, 5.0]
    data, cases = dataset(shapes, exchangeable=(("p5", "p6"),))
    assert impossible_points(data, cases) == []


NAMES = ["left eye", "right eye", "left ear", "right ear", "left jaw", "right jaw", "nose"]


def faces(count: int = 8) -> np.ndarray:
    rng = np.random.default_rng(0)
    half = np.array([[3.0, 9, 4], [7, 0, 2], [5, 4, -6]])
    points = np.stack([point * side for point in half for side in ([-1, 1, 1], [1, 1, 1])])
    mean = np.concatenate([points, [[0, 10, 0]]])
    return mean + rng.normal(0, 0.3, (count, *mean.shape))


def test_pairs_that_point_the_other_way():
    shapes = faces()
    assert exchanged_pairs(*dataset(shapes, NAMES)) == []
    shapes[5, [2, 3]] = shapes[5, [3, 2]]
    (problem,) = exchanged_pairs(*dataset(shapes, NAMES))
    assert (problem.case, problem.landmark) == ("c5", "left ear")


def test_a_pair_that_is_named_the_wrong_way_round_everywhere():
    shapes = faces()
    shapes[:, [4, 5]] = shapes[:, [5, 4]]
    (problem,) = exchanged_pairs(*dataset(shapes, NAMES))
    assert problem.case is None
    assert "8 cases" in problem.message


def test_declared_pairs_count_and_too_few_say_nothing():
    shapes = faces()
    shapes[5, [2, 3]] = shapes[5, [3, 2]]
    data, cases = dataset(shapes, NAMES)
    two = replace(data, properties=Properties(pairs=(("left eye", "right eye"), ("left ear", "right ear"))))
    assert exchanged_pairs(two, cases) == []
    points = np.stack([case.landmarks.points for case in cases])
    against = pairs_against_others(points, np.array([[0, 1], [2, 3], [4, 5]]))
    assert np.argwhere(against == 1).tolist() == [[5, 1]]


def test_the_order_in_which_a_pair_is_declared_says_no_side():
    shapes = faces()
    pairs = (("right eye", "left eye"), ("left ear", "right ear"), ("right jaw", "left jaw"))
    assert exchanged_pairs(*dataset(shapes, NAMES, pairs=pairs)) == []
    nameless = [f"p{number}" for number in range(7)]
    pairs = (("p1", "p0"), ("p2", "p3"), ("p5", "p4"))
    assert exchanged_pairs(*dataset(shapes, nameless, pairs=pairs)) == []
    shapes[5, [2, 3]] = shapes[5, [3, 2]]
    (problem,) = exchanged_pairs(*dataset(shapes, nameless, pairs=pairs))
    assert problem.case == "c5"
    assert "'p2' and 'p3'" in problem.message


def test_exchangeable_pairs_point_no_way():
    shapes = faces()
    pairs = (("left eye", "right eye"), ("left ear", "right ear"), ("left jaw", "right jaw"))
    shapes[5, [2, 3]] = shapes[5, [3, 2]]
    assert exchanged_pairs(*dataset(shapes, NAMES, pairs=pairs, exchangeable=pairs[1:2])) == []


@pytest.mark.parametrize("cases", [1, 2, 3, 4, 7, 12])
def test_the_median_of_others_is_that_without_the_case_itself(cases):
    rng = np.random.default_rng(cases)
    shapes = rng.normal(size=(cases, 5, 3))
    shapes[rng.random((cases, 5)) < 0.3] = np.nan
    shapes[:, 3] = np.nan  # nobody has it
    if cases > 2:
        shapes[1, 0] = shapes[2, 0]  # equal values
    found = medians_of_others(shapes)
    for row in range(cases):
        assert np.array_equal(found[row], median_shape(np.delete(shapes, row, axis=0)), equal_nan=True)
