"""Names are judged over all files: Slicer's default labels, and descriptions that one file lacks."""

import json

import pytest

from auto_config.datasets import read_dataset
from auto_config.datasets.cohort_names import common_stem

VALUES = [[1.0, 2.0, 3.0], [4.0, -3.0, 1.0], [-2.0, 4.0, 0.0]]


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


def test_an_empty_description_in_one_file_is_an_error_and_filling_it_in_helps(folder):
    for case in ("ann", "ben", "carl"):
        write(folder, case, ["1", "2", "3"])
        path = folder.root / "landmarks" / f"{case}.mrk.json"
        document = json.loads(path.read_text())
        for point, name in zip(document["markups"][0]["controlPoints"], ["AC", "PC", "eye"], strict=True):
            point["description"] = "" if (case, name) == ("ben", "PC") else name
        path.write_text(json.dumps(document))
    errors = [problem for problem in read_dataset(folder.root)[1] if problem.severity == "error"]
    assert [problem.case for problem in errors] == ["ben"] and "fill in the description" in errors[0].message
    path = folder.root / "landmarks" / "ben.mrk.json"
    path.write_text(path.read_text().replace('"description": ""', '"description": "PC"'))
    dataset, problems = read_dataset(folder.root)
    assert (dataset.names, problems) == (("AC", "PC", "eye"), [])
