"""What is said of the division into training and test cases, and of very few cases."""

import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from auto_config.bundle_scripts.points.landmark_files import write_markups
from auto_config.bundle_scripts.points.landmarks import ABSENT, PRESENT, LandmarkSet
from auto_config.cli import main
from auto_config.datasets.checks.splits import few_cases, untrained_landmarks
from auto_config.datasets.model.dataset import Case

NAMES = ("a", "b")
SOURCE = Path("scans")


def case(name, *present):
    status = np.array([PRESENT if one in present else ABSENT for one in NAMES], dtype=np.int8)
    points = np.where(status[:, None] == PRESENT, 1.0, np.nan) * np.ones((2, 3))
    return Case(name, (Path(f"{name}.nii.gz"),), LandmarkSet(NAMES, points, status))


def test_a_landmark_of_test_cases_alone_is_named():
    cases = [case("one", "a"), case("two", "a"), case("three", "a", "b")]
    (problem,) = untrained_landmarks(cases, NAMES, {"three"}, SOURCE)
    assert problem.severity == "warning"
    assert problem.message.startswith(
        "scans: landmark 'b' is present in test cases, such as 'three', and in no training"
    )
    assert untrained_landmarks(cases, NAMES, {"one"}, SOURCE) == []
    assert untrained_landmarks(cases, NAMES, set(), SOURCE) == []


@pytest.mark.parametrize(
    ("folds", "test", "said"),
    [
        (
            {"one": 0},
            set(),
            "1 training case only: no case is left for a test, and nothing can validate .*--fold none",
        ),
        ({"one": 0, "two": 1}, set(), "2 training cases only: no case is left .* each training learns from one case"),
        ({"one": 0, "two": 0}, {"three"}, "2 training cases only: nothing can validate"),
    ],
)
def test_few_cases_are_told_what_they_mean(folds, test, said):
    (problem,) = few_cases(folds, test, SOURCE)
    assert re.search(said, problem.message)


def test_enough_cases_are_not_mentioned():
    assert few_cases({"one": 0, "two": 1, "three": 2}, set(), SOURCE) == []
    assert few_cases({}, set(), SOURCE) == []


def test_create_with_one_case_says_what_that_means(tmp_path, capsys):
    rng = np.random.default_rng(0)
    (tmp_path / "data" / "images").mkdir(parents=True)
    (tmp_path / "data" / "landmarks").mkdir()
    image = nib.Nifti1Image(rng.normal(0, 10, (32, 32, 32)).astype(np.float32), np.diag([1.0, 1, 1, 1]))
    nib.save(image, tmp_path / "data" / "images" / "one.nii.gz")
    points = np.array([[10.0, 12, 14], [20, 18, 16]])
    landmarks = LandmarkSet(NAMES, points, np.ones(2, dtype=np.int8))
    write_markups(tmp_path / "data" / "landmarks" / "one.mrk.json", landmarks)
    assert main(["create", str(tmp_path / "data"), str(tmp_path / "bundle"), "--workers", "1"]) == 0
    assert "has 1 training case only: no case is left for a test" in capsys.readouterr().err
