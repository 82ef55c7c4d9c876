"""Images that are there twice, test cases among the training cases, and cases in another unit of length."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from auto_config.bundle_scripts.points.landmarks import LandmarkSet
from auto_config.datasets.checks.cases import outside_absent, outside_mask
from auto_config.datasets.checks.duplicates import duplicate_problems, leak_problems, voxel_digest
from auto_config.datasets.checks.scales import image_scale_problems, point_scale_problems
from auto_config.datasets.images import Header
from auto_config.datasets.model.dataset import Case

NAMES = tuple("abcd")


def header(spacing: float, shape: tuple[int, int, int] = (10, 12, 14)) -> Header:
    affine = np.diag([spacing, spacing, spacing, 1.0])
    return Header(path=Path("x.nii"), shape=shape, affine=affine, channels=1, dtype="float32", unit="mm")


def case(name: str, points: np.ndarray | None = None, **values: object) -> Case:
    landmarks = None if points is None else LandmarkSet(NAMES, points, np.ones(len(points), dtype=np.int8))
    return Case(name, (Path(f"{name}.nii"),), landmarks, **values)


def test_the_digest_is_of_voxels_and_their_shape():
    array = np.random.default_rng(0).normal(size=(1, 3, 4, 5)).astype(np.float32)
    assert voxel_digest(array) == voxel_digest(np.asfortranarray(array.copy()))
    assert voxel_digest(array) != voxel_digest(array.reshape(1, 4, 3, 5))
    other = array.copy()
    other[0, 1, 1, 1] += 1
    assert voxel_digest(array) != voxel_digest(other)


def test_copies_are_warned_of_unless_they_stay_together():
    cases = [case("a"), case("b"), case("c")]
    digests = {"a": "1", "b": "2", "c": "1"}
    (problem,) = duplicate_problems(cases, digests)
    assert (problem.severity, problem.case) == ("warning", "a")
    assert "'c'" in problem.message
    together = [replace(one, group="one patient") for one in cases]
    assert duplicate_problems(together, digests) == []
    assert duplicate_problems(cases, {}) == []


def test_a_test_case_among_the_training_cases_is_an_error():
    cases = [case("a"), case("b", split="test"), case("c", split="test")]
    (problem,) = duplicate_problems(cases, {"a": "1", "b": "1", "c": "2"})
    assert (problem.severity, problem.case) == ("error", "b")
    assert leak_problems(cases, {"a": "1", "b": "2", "c": "2"}, {"b", "c"}) == []
    assert [one.case for one in leak_problems(cases, {"a": "1", "b": "2", "c": "1"}, {"c"})] == ["c"]


@pytest.mark.parametrize("factor", [0.001, 0.1, 10, 1000])
def test_images_in_another_unit(factor: float):
    headers = {f"c{n}": header(1 + 0.1 * n) for n in range(5)}
    assert image_scale_problems(headers) == []
    (problem,) = image_scale_problems({**headers, "odd": header(1.2 * factor)})
    assert problem.case == "odd"
    assert "unit" in problem.message


@pytest.mark.parametrize("factor", [0.001, 0.1, 10, 1000])
def test_points_in_another_unit(factor: float):
    rng = np.random.default_rng(0)
    mean = rng.uniform(-40, 40, (4, 3))
    cases = [case(f"c{n}", (mean + rng.normal(0, 2, mean.shape)) * rng.uniform(0.7, 1.4)) for n in range(6)]
    assert point_scale_problems(cases, NAMES, 3) == []
    (problem,) = point_scale_problems([*cases, case("odd", mean * factor)], NAMES, 3)
    assert problem.case == "odd"


def test_instances_outside_are_left_out():
    landmarks = LandmarkSet.from_inline({"bud": [[99, 1, 1], [1, 2, 3]], "leaf": [[50, 50, 50]], "tip": [2, 2, 2]})
    one = Case("a", (Path("a.nii"),), landmarks)
    assert outside_mask(landmarks, header(1.0)).tolist() == [True, True, False]
    after = outside_absent(one, header(1.0)).landmarks
    assert after.to_inline() == {"bud": [[1, 2, 3]], "leaf": [], "tip": [2, 2, 2]}
