"""Folders as CVAT, COCO and Slicer's Save write them."""

import json
import shutil

import pytest
from format_examples import EXAMPLES, PIXELS, pictures

from auto_config.datasets import read_dataset
from auto_config.errors import UserError


def coco(tmp_path, file, folder):
    """The example of COCO with its file and its pictures elsewhere."""
    EXAMPLES["coco"][1](tmp_path)
    for path, place in ((tmp_path / "coco.json", file), (tmp_path / "images", folder)):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        if path != tmp_path / place:
            shutil.move(path, tmp_path / "moved")
            (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
            shutil.move(tmp_path / "moved", tmp_path / place)
    return tmp_path


@pytest.mark.parametrize(
    ("file", "folder"),
    [
        ("annotations/person_keypoints_default.json", "images/default"),
        ("annotations/person_keypoints_train2017.json", "train2017"),
        ("annotations/person_keypoints_train2017.json", "images/train2017"),
        ("annotations/a.json", "images"),
    ],
)
@pytest.mark.parametrize("by", ["folder", "file"])
def test_layouts_of_cvat_and_coco(by, file, folder, tmp_path):
    coco(tmp_path, file, folder)
    dataset, problems = read_dataset(tmp_path if by == "folder" else tmp_path / file)
    assert problems == []
    assert (dataset.format, [case.name for case in dataset.cases]) == ("coco", ["ann", "ben"])
    assert dataset.cases[0].image == (tmp_path / folder / "ann.png",)
    assert dataset.cases[0].landmarks.to_inline() == PIXELS


def test_equal_names_in_two_subsets_are_those_of_the_file(tmp_path):
    coco(tmp_path, "annotations/person_keypoints_train2017.json", "train2017")
    pictures(tmp_path / "val2017")
    dataset, problems = read_dataset(tmp_path)
    assert problems == []
    assert {case.image[0].parent.name for case in dataset.cases} == {"train2017"}


def test_equal_names_that_nothing_tells_apart_are_named_and_the_remedy_helps(tmp_path):
    coco(tmp_path, "annotations/points.json", "a")
    pictures(tmp_path / "b")
    _, problems = read_dataset(tmp_path)
    assert "'ann.png' fits several pictures, a/ann.png and b/ann.png; keep one, or name its path" in problems[0].message
    path = tmp_path / "annotations" / "points.json"
    path.write_text(path.read_text().replace("ann.png", "b/ann.png").replace("ben.png", "a\\\\ben.png"))
    dataset, problems = read_dataset(tmp_path)
    assert problems == []
    assert [case.image[0].parent.name for case in dataset.cases] == ["b", "a"]


def test_two_subsets_are_named_and_either_can_be_given(tmp_path):
    coco(tmp_path, "annotations/person_keypoints_train.json", "train")
    pictures(tmp_path / "val")
    shutil.copy(
        tmp_path / "annotations/person_keypoints_train.json", tmp_path / "annotations/person_keypoints_val.json"
    )
    with pytest.raises(UserError, match=r"person_keypoints_train.json and person_keypoints_val.json; give the path"):
        read_dataset(tmp_path)
    dataset, problems = read_dataset(tmp_path / "annotations" / "person_keypoints_val.json")
    assert (problems, {case.image[0].parent.name for case in dataset.cases}) == ([], {"val"})


def test_what_is_declared_lies_above_annotations(tmp_path):
    coco(tmp_path, "annotations/a.json", "images/default")
    (tmp_path / "landmarks.json").write_text(json.dumps({"landmarks": [{"name": "AC"}], "pixel_spacing": [0.5, 0.5]}))
    for source in (tmp_path, tmp_path / "annotations" / "a.json"):
        dataset, _ = read_dataset(source)
        assert dataset.unit == "mm"
