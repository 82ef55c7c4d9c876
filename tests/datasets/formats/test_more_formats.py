"""What is particular to each format beside the round trips: variants, precedence, and what is refused."""

import json

import nibabel as nib
import numpy as np
import pytest
from format_examples import EXAMPLES, PIXELS, POINTS, pictures, volumes
from PIL import Image

from auto_config.bundle_scripts.points.landmarks import ABSENT, PRESENT, UNKNOWN
from auto_config.datasets import read_dataset


def inline(dataset):
    return {case.name: case.landmarks.to_inline() for case in dataset.cases}


def errors(problems):
    return [problem.message for problem in problems if problem.severity == "error"]


def example(name, root):
    EXAMPLES[name][1](root)
    return root


def rewrite(path, change):
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


# nnLandmark and label maps


def test_nnlandmark_prefers_points_to_cubes_and_falls_back_to_them(tmp_path):
    example("nnlandmark", tmp_path)
    rewrite(tmp_path / "all_landmarks_voxel.json", lambda document: document["ann"].pop("PC, left"))
    rewrite(tmp_path / "all_landmarks_voxel.json", lambda document: document.pop("ben"))
    dataset, problems = read_dataset(tmp_path)
    assert (dataset.format, problems) == ("nnlandmark", [])
    half = np.array([4, 4.5, 5])
    ann, ben = (case.landmarks for case in dataset.cases)
    np.testing.assert_allclose(ann.points[0], np.array([1, 2, 3]) - half)  # the image's affine, not the cube's
    np.testing.assert_allclose(ann.points[1], [5, 5, 5])
    np.testing.assert_allclose(ben.points, [[2, 2, 2], [5, 5, 5]])
    assert [case.fold for case in dataset.cases] == [1, 0]


def test_nnlandmark_test_cases_and_channels(tmp_path):
    example("nnlandmark", tmp_path)
    for source, target in (("imagesTr/ben_0000", "imagesTs/ben_0000"), ("labelsTr/ben", "labelsTs/ben")):
        path = tmp_path / f"{target}.nii.gz"
        path.parent.mkdir()
        (tmp_path / f"{source}.nii.gz").rename(path)
    image = tmp_path / "imagesTr" / "ann_0000.nii.gz"
    image.with_name("ann_0001.nii.gz").write_bytes(image.read_bytes())
    dataset, problems = read_dataset(tmp_path)
    assert problems == []
    assert [(case.name, case.split, len(case.image)) for case in dataset.cases] == [
        ("ann", "training", 2),
        ("ben", "test", 1),
    ]
    image.with_name("ann_0001.nii.gz").rename(image.with_name("ann_0002.nii.gz"))
    dataset, problems = read_dataset(tmp_path)
    assert [case.name for case in dataset.cases] == ["ben"]
    assert "without gaps" in errors(problems)[0]


def test_a_value_without_name_and_an_unknown_landmark_are_errors(tmp_path):
    example("nnlandmark", tmp_path)
    rewrite(tmp_path / "all_landmarks_voxel.json", lambda document: document["ann"].update(new=[1, 2, 3]))
    _, problems = read_dataset(tmp_path)
    assert "'new' is not among the labels" in errors(problems)[0]
    example("labelmap", tmp_path / "maps")
    rewrite(tmp_path / "maps" / "labels.json", lambda document: document["labels"].pop("AC"))
    _, problems = read_dataset(tmp_path / "maps")
    assert "has the value 1, which has no name" in errors(problems)[0]


def test_label_maps_without_names_and_with_names_by_value(tmp_path):
    example("labelmap", tmp_path)
    (tmp_path / "labels.json").unlink()
    dataset, _ = read_dataset(tmp_path)
    assert dataset.names == ("1", "2")
    np.testing.assert_allclose(dataset.cases[0].landmarks.points, [[2, 2, 2], [5, 5, 5]])
    (tmp_path / "labels" / "dataset.json").write_text(json.dumps({"labels": {"0": "background", "2": "B", "1": "A"}}))
    assert read_dataset(tmp_path)[0].names == ("A", "B")


def test_label_maps_with_fractions_are_no_label_maps(tmp_path):
    example("labelmap", tmp_path)
    nib.save(nib.Nifti1Image(np.full((8, 9, 10), 0.5, dtype=np.float32), np.eye(4)), tmp_path / "labels" / "ann.nii.gz")
    dataset, problems = read_dataset(tmp_path)
    assert [case.name for case in dataset.cases] == ["ben"]
    assert "not whole numbers" in errors(problems)[0]


# Pictures


def test_coco_visibility(tmp_path):
    example("coco", tmp_path)

    def change(document):
        document["annotations"][0]["keypoints"] = [0, 0, 0, 6, 2, 1]
        document["annotations"][1] |= {"keypoints": [3, 4, 2, 0, 0, 0], "absent": ["PC, left"]}

    rewrite(tmp_path / "coco.json", change)
    dataset, problems = read_dataset(tmp_path)
    assert problems == []
    assert [case.landmarks.status.tolist() for case in dataset.cases] == [[UNKNOWN, PRESENT], [PRESENT, ABSENT]]


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda d: d["annotations"][0].update(keypoints=[1, 2]), "has 2 numbers"),
        (lambda d: d["annotations"][0].update(category_id=7), "category 7"),
        (lambda d: d["annotations"][0].update(image_id=7), "image 7 is not in 'images'"),
        (lambda d: d["annotations"].append(d["annotations"][0]), "'AC' occurs more than once"),
        (lambda d: d["annotations"][0]["keypoints"].__setitem__(2, 3), "visibility 3"),
        (lambda d: d["images"][1].update(id=0), "occurs more than once"),
    ],
)
def test_wrong_annotations_are_errors_of_their_case(change, word, tmp_path):
    example("coco", tmp_path)
    rewrite(tmp_path / "coco.json", change)
    _, problems = read_dataset(tmp_path)
    assert any(word in message for message in errors(problems)), problems


def test_labelme_shapes_that_are_no_points_are_refused(tmp_path):
    example("labelme", tmp_path)
    dataset, _ = read_dataset(tmp_path)
    assert (dataset.format, inline(dataset)["ann"]) == ("labelme", {**PIXELS, "gone": "absent"})
    rewrite(tmp_path / "ann.json", lambda d: d["shapes"][0].update(shape_type="polygon"))
    dataset, problems = read_dataset(tmp_path)
    assert [case.name for case in dataset.cases] == ["ben"]
    assert "only points are landmarks" in errors(problems)[0]


def test_isbi_texts_and_payers_table(tmp_path):
    for name in ("isbi_txt", "payer_csv"):
        dataset, problems = read_dataset(example(name, tmp_path / name))
        assert problems == []
        assert dataset.format == name
        assert inline(dataset)["ben"] == {"1": PIXELS["AC"], "2": PIXELS["PC, left"]}


def test_payers_table_of_volumes_is_in_voxels(tmp_path):
    volumes(tmp_path)
    (tmp_path / "points.csv").write_text("ann,1,2,3\nben,1,2,3\n")
    dataset, problems = read_dataset(tmp_path)
    assert problems == []
    np.testing.assert_allclose(dataset.cases[0].landmarks.points, [[-3, -2.5, -2]])


# Others


def test_afids_are_called_by_their_names_and_have_raters(tmp_path):
    dataset, problems = read_dataset(example("bids_afids", tmp_path))
    assert problems == []
    assert (dataset.format, dataset.names) == ("bids_afids", tuple(POINTS))
    assert dataset.cases[0].raters["rater01"].to_inline() == POINTS


def test_raters_have_folders_of_their_own(tmp_path):
    example("markups", tmp_path)
    rater = tmp_path / "raters" / "Dr. A" / "ann.mrk.json"
    rater.parent.mkdir(parents=True)
    rater.write_bytes((tmp_path / "landmarks" / "ann.mrk.json").read_bytes())
    rater.with_name("zoe.mrk.json").write_bytes(rater.read_bytes())
    dataset, problems = read_dataset(tmp_path)
    assert [list(case.raters) for case in dataset.cases] == [["Dr. A"], []]
    assert dataset.cases[0].raters["Dr. A"] == dataset.cases[0].landmarks
    (problem,) = problems
    assert "zoe.mrk.json: no matching image" in problem.message


def test_declarations_beside_the_data(tmp_path):
    dataset, problems = read_dataset(example("landmarks_json_and_cases_csv", tmp_path))
    assert [problem for problem in problems if "'gone'" not in problem.message] == []
    assert dataset.names == ("AC", "PC, left", "gone", "all")
    assert dataset.properties.many == ("all",)
    assert dataset.properties.pairs == (("AC", "PC, left"),)
    assert [(case.split, case.fold, case.group) for case in dataset.cases] == [
        ("test", None, "p"),
        ("training", 1, None),
    ]
    (tmp_path / "cases.csv").write_text("case,split\nann,training\nzoe,test\nben,perhaps\n")
    dataset, problems = read_dataset(tmp_path)
    assert [case.name for case in dataset.cases] == ["ann"]
    assert any("case 'zoe' is not in the data set" in problem.message for problem in problems)
    assert any("split is 'perhaps'" in problem.message for problem in problems)


def test_a_decathlon_list_of_label_maps(tmp_path):
    example("labelmap", tmp_path)
    items = [{"image": f"images/{case}.nii.gz", "label": f"labels/{case}.nii.gz"} for case in ("ann", "ben")]
    document = {"labels": {"0": "background", "1": "AC", "2": "PC"}, "training": items}
    (tmp_path / "dataset.json").write_text(json.dumps(document))
    dataset, problems = read_dataset(tmp_path)
    assert (dataset.format, dataset.names, problems) == ("datalist", ("AC", "PC"), [])
    np.testing.assert_allclose(dataset.cases[0].landmarks.points, [[2, 2, 2], [5, 5, 5]])


def test_screenshots_beside_volumes_are_no_images(tmp_path):
    example("markups", tmp_path)
    Image.new("L", (4, 4)).save(tmp_path / "images" / "ann.png")
    assert read_dataset(tmp_path)[1] == []


def test_volumes_among_pictures_are_errors(tmp_path):
    pictures(tmp_path)
    volumes(tmp_path / "more", "{}3d.nii.gz")
    lines = ["case,image,landmark,x,y", "ann,ann.png,AC,1,2", "vol,more/ann3d.nii.gz,AC,1,2"]
    (tmp_path / "points.csv").write_text("\n".join(lines))
    dataset, problems = read_dataset(tmp_path)
    assert [case.name for case in dataset.cases] == ["ann"]
    assert any("points have 2 coordinates" in message or "its points have 2" in message for message in errors(problems))


def test_a_list_under_a_name_that_means_nothing_is_not_lost_without_a_word(tmp_path):
    example("datalist", tmp_path)
    rewrite(tmp_path / "datalist.json", lambda d: d.update(tset=d.pop("test")))
    _, problems = read_dataset(tmp_path)
    assert "'tset' lists images that are not read" in errors(problems)[0]
