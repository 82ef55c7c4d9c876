"""Names are judged over all files: Slicer's default labels, and descriptions that one file lacks."""

import numpy as np
import pytest

from auto_config.bundle_scripts.points.landmark_files import write_markups
from auto_config.bundle_scripts.points.landmarks import PRESENT, LandmarkSet
from auto_config.datasets import read_dataset
from auto_config.datasets.assembly.cohort_names import common_stem

VALUES = [[1.0, 2.0, 3.0], [4.0, -3.0, 1.0], [-2.0, 4.0, 0.0]]


def describe(folder, case, texts):
    """A case with labels and descriptions."""
    folder.image(case)
    points = LandmarkSet(tuple(texts), np.array(VALUES[: len(texts)]), np.zeros(len(texts)) + PRESENT)
    write_markups(folder.root / "landmarks" / f"{case}.mrk.json", points, descriptions=list(texts.values()))


def write(folder, case, labels):
    folder.case(case, dict(zip(labels, VALUES, strict=False)))


@pytest.mark.parametrize(
    ("names", "stem"),
    [
        (["USNM1_LM1-1", "USNM1_LM1-2"], "USNM1_LM1"),
        (["a-b-1", "a-b-2"], "a-b"),
        (["a-1", "b-2"], None),
        (["a-1", "b"], None),
        (["AC", "PC"], None),
        ([], None),
    ],
)
def test_the_stem_of_slicers_default_labels(names, stem):
    assert common_stem(names) == stem


def test_labels_that_begin_with_the_list_are_numbers(folder):
    for case in ("ann", "ben", "carl"):
        write(folder, case, [f"{case}_LM-{number}" for number in (1, 2, 3)])
    dataset, problems = read_dataset(folder.root)
    assert dataset.names == ("1", "2", "3")
    assert all(case.landmarks.points.tolist() == VALUES for case in dataset.cases)
    (problem,) = problems
    assert problem.severity == "warning"
    assert "'ann_LM-1'" in problem.message and problem.message.endswith("the points are called 1 to 3")


def test_numbers_that_differ_are_said(folder):
    write(folder, "ann", ["A-1", "A-2", "A-3"])
    write(folder, "ben", ["B-1", "B-3", "B-4"])
    dataset, (problem,) = read_dataset(folder.root)
    assert dataset.names == ("1", "2", "3") and "in the order of each file" in problem.message


def test_files_that_differ_in_number_are_an_error_and_its_remedy_helps(folder):
    write(folder, "ann", ["A-1", "A-2", "A-3"])
    write(folder, "ben", ["B-1", "B-2"])
    errors = [problem.message for problem in read_dataset(folder.root)[1] if problem.severity == "error"]
    assert len(errors) == 1 and "give each point the same label in all files" in errors[0]
    for case, labels in (("ann", ["AC", "PC", "eye"]), ("ben", ["AC", "PC"])):
        folder.label(case, dict(zip(labels, VALUES, strict=False)))
    assert not [problem for problem in read_dataset(folder.root)[1] if problem.severity == "error"]


@pytest.mark.parametrize("labels", [["F-1", "F-2"], ["AC", "PC"], ["T-1", "L-1"]])
def test_names_that_all_files_share_stay(labels, folder):
    for case in ("ann", "ben", "carl"):
        write(folder, case, labels)
    dataset, problems = read_dataset(folder.root)
    assert (dataset.names, problems) == (tuple(labels), [])


def test_an_empty_description_in_one_file_is_filled_in_from_the_others(folder):
    for case in ("ann", "ben", "carl"):
        describe(folder, case, {"1": "AC", "2": "" if case == "ben" else "PC", "3": "eye"})
    dataset, (problem,) = read_dataset(folder.root)
    assert dataset.names == ("AC", "PC", "eye") and len(dataset.cases) == 3
    assert (problem.severity, problem.case) == ("warning", "ben") and "2 ('PC')" in problem.message


def test_numbers_in_one_file_and_words_in_another_are_an_error_and_descriptions_help(folder):
    write(folder, "ann", ["AC", "PC", "eye"])
    write(folder, "ben", ["1", "2", "3"])
    errors = [problem for problem in read_dataset(folder.root)[1] if problem.severity == "error"]
    assert [problem.case for problem in errors] == ["ben"] and "fill in the description" in errors[0].message
    describe(folder, "ben", {"1": "AC", "2": "PC", "3": "eye"})
    dataset, problems = read_dataset(folder.root)
    assert (dataset.names, problems) == (("AC", "PC", "eye"), [])


def test_the_last_points_of_shorter_lists_are_missing_by_names_order(folder):
    write(folder, "ann", ["A-1", "A-2", "A-3"])
    write(folder, "ben", ["B-1", "B-2"])
    errors = [problem.message for problem in read_dataset(folder.root)[1] if problem.severity == "error"]
    assert "give --names order" in errors[0]
    dataset, problems = read_dataset(folder.root, names="order")
    assert dataset.names == ("1", "2", "3") and [problem.severity for problem in problems] == ["warning"]
    assert [case.landmarks.present.tolist() for case in dataset.cases] == [[True] * 3, [True, True, False]]
