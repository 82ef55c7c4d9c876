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


def test_keypoints_whose_names_are_an_empty_list_are_numbered(tmp_path):
    """As the face data sets of mmpose are."""
    coco(tmp_path, "annotations/a.json", "images")
    path = tmp_path / "annotations" / "a.json"
    document = json.loads(path.read_text())
    document["categories"][0]["keypoints"] = []
    path.write_text(json.dumps(document))
    dataset, problems = read_dataset(tmp_path)
    assert problems == []
    assert dataset.cases[0].landmarks.to_inline() == dict(zip("12", PIXELS.values(), strict=True))
    document["annotations"][0]["keypoints"] = [1, 2, 2]
    path.write_text(json.dumps(document))
    with pytest.raises(UserError, match="no category has 'keypoints'; give the names of the landmarks there"):
        read_dataset(tmp_path)


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


def in_folders(folder, image="ct.nii.gz", label="F.mrk.json"):
    """The data set with a folder for each case, as Slicer's Save writes it."""
    for case in ("ann", "ben"):
        folder.case(case)
        (folder.root / case).mkdir()
        (folder.root / "images" / f"{case}.nii.gz").rename(folder.root / case / image)
        (folder.root / "landmarks" / f"{case}.mrk.json").rename(folder.root / case / label)
    (folder.root / "images").rmdir()
    (folder.root / "landmarks").rmdir()
    return folder.root


def test_a_folder_for_each_case_as_slicer_saves_it(folder):
    root = in_folders(folder)
    dataset, problems = read_dataset(root)
    assert problems == []
    assert [(case.name, case.image[0].parent.name) for case in dataset.cases] == [("ann_ct", "ann"), ("ben_ct", "ben")]
    assert dataset.cases[1].landmarks.to_inline()["AC"] == [1.0, 2.0, 3.0]


def test_two_files_for_one_image_are_named_and_the_remedy_helps(folder):
    root = in_folders(folder)
    shutil.copy(root / "ann" / "F.mrk.json", root / "ann" / "G.mrk.json")
    dataset, problems = read_dataset(root)
    assert [case.name for case in dataset.cases] == ["ben_ct"]
    message = f"{root / 'ann'}: F.mrk.json and G.mrk.json may all be the landmarks of 'ct'; "
    message += "join them in one file, or keep one"
    assert [problem.message for problem in problems if problem.case == "ann_ct"] == [message]
    (root / "ann" / "G.mrk.json").unlink()
    assert read_dataset(root)[1] == []


def test_two_images_for_one_file_are_named_and_the_remedy_helps(folder):
    root = in_folders(folder)
    shutil.copy(root / "ann" / "ct.nii.gz", root / "ann" / "mr.nii.gz")
    _, problems = read_dataset(root)
    errors = [problem.message for problem in problems if problem.severity == "error"]
    assert errors == [
        f"{root / 'ann' / 'F.mrk.json'}: may belong to ct.nii.gz or mr.nii.gz; rename it as its image is called"
    ]
    (root / "ann" / "F.mrk.json").rename(root / "ann" / "ct.mrk.json")
    dataset, problems = read_dataset(root)
    assert [case.name for case in dataset.cases] == ["ann_ct", "ben_ct"]
    assert [problem.severity for problem in problems] == ["warning"]  # mr has no landmarks


@pytest.mark.parametrize("others", [["x"], ["x", "y"]])
def test_in_a_folder_of_many_cases_a_file_without_image_is_only_warned_of(others, folder):
    for case in ("ann", "ben"):
        folder.case(case)
    folder.image("carl")
    for name in others:
        shutil.copy(folder.root / "landmarks" / "ann.mrk.json", folder.root / "landmarks" / f"{name}.mrk.json")
    for name in ("images", "landmarks"):
        shutil.move(folder.root / name, folder.root / "moved")
        shutil.move(folder.root / "moved", folder.root / name / "site")
    dataset, problems = read_dataset(folder.root)
    assert [case.name for case in dataset.cases] == ["site_ann", "site_ben"]
    assert [problem.severity for problem in problems] == ["warning"] * (1 + len(others))


def test_the_landmarks_of_an_image_that_is_not_there_are_not_given_to_another(folder):
    root = in_folders(folder, "t1.nii.gz", "t1.mrk.json")
    shutil.copytree(root / "ann", root / "carl")
    (root / "carl" / "t1.nii.gz").rename(root / "carl" / "t2.nii.gz")
    _, problems = read_dataset(root)
    assert {problem.case for problem in problems} == {"carl_t1", "carl_t2"}


@pytest.mark.parametrize("suffix", ["_landmarks", "-points", " Markups", "_fids"])
def test_a_suffix_that_says_what_the_file_is(suffix, folder):
    for case in ("ann", "ben"):
        folder.case(case)
        path = folder.root / "landmarks" / f"{case}.mrk.json"
        path.rename(path.with_name(f"{case}{suffix}.mrk.json"))
    dataset, problems = read_dataset(folder.root)
    assert (problems, [case.name for case in dataset.cases]) == ([], ["ann", "ben"])


def test_a_file_of_the_image_s_name_comes_before_one_with_a_suffix(folder):
    folder.case("ann")
    folder.case("ben")
    shutil.copy(folder.root / "landmarks" / "ann.mrk.json", folder.root / "landmarks" / "ann_points.mrk.json")
    dataset, problems = read_dataset(folder.root)
    assert [case.name for case in dataset.cases] == ["ann", "ben"]
    assert ["no matching image" in problem.message for problem in problems] == [True]


def test_two_suffixes_for_one_image_are_named(folder):
    folder.case("ben")
    folder.image("ann")
    for suffix in ("_points", "_landmarks"):
        shutil.copy(folder.root / "landmarks" / "ben.mrk.json", folder.root / "landmarks" / f"ann{suffix}.mrk.json")
    _, problems = read_dataset(folder.root)
    assert [(problem.severity, problem.case) for problem in problems] == [("error", "ann")]
    assert "ann_landmarks.mrk.json and ann_points.mrk.json may all be the landmarks of 'ann'" in problems[0].message
