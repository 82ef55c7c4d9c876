"""Each thing that can be wrong in a case gives one line with file, landmark and remedy."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auto_config.bundle_scripts.points.landmarks import ABSENT, LandmarkSet
from auto_config.datasets.checks.cases import check_case, outside_absent, outside_mask
from auto_config.datasets.checks.cohort import check_configurations, check_headers
from auto_config.datasets.images import Header, Image
from auto_config.datasets.model.dataset import Case

AFFINE = np.array([[2.0, 0, 0, 10], [0, 1, 0, 20], [0, 0, 1, 30], [0, 0, 0, 1]])
HEADER = Header((10, 12, 14), AFFINE, 1, "float32", Path("a.nii.gz"))
INSIDE = {"AC": [12.0, 22.0, 33.0], "PC": [20.0, 25.0, 40.0], "tip": [24.0, 30.0, 35.0]}


def a_case(points):
    return Case("a", (HEADER.path,), None if points is None else LandmarkSet.from_inline(points))


def found(points=INSIDE, header=HEADER, array=None, outside="error"):
    image = header if array is None else Image(array, header.affine, header.path, header)
    return check_case(a_case(points), image, list(points or {}), outside)


def the_one(problems, severity, *words):
    assert len(problems) == 1, problems
    (problem,) = problems
    assert problem.severity == severity
    assert problem.case == "a"
    assert problem.message.startswith("a.nii.gz: ")
    assert "\n" not in problem.message
    for word in words:
        assert word in problem.message
    return problem


def test_a_good_case_has_no_problem():
    assert found() == []
    assert found(array=np.random.default_rng(0).normal(size=(1, *HEADER.shape)).astype(np.float32)) == []
    assert found(points=None) == []


@pytest.mark.parametrize(
    ("change", "severity", "words"),
    [
        ({"volumes": 5}, "error", ["4D", "5 volumes", "datalist"]),
        ({"shape": (10, 0, 14)}, "error", ["empty"]),
        ({"shape": (10, 12, 1)}, "error", ["single slice"]),
        ({"affine": np.diag([1.0, 0, 1, 1])}, "error", ["singular"]),
        ({"affine": np.full((4, 4), np.nan)}, "error", ["not finite"]),
        ({"unit": "micron"}, "warning", ["micron", "mm"]),
        ({"oriented": False}, "warning", ["neither sform nor qform"]),
        ({"second_affine": AFFINE + np.eye(4)[3] * [[1], [0], [0], [0]]}, "warning", ["differ by up to 1 mm"]),
    ],
)
def test_headers(change, severity, words):
    problems = found(points=None, header=replace(HEADER, **change))
    the_one(problems, severity, *words)


def test_a_flat_affine_is_singular():
    flat = AFFINE.copy()
    flat[:3, 2] = flat[:3, 1]
    the_one(found(points=None, header=replace(HEADER, affine=flat)), "error", "singular")


def test_a_sheared_affine_is_a_warning_with_its_angle():
    sheared = AFFINE.copy()
    sheared[:3, 2] = [0, np.sin(np.radians(10)), np.cos(np.radians(10))]
    the_one(found(points=None, header=replace(HEADER, affine=sheared)), "warning", "10 degrees", "gantry")


def test_an_oblique_affine_is_no_problem():
    turn = np.eye(4)
    turn[:2, :2] = [[0.8, -0.6], [0.6, 0.8]]
    assert found(points=None, header=replace(HEADER, affine=turn @ AFFINE)) == []


def test_very_wide_voxels_hint_at_micrometres():
    wide = AFFINE @ np.diag([150, 150, 150, 1.0])
    the_one(found(points=None, header=replace(HEADER, affine=wide)), "warning", "micrometres")


def test_forms_that_differ_less_than_half_a_voxel_are_no_problem():
    near = AFFINE + np.eye(4)[3] * [[0.4], [0], [0], [0]]
    assert found(points=None, header=replace(HEADER, second_affine=near)) == []


@pytest.mark.parametrize(("value", "words"), [(np.nan, ["1 voxels", "NaN"]), (np.inf, ["infinite"])])
def test_voxels_that_are_not_finite(value, words):
    array = np.random.default_rng(0).normal(size=(1, *HEADER.shape)).astype(np.float32)
    array[0, 3, 4, 5] = value
    the_one(found(array=array), "error", *words)


def test_an_image_or_a_channel_without_contrast_is_empty():
    the_one(found(array=np.full((1, *HEADER.shape), 7, np.float32)), "error", "every voxel is 7")
    array = np.random.default_rng(0).normal(size=(2, *HEADER.shape)).astype(np.float32)
    array[1] = 0
    the_one(found(array=array, header=replace(HEADER, channels=2)), "error", "channel 1 is empty")


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.floats(-3, 17), min_size=3, max_size=3))
def test_inside_means_within_the_borders_of_the_voxels(voxel):
    point = (AFFINE @ [*voxel, 1])[:3]
    beyond = max(max(-0.5 - value, value - (size - 0.5)) for value, size in zip(voxel, HEADER.shape, strict=True))
    if 0 < beyond < 0.02:
        return  # within the slack for rounding
    mask = outside_mask(LandmarkSet.from_inline({"x": point.tolist()}), HEADER)
    assert mask.tolist() == [beyond > 0]


def test_a_point_outside_is_an_error_that_names_landmark_place_and_remedy():
    problem = the_one(found({**INSIDE, "tip": [24.0, 30.0, 99.0]}), "error", "'tip'", "(24.0, 30.0, 99.0)", "--outside")
    assert problem.landmark == "tip"


def test_outside_absent_warns_and_makes_the_change():
    points = {**INSIDE, "tip": [24.0, 30.0, 99.0]}
    the_one(found(points, outside="absent"), "warning", "'tip'", "taken as absent")
    assert outside_absent(a_case(points), HEADER).landmarks.to_inline() == {**INSIDE, "tip": "absent"}
    assert outside_absent(a_case(INSIDE), HEADER) == a_case(INSIDE)
    assert outside_absent(a_case(points), HEADER).landmarks.status.tolist()[2] == ABSENT


def test_a_singular_affine_is_reported_once_and_not_used():
    the_one(found(header=replace(HEADER, affine=np.diag([1.0, 0, 1, 1]))), "error", "singular")


def test_no_present_landmark_and_two_at_one_point():
    the_one(found({"AC": "unknown", "PC": "absent"}), "warning", "no landmark")
    the_one(found({**INSIDE, "tip": INSIDE["AC"]}), "warning", "'AC' and 'tip'")


def test_only_the_wanted_names_are_judged():
    assert check_case(a_case({**INSIDE, "far": [999.0, 0, 0]}), HEADER, ["AC", "PC"]) == []


@pytest.mark.parametrize(("x", "lost"), [(24.0, False), (24.99, False), (25.2, True), (27.0, True)])
def test_a_landmark_in_background_that_is_cropped_is_an_error(x, lost):
    # The block ends with voxel 5, the box with voxel 7; its border is at 7.5 * 2 + 10 = 25 mm.
    array = np.zeros((1, *HEADER.shape), dtype=np.float32)
    array[:, 3:6, 2:10, 2:12] = np.random.default_rng(0).normal(5, 1, (1, 3, 8, 10))
    problems = found({"AC": [x, 25.0, 35.0]}, array=array)
    if lost:
        assert the_one(problems, "error", "'AC' lies in constant background", "[1, 8]").landmark == "AC"
    else:
        assert problems == []


def test_a_point_outside_the_image_is_not_called_cropped_as_well():
    array = np.zeros((1, *HEADER.shape), dtype=np.float32)
    array[:, 3:6, 2:10, 2:12] = 5
    array[:, 4, 4, 4] = 6
    the_one(found({"AC": [99.0, 25.0, 35.0]}, array=array), "error", "outside the image")
    the_one(found({"AC": [99.0, 25.0, 35.0]}, array=array, outside="absent"), "warning", "taken as absent")


def test_channels_and_voxel_sizes_are_compared_between_cases():
    headers = dict.fromkeys("bcd", HEADER)
    assert check_headers(headers) == []
    the_one(check_headers({**headers, "a": replace(HEADER, channels=2)}), "error", "2 channels", "most cases have 1")
    assert check_headers({**headers, "a": replace(HEADER, channels=3, volumes=3)}) == []  # an error of the case
    other = replace(HEADER, affine=AFFINE @ np.diag([1000, 1000, 1000, 1.0]))
    the_one(check_headers({**headers, "a": other}), "warning", "unit of length")
    assert check_headers({}) == []


def cohort(count=6):
    """Similar, not equal, point sets without any symmetry, each in its own pose."""
    rng = np.random.default_rng(3)
    shape = rng.normal(size=(8, 3)) * [20, 30, 10]
    cases = []
    for number in range(count):
        angle = rng.uniform(-0.4, 0.4)
        turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
        points = (shape + rng.normal(size=shape.shape)) @ turn.T + rng.normal(size=3) * 50
        landmarks = LandmarkSet(tuple("abcdefgh"), points, np.ones(8))
        cases.append(Case(f"c{number}", (Path(f"c{number}.nii"),), landmarks))
    return cases


def with_points(case, change):
    landmarks = case.landmarks
    return replace(case, landmarks=LandmarkSet(landmarks.names, landmarks.points @ np.diag(change), landmarks.status))


def test_like_cases_are_no_problem():
    assert check_configurations(cohort()) == []
    assert check_configurations([]) == []


def test_a_mirrored_case_is_caught():
    cases = cohort()
    cases[2] = with_points(cases[2], [-1.0, 1, 1])
    (problem,) = check_configurations(cases)
    assert (problem.severity, problem.case) == ("error", "c2")
    assert "mirror image" in problem.message


def test_a_case_in_the_other_system_is_caught_even_inside_its_image():
    cases = cohort()
    cases[4] = with_points(cases[4], [-1.0, -1, 1])
    (problem,) = check_configurations(cases)
    assert (problem.severity, problem.case) == ("warning", "c4")
    assert "LPS" in problem.message


def test_flat_or_few_points_are_never_called_mirrored():
    flat = [with_points(case, [1.0, 1, 0]) for case in cohort()]
    flat[1] = with_points(flat[1], [-1.0, 1, 1])
    assert not [problem for problem in check_configurations(flat) if problem.severity == "error"]
    few = [replace(case, landmarks=case.landmarks.ordered(["a", "b", "c"])) for case in cohort()]
    few[1] = with_points(few[1], [-1.0, 1, 1])
    assert check_configurations(few) == []
