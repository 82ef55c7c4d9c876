"""Each option of reading on each format: it works, or is said to do nothing."""

import json
import re

import nibabel as nib
import numpy as np
import pytest
from format_examples import CASES, EXAMPLES, SHAPE, pictures, volumes

from auto_config.datasets import read_dataset
from auto_config.datasets.registry import READERS
from auto_config.errors import UserError

NAMES = [name for name in EXAMPLES if name != "landmarks_json_and_cases_csv"]
PICTURES = ("labelme", "coco", "isbi_txt", "payer_csv", "pts", "tps", "label_studio", "cvat")
NEW = {"pts", "tps", "label_studio", "cvat", "verse", "grand_challenge"}
# What a format says of an option in its example; all others work.
IDLE = {
    "coordinates": {"markups", "json", "datalist", "nnlandmark", "labelmap", "labelme", "coco", "isbi_txt"} | NEW,
    "pixel_spacing": set(NAMES) - set(PICTURES),
    "missing": set(),
    "missing_value": {"labelmap", "pts", "tps", "label_studio", "verse"},
}


def example(name, root):
    forced, write = EXAMPLES[name]
    return forced, write(root)


def inline(dataset):
    return {case.name: case.landmarks.to_inline() for case in dataset.cases}


def said(problems, option):
    return [problem.message for problem in problems if f"--{option} does nothing for format" in problem.message]


def check_idle(name, option, value, root):
    """The option changes nothing, and one line says so."""
    forced, _ = example(name, root)
    dataset, _ = read_dataset(root, format=forced)
    other, problems = read_dataset(root, format=forced, **{option: value})
    (message,) = said(problems, option)
    assert f"format {forced!r}: " in message
    assert message.endswith("; leave it out")
    assert inline(dataset) == inline(other)


def test_every_format_has_an_example():
    assert {EXAMPLES[name][0] for name in NAMES} == set(READERS) - {"images"}


@pytest.mark.parametrize("name", sorted(IDLE["coordinates"]))
@pytest.mark.parametrize("value", ["lps", "voxel"])
def test_coordinates_do_nothing_where_files_say_them(name, value, tmp_path):
    check_idle(name, "coordinates", value, tmp_path)


@pytest.mark.parametrize("name", sorted(set(NAMES) - IDLE["coordinates"]))
def test_coordinates_work_where_files_leave_them_open(name, tmp_path):
    forced, files = example(name, tmp_path)
    if name == "payer_csv":  # of volumes; pictures have no choice
        for path in (tmp_path / "images").iterdir():
            path.unlink()
        volumes(tmp_path / "images")
        files[0].write_text("ann,1,2,3,4,5,6\nben,1,2,3,4,5,6\n")
    for path in files:
        text = re.sub(r"# CoordinateSystem = \w+\n", "", path.read_text(encoding="utf-8"))
        path.write_text(text.replace("_ras_mm", "").replace("_voxel", ""), encoding="utf-8")
    found = {}
    for value in ("ras", "lps", "voxel"):
        dataset, problems = read_dataset(tmp_path, format=forced, coordinates=value)
        assert said(problems, "coordinates") == []
        assert [problem.message for problem in problems if problem.severity == "error"] == []
        found[value] = dataset.cases[0].landmarks.points
    np.testing.assert_array_equal(found["lps"], found["ras"] * [-1, -1, 1])
    # In the example the first voxel lies at minus half of the size.
    np.testing.assert_allclose(found["voxel"], found["ras"] - np.array(SHAPE) / 2)


@pytest.mark.parametrize("name", ["payer_csv", "csv"])
def test_pictures_have_pixels_whatever_is_said(name, tmp_path):
    pictures(tmp_path)
    text = "ann,1,2\nben,3,4\n" if name == "payer_csv" else "case,landmark,x,y\nann,A,1,2\nben,A,3,4\n"
    (tmp_path / "points.csv").write_text(text)
    with pytest.raises(UserError, match="two coordinates, which are not LPS; use --coordinates pixel or mm"):
        read_dataset(tmp_path, format=name, coordinates="lps")
    dataset, problems = read_dataset(tmp_path, format=name, coordinates="pixel")
    assert problems == []
    assert dataset.cases[0].landmarks.points.tolist() == [[1, 2]]


@pytest.mark.parametrize("name", ["payer_csv", "csv"])
def test_points_of_pictures_may_be_mm(name, tmp_path):
    pictures(tmp_path)
    text = "ann,1,2\nben,3,1\n" if name == "payer_csv" else "case,landmark,x,y\nann,A,1,2\nben,A,3,1\n"
    (tmp_path / "points.csv").write_text(text)
    _, problems = read_dataset(tmp_path, format=name, coordinates="mm")
    refused = [problem for problem in problems if "its pixel size is not known" in problem.message]
    assert len(refused) == len(CASES)
    assert all("give --pixel_spacing" in problem.message for problem in refused)
    dataset, problems = read_dataset(tmp_path, format=name, coordinates="mm", pixel_spacing=0.5)
    assert problems == []
    assert [case.landmarks.points.tolist() for case in dataset.cases] == [[[1, 2]], [[3, 1]]]
    dataset, _ = read_dataset(tmp_path, format=name, pixel_spacing=0.5)
    assert dataset.cases[0].landmarks.points.tolist() == [[0.5, 1]]


@pytest.mark.parametrize("name", ["fcsv", "bids_afids", "csv_wide", "payer_csv"])
def test_points_of_volumes_in_mm_are_ras_or_lps(name, tmp_path):
    forced, files = example(name, tmp_path)
    if name == "payer_csv":
        for path in (tmp_path / "images").iterdir():
            path.unlink()
        volumes(tmp_path / "images")
        files[0].write_text("ann,1,2,3\nben,1,2,3\n")
    try:
        messages = [problem.message for problem in read_dataset(tmp_path, format=forced, coordinates="mm")[1]]
    except UserError as error:
        messages = [str(error)]
    assert any("say --coordinates ras or lps" in message for message in messages)


@pytest.mark.parametrize(("system", "sign"), [("lps", -1), ("ras", 1)])
def test_a_table_without_header_whose_points_fit_as_mm_alone_is_told_so(system, sign, tmp_path):
    affine = nib.affines.from_matvec(np.diag([2.0, 2, 2]), [100, 50, 10])
    lines = []
    rng = np.random.default_rng(0)
    for case in CASES:
        nib.save(nib.Nifti1Image(rng.normal(size=SHAPE).astype(np.float32), affine), tmp_path / f"{case}.nii.gz")
        world = rng.uniform([100, 50, 10], [114, 66, 28], (5, 3))
        lines.append(",".join([case, *(f"{n:.3f}" for n in (world * [sign, sign, 1]).ravel())]))
    (tmp_path / "all.csv").write_text("\n".join(lines))
    (error,) = [problem for problem in read_dataset(tmp_path)[1] if problem.severity == "error"]
    assert (
        f"0 of 10 lie inside their images, as {system.upper()} mm 10; if they are mm, say --coordinates {system}, else"
        in error.message
    )
    dataset, problems = read_dataset(tmp_path, coordinates=system)
    assert problems == []
    inside = np.concatenate([case.landmarks.points for case in dataset.cases])
    assert np.all((inside > [99, 49, 9]) & (inside < [115, 67, 29]))
    # The other remedy: they are voxels, whatever lies outside.
    assert read_dataset(tmp_path, coordinates="voxel")[1] == []


@pytest.mark.parametrize("label", ["inline", "file"])
def test_coordinates_of_a_datalist_are_those_of_its_fcsv_labels(label, tmp_path):
    volumes(tmp_path)
    (tmp_path / "ann.fcsv").write_text("# columns = label,x,y,z\nAC,1,2,3\n")
    value = "ann.fcsv" if label == "file" else {"AC": [-1, -2, 3]}
    document = {"training": [{"image": "ann.nii.gz", "label": value}]}
    (tmp_path / "list.json").write_text(json.dumps(document))
    dataset, problems = read_dataset(tmp_path / "list.json", coordinates="lps")
    assert dataset.cases[0].landmarks.to_inline() == {"AC": [-1, -2, 3]}
    assert len(said(problems, "coordinates")) == (label == "inline")


@pytest.mark.parametrize("name", sorted(IDLE["pixel_spacing"]))
def test_the_pixel_size_does_nothing_for_volumes(name, tmp_path):
    check_idle(name, "pixel_spacing", 0.5, tmp_path)


@pytest.mark.parametrize("name", PICTURES)
def test_the_pixel_size_makes_pixels_mm(name, tmp_path):
    forced, _ = example(name, tmp_path)
    in_pixels, _ = read_dataset(tmp_path, format=forced)
    in_mm, problems = read_dataset(tmp_path, format=forced, pixel_spacing=[0.5, 0.25])
    assert said(problems, "pixel_spacing") == []
    assert (in_pixels.unit, in_mm.unit) == ("px", "mm")
    np.testing.assert_allclose(in_mm.cases[0].landmarks.points, in_pixels.cases[0].landmarks.points * [0.5, 0.25])


def _lines(words):
    """Leave out the lines that begin or go on like this."""

    def lack(path):
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        path.write_text("".join(line for line in lines if not re.search(words, line)), encoding="utf-8")

    return lack


def _last_removed(text):
    """Leave out the last occurrence of a text."""

    def lack(path):
        before, found, after = path.read_text(encoding="utf-8").rpartition(text)
        assert found
        path.write_text(before + after, encoding="utf-8")

    return lack


def _json(change):
    def lack(path):
        document = json.loads(path.read_text(encoding="utf-8"))
        change(document)
        path.write_text(json.dumps(document), encoding="utf-8")

    return lack


def _label_map(path):
    labels = np.asarray(nib.load(path).dataobj).copy()
    labels[labels == 2] = 0
    nib.save(nib.Nifti1Image(labels, np.eye(4)), path)


def _coco_lacking(document):
    document["categories"] = [
        {"id": 1, "name": "one", "keypoints": ["AC"]},
        {"id": 2, "name": "two", "keypoints": ["PC, left"]},
    ]
    document["annotations"] = [
        {"id": number, "image_id": image, "category_id": category, "keypoints": [3, 4.5, 2]}
        for number, (image, category) in enumerate([(0, 1), (0, 2), (1, 1)])
    ]


# How the second case loses its second landmark: the end of the path of a file, and the change.
LACKING = {
    "markups": ("ben.mrk.json", _json(lambda document: document["markups"][0]["controlPoints"].pop())),
    "fcsv": ("ben.fcsv", _lines("PC, left")),
    "json": ("ben.json", _json(lambda document: document.pop("PC, left"))),
    "csv": ("points.csv", _lines("^ben,.*PC, left")),
    "csv_wide": (
        "points.tsv",
        lambda path: path.write_text(path.read_text().replace("ben\t1\t2\t3\t4\t5\t6", "ben\t1\t2\t3\t\t\t")),
    ),
    "datalist": ("datalist.json", _json(lambda document: document["test"][0]["label"].pop("PC, left"))),
    "labelmap": ("ben.nii.gz", _label_map),
    "nnlandmark": ("all_landmarks_voxel.json", _json(lambda document: document["ben"].pop("PC, left"))),
    "labelme": ("ben.json", _json(lambda document: document["shapes"].pop())),
    "coco": ("coco.json", _json(_coco_lacking)),
    "bids_afids": ("sub-ben_space-T1w_desc-groundtruth_afids.fcsv", _lines("PC, left")),
    "isbi_txt": ("ben.txt", lambda path: path.write_text("3,4.5\n")),
    "payer_csv": ("all.csv", lambda path: path.write_text("ann,3,4.5,6,2\nben,3,4.5\n")),
    "pts": ("ben.pts", lambda path: path.write_text("version: 1\nn_points: 1\n{\n4 5.5\n}\n")),
    "tps": (
        "all.tps",
        lambda path: path.write_text("LM=2\n3 5.5\n6 8\nIMAGE=ann.png\nLM=1\n3 5.5\nIMAGE=ben.png\n"),
    ),
    "verse": ("ben_seg-subreg_ctd.json", _json(lambda document: document.pop())),
    "grand_challenge": ("ben.json", _json(lambda document: document["points"].pop())),
    "label_studio": ("project.json", _json(lambda document: document[1]["annotations"][0]["result"].pop())),
    "cvat": ("annotations.xml", _last_removed('<points label="PC, left" outside="0" points="6.0,2.0"/>')),
}


@pytest.mark.parametrize("name", NAMES)
def test_missing_says_what_a_name_that_a_case_lacks_means(name, tmp_path):
    forced, files = example(name, tmp_path)
    ending, lack = LACKING[name]
    (path,) = [path for path in files if path.name == ending]
    lack(path)
    if name == "nnlandmark":
        _label_map(tmp_path / "labelsTr" / "ben.nii.gz")
    words = {}
    for missing in ("unknown", "absent"):
        dataset, problems = read_dataset(tmp_path, format=forced, missing=missing)
        assert said(problems, "missing") == []
        (case,) = [case for case in dataset.cases if case.name.endswith("ben")]
        words[missing] = list(case.landmarks.to_inline().values())[1]
    assert words == {"unknown": "unknown", "absent": "absent"}


# The first point of the example as its file has it.
FIRST = {
    "markups": "-1,-2,3",
    "fcsv": "-1,-2,3",
    "json": "1,2,3",
    "csv": "1,2,3",
    "csv_wide": "1,2,3",
    "datalist": "1,2,3",
    "nnlandmark": "1,2,3",
    "labelme": "3,4.5",
    "coco": "3,4.5",
    "bids_afids": "1,2,3",
    "isbi_txt": "3,4.5",
    "payer_csv": "3,4.5",
    "cvat": "3,4.5",
    "grand_challenge": "-1,-2,3",
}


@pytest.mark.parametrize("name", sorted(set(NAMES) - IDLE["missing_value"]))
def test_a_missing_value_is_a_point_as_the_file_has_it(name, tmp_path):
    forced, _ = example(name, tmp_path)
    before = inline(read_dataset(tmp_path, format=forced)[0])
    dataset, problems = read_dataset(tmp_path, format=forced, missing_value=FIRST[name], missing="absent")
    assert said(problems, "missing_value") == []
    assert any(f"are {FIRST[name]} and taken as absent" in problem.message for problem in problems)
    after = inline(dataset)
    for case, points in before.items():
        first, *others = points
        # Points of Slicer are compared in RAS and in LPS: a line of the example has these numbers, a box those of RAS.
        again = ["TCD 1", "box"] if name == "markups" else []
        assert {other: after[case][other] for other in (first, *again)} == dict.fromkeys((first, *again), "absent")
        assert all(after[case][other] == points[other] for other in others if other not in again)
    assert len(after) == len(CASES)


@pytest.mark.parametrize("name", sorted(IDLE["missing_value"]))
def test_a_missing_value_does_nothing_where_there_are_no_numbers(name, tmp_path):
    check_idle(name, "missing_value", "0", tmp_path)


@pytest.mark.parametrize(
    ("option", "value"), [("coordinates", "lps"), ("missing", "absent"), ("missing_value", "0"), ("pixel_spacing", 0.5)]
)
def test_options_of_points_do_nothing_for_images_alone(option, value, tmp_path):
    volumes(tmp_path)
    dataset, problems = read_dataset(tmp_path, landmarks=["A"], **{option: value})
    (message,) = said(problems, option)
    assert ("volumes" if option == "pixel_spacing" else "no points") in message
    assert dataset.format == "images"
    assert len(dataset.cases) == len(CASES)
