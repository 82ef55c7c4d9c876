"""Folders of images and landmark files: layouts, names, everything that does not match."""

import json
import shutil

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from auto_config.bundle_scripts.points.fcsv_files import write_fcsv
from auto_config.bundle_scripts.points.landmarks import ABSENT, UNKNOWN, LandmarkSet
from auto_config.datasets import read_dataset
from auto_config.errors import UserError

POINTS = {"AC": [1.0, 2.0, 3.0], "PC": [4.0, -3.0, 1.0], "left eye": [-2.0, 4.0, 0.0], "right eye": [3.0, 4.0, 0.5]}


def the_one(problems, severity, *words):
    assert len(problems) == 1, problems
    assert problems[0].severity == severity
    for word in words:
        assert word in problems[0].message
    assert "\n" not in problems[0].message
    return problems[0]


def test_images_and_landmarks_with_equal_names(three_cases):
    dataset, problems = read_dataset(three_cases.root)
    assert problems == []
    assert (dataset.format, dataset.spatial_dims, dataset.names) == ("markups", 3, tuple(POINTS))
    assert [case.name for case in dataset.cases] == ["c1", "c2", "c10"]
    for case in dataset.cases:
        assert case.image == (three_cases.root / "images" / f"{case.name}.nii.gz",)
        assert case.landmarks.to_inline() == POINTS
        assert (case.split, case.fold, case.group) == ("training", None, None)


@pytest.mark.parametrize("name", ["labels", "points", "markups"])
def test_other_names_of_the_landmark_folder(three_cases, name):
    (three_cases.root / "landmarks").rename(three_cases.root / name)
    dataset, problems = read_dataset(three_cases.root)
    assert (len(dataset.cases), problems) == (3, [])


def test_files_side_by_side_also_in_a_folder_for_each_case(three_cases, tmp_path):
    flat, nested = tmp_path / "flat", tmp_path / "nested"
    flat.mkdir()
    for path in sorted(three_cases.root.rglob("*.*")):
        shutil.copy(path, flat)
        case = path.name.split(".")[0]
        (nested / case).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, nested / case / path.name.replace(case, "scan"))
    dataset, problems = read_dataset(flat)
    assert ([case.name for case in dataset.cases], problems) == (["c1", "c2", "c10"], [])
    dataset, problems = read_dataset(nested)
    assert ([case.name for case in dataset.cases], problems) == (["c1_scan", "c2_scan", "c10_scan"], [])


def test_fcsv_and_inline_json(three_cases):
    landmarks = three_cases.root / "landmarks"
    for path in landmarks.glob("*.mrk.json"):
        path.unlink()
    for case in ("c1", "c2", "c10"):
        write_fcsv(landmarks / f"{case}.fcsv", LandmarkSet.from_inline(POINTS))
    dataset, problems = read_dataset(three_cases.root)
    assert (dataset.format, len(dataset.cases), problems) == ("fcsv", 3, [])
    for path in landmarks.glob("*.fcsv"):
        path.with_suffix(".json").write_text(json.dumps(POINTS))
    with pytest.raises(UserError, match=r"\.fcsv and \.json files; choose with --format fcsv or --format json"):
        read_dataset(three_cases.root)
    dataset, problems = read_dataset(three_cases.root, format="json")
    assert dataset.cases[0].landmarks.to_inline() == POINTS


def test_fcsv_in_voxels_is_converted_with_its_image(folder):
    path = folder.image("a", affine=nib.affines.from_matvec(np.diag([2.0, 1, 1]), [10, 20, 30]))
    text = "# CoordinateSystem = IJK\n# columns = label,x,y,z\ntip,1,2,3\n"
    (folder.root / "landmarks" / "a.fcsv").write_text(text)
    dataset, problems = read_dataset(folder.root)
    assert problems == []
    assert dataset.cases[0].landmarks.to_inline() == {"tip": [12, 22, 33]}
    path.write_bytes(b"no image")
    dataset, problems = read_dataset(folder.root)
    the_one(problems, "error", "a.nii.gz: image cannot be read")


@pytest.mark.parametrize(
    ("coordinates", "expected"),
    [("ras", [1, 2, 3]), ("lps", [-1, -2, 3]), ("voxel", [12, 22, 33]), ("pixel", [12, 22, 33])],
)
@pytest.mark.parametrize("layout", ["folder", "datalist", "bids"])
def test_coordinates_say_what_an_old_fcsv_is_in(coordinates, expected, layout, folder):
    image = folder.image("a", affine=nib.affines.from_matvec(np.diag([2.0, 1, 1]), [10, 20, 30]))
    label = folder.root / "landmarks" / "a.fcsv"
    if layout == "datalist":
        document = {"training": [{"image": "images/a.nii.gz", "label": "landmarks/a.fcsv"}]}
        (folder.root / "list.json").write_text(json.dumps(document))
    if layout == "bids":
        place = folder.root / "sub-1" / "anat" / "sub-1_T1w.nii.gz"
        place.parent.mkdir(parents=True)
        image.rename(place)
        label = folder.root / "derivatives" / "afids_groundtruth" / "sub-1" / "anat" / "sub-1_afids.fcsv"
        label.parent.mkdir(parents=True)
    label.write_text("#Fiducial List file x\n#label,x,y,z,sel,vis\ntip,1,2,3,1,1\n")
    source = folder.root / "list.json" if layout == "datalist" else folder.root
    dataset, problems = read_dataset(source)
    assert dataset.cases == ()
    the_one(problems, "error", ".fcsv: has no line '# CoordinateSystem", "--coordinates ras, lps or voxel")
    dataset, problems = read_dataset(source, coordinates=coordinates)
    assert [problem.message for problem in problems if problem.severity == "error"] == []
    assert dataset.cases[0].landmarks.to_inline() == {"tip": expected}


def test_an_fcsv_of_a_picture_may_be_in_its_pixels(folder):
    Image.new("L", (12, 10)).save(folder.root / "images" / "a.png")
    (folder.root / "landmarks" / "a.fcsv").write_text("# CoordinateSystem = IJK\n# columns = label,x,y,z\ntip,3,4,0\n")
    dataset, problems = read_dataset(folder.root, pixel_spacing=[0.5, 0.25])
    assert problems == []
    assert dataset.cases[0].landmarks.to_inline() == {"tip": [1.5, 1]}


def test_an_image_without_landmark_file_is_left_out_with_a_warning(three_cases):
    (three_cases.root / "landmarks" / "c2.mrk.json").unlink()
    dataset, problems = read_dataset(three_cases.root)
    assert [case.name for case in dataset.cases] == ["c1", "c10"]
    problem = the_one(problems, "warning", "c2.nii.gz: no matching landmark file", "landmarks/c2.mrk.json", "left out")
    assert problem.case == "c2"


def test_a_landmark_file_without_image_is_left_out_with_a_warning(three_cases):
    (three_cases.root / "images" / "c2.nii.gz").unlink()
    dataset, problems = read_dataset(three_cases.root)
    assert [case.name for case in dataset.cases] == ["c1", "c10"]
    the_one(problems, "warning", "c2.mrk.json: no matching image", "rename or add")


def test_nothing_that_matches_is_an_error(folder):
    folder.image("a")
    folder.label("b")
    dataset, problems = read_dataset(folder.root)
    assert dataset.cases == ()
    assert [problem.severity for problem in problems] == ["warning", "warning", "error"]
    assert "no case has both" in problems[-1].message


def test_two_images_of_one_case_are_an_error(three_cases):
    three_cases.image("c2", name="c2.nii")
    dataset, problems = read_dataset(three_cases.root)
    assert [case.name for case in dataset.cases] == ["c1", "c10"]
    the_one(problems, "error", "c2.nii", "c2.nii.gz", "keep one")


def test_two_cases_with_one_name_are_an_error(three_cases):
    for name in ("images", "landmarks"):
        (three_cases.root / name / "c").mkdir()
    shutil.copy(three_cases.root / "images" / "c1.nii.gz", three_cases.root / "images" / "c" / "x.nii.gz")
    shutil.copy(three_cases.root / "landmarks" / "c1.mrk.json", three_cases.root / "landmarks" / "c" / "x.mrk.json")
    three_cases.case("c_x")
    dataset, problems = read_dataset(three_cases.root)
    assert [case.name for case in dataset.cases] == ["c1", "c2", "c10"]
    assert [problem.severity for problem in problems] == ["error", "error"]
    assert all("c_x" in problem.message for problem in problems)


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ("{", ["not valid JSON"]),
        ('{"markups": [{"controlPoints": [{"label": "AC", "position": [1, NaN, 3]}]}]}', ["'AC'", "not finite"]),
        (
            '{"markups": [{"controlPoints": [{"label": "AC", "position": [1, 2, 3]}, '
            '{"label": "AC", "position": [1, 2, 3]}]}]}',
            ["'AC' occurs more than once"],
        ),
        ('{"markups": [{"controlPoints": [{"label": "$AC", "position": [1, 2, 3]}]}]}', ["'$AC'", "rename"]),
    ],
)
def test_a_wrong_landmark_file_is_an_error_with_its_name(three_cases, document, words):
    path = three_cases.root / "landmarks" / "c2.mrk.json"
    path.write_text(document)
    dataset, problems = read_dataset(three_cases.root)
    assert [case.name for case in dataset.cases] == ["c1", "c10"]
    assert the_one(problems, "error", str(path), *words).case == "c2"


def test_a_file_without_landmarks_is_left_out_or_means_that_all_are_absent(three_cases):
    three_cases.label("c2", {})
    dataset, problems = read_dataset(three_cases.root)
    assert [case.name for case in dataset.cases] == ["c1", "c10"]
    the_one(problems, "warning", "c2.mrk.json: holds no landmark", "annotate")
    dataset, problems = read_dataset(three_cases.root, missing="absent")
    assert dataset.cases[1].landmarks.status.tolist() == [ABSENT] * 4


@pytest.mark.parametrize(("missing", "status"), [("unknown", UNKNOWN), ("absent", ABSENT)])
def test_a_name_that_one_case_lacks(three_cases, missing, status):
    three_cases.label("c2", {name: POINTS[name] for name in ("right eye", "AC", "PC")})
    dataset, problems = read_dataset(three_cases.root, missing=missing)
    assert dataset.names == tuple(POINTS)
    assert dataset.cases[1].landmarks.status.tolist() == [1, 1, status, 1]
    assert dataset.cases[1].landmarks.points[0].tolist() == POINTS["AC"]
    problem = the_one(problems, "warning", "c2.mrk.json", "'left eye'", "2 of 3", f"taken as {missing}", "--missing")
    assert (problem.case, problem.landmark) == ("c2", "left eye")


def test_variants_of_one_name_in_different_cases_are_an_error(three_cases):
    three_cases.label("c2", {"ac" if name == "AC" else name: point for name, point in POINTS.items()})
    _, problems = read_dataset(three_cases.root)
    (error,) = [problem for problem in problems if problem.severity == "error"]
    assert "c2.mrk.json: landmark 'ac' is called 'AC' in 2 other cases" in error.message


def test_a_slip_of_the_pen_is_named(three_cases):
    three_cases.label("c2", {"lefft eye" if name == "left eye" else name: point for name, point in POINTS.items()})
    _, problems = read_dataset(three_cases.root)
    assert any("if 'left eye' is meant, rename it" in problem.message for problem in problems)


def test_names_that_differ_in_case_only_are_two_landmarks_where_one_case_has_both(folder):
    points = {"a": [1, 2, 3], "A": [2, 2, 3], "头": [0, 3, 0], "Ä%": [1, 1, 1]}
    points |= {f"n{number}": [0, 2, number / 100] for number in range(196)}
    for case in ("x", "y"):
        folder.case(case, points)
    dataset, problems = read_dataset(folder.root)
    assert problems == []
    assert dataset.names == tuple(points)
    assert len(dataset.names) == 200


def test_numbers_are_sorted_as_numbers(folder):
    folder.case("x", {"10": [1, 2, 3], "9": [1, 2, 2]})
    assert read_dataset(folder.root)[0].names == ("9", "10")


def test_a_landmark_that_is_present_in_no_case_is_an_error(three_cases):
    for case in ("c1", "c2", "c10"):
        three_cases.label(case, {**POINTS, "PC": "absent"})
    _, problems = read_dataset(three_cases.root)
    the_one(problems, "error", "'PC' is present in no case", "--landmarks")


def test_landmarks_are_chosen_and_ordered(three_cases):
    dataset, problems = read_dataset(three_cases.root, landmarks=["PC", "AC"])
    assert dataset.cases[0].landmarks.names == dataset.names == ("PC", "AC")
    the_one(problems, "warning", "2 landmarks are left out by choice: left eye, right eye")
    _, problems = read_dataset(three_cases.root, landmarks=["PC", "AX"])
    assert [problem.landmark for problem in problems if problem.severity == "error"] == ["AX"]


@pytest.mark.parametrize(("names", "word"), [(["a", "a"], "more than once"), (["@a"], "rename")])
def test_chosen_landmarks_must_be_names(three_cases, names, word):
    with pytest.raises(UserError, match=f"--landmarks: .*{word}"):
        read_dataset(three_cases.root, landmarks=names)


def test_images_without_points_need_names(folder):
    folder.image("a")
    folder.image("b")
    with pytest.raises(UserError, match="--landmarks"):
        read_dataset(folder.root)
    dataset, problems = read_dataset(folder.root, landmarks=["AC", "PC"])
    assert problems == []
    assert (dataset.format, dataset.names) == ("images", ("AC", "PC"))
    assert [(case.name, case.landmarks) for case in dataset.cases] == [("a", None), ("b", None)]


def test_a_linked_image_keeps_its_own_name(folder, tmp_path):
    folder.case("a")
    real = tmp_path / "MD5-0123.nii.gz"
    (folder.root / "images" / "a.nii.gz").rename(real)
    (folder.root / "images" / "a.nii.gz").symlink_to(real)
    dataset, problems = read_dataset(folder.root)
    assert problems == []
    assert dataset.cases[0].image == (folder.root / "images" / "a.nii.gz",)


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (lambda root: root / "gone", {}, "no such file or folder"),
        (lambda root: root, {}, "holds neither landmarks"),
        (lambda root: root, {"format": "dicom"}, "--format is 'dicom'; allowed are .*markups"),
        (lambda root: root, {"missing": "gone"}, "--missing is 'gone'"),
        (lambda root: root, {"format": "markups"}, "holds no image"),
        (lambda root: root, {"format": "images", "landmarks": ["a"]}, "holds no image"),
        (lambda root: root, {"format": "csv"}, "holds 0 files of format 'csv'"),
    ],
)
def test_a_source_that_cannot_be_read(tmp_path, make, options, message):
    with pytest.raises(UserError, match=message):
        read_dataset(make(tmp_path), **options)


def test_other_files_are_not_a_data_set(tmp_path):
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(UserError, match=r"notes\.txt: not a data set"):
        read_dataset(tmp_path / "notes.txt")
    with pytest.raises(UserError, match="needs a folder"):
        read_dataset(tmp_path / "notes.txt", format="markups")


def test_landmarks_in_two_folders_are_refused(three_cases):
    shutil.copytree(three_cases.root / "landmarks", three_cases.root / "points")
    with pytest.raises(UserError, match=r"both landmarks/ and points/"):
        read_dataset(three_cases.root)


@pytest.fixture
def lists(three_cases):
    """The three cases with lists of points for two landmarks, and nothing declared."""
    labels = three_cases.root / "landmarks"
    for path in sorted(labels.iterdir()):
        path.unlink()
    documents = {
        "c1": {"AC": [1, 2, 3], "suture": [[0, 0, 1], [1, 1, 1]], "screw": [[2, 2, 2]]},
        "c2": {"AC": [1, 2, 3], "suture": "absent", "screw": []},
        "c10": {"AC": [1, 2, 3], "suture": [[4, 4, 4]]},
    }
    for case, document in documents.items():
        (labels / f"{case}.json").write_text(json.dumps(document))
    return three_cases.root


def test_a_landmark_with_lists_of_points_is_many_without_being_declared(lists):
    dataset, problems = read_dataset(lists, missing="absent")
    assert set(dataset.properties.many) == {"suture", "screw"}
    assert [problem.severity for problem in problems] == ["warning"]  # the screw is not named in c10
    counts = {
        case.name: {name: len(found) for name, found in case.landmarks.instances.items()} for case in dataset.cases
    }
    assert counts["c1"] == {"suture": 2, "screw": 1}
    assert counts["c2"] == {"suture": 0, "screw": 0}


def test_one_point_here_and_a_list_there_is_an_error_until_it_is_declared(lists):
    (lists / "landmarks" / "c2.json").write_text(json.dumps({"AC": [1, 2, 3], "suture": [5, 5, 5], "screw": []}))
    dataset, problems = read_dataset(lists, missing="absent")
    the_one(
        [one for one in problems if one.severity == "error"], "error", "c2.json", "'suture' is one point", "c1.json"
    )
    assert "suture" in dataset.properties.many  # nothing is lost on the way to another format
    names = [{"name": "AC"}, {"name": "suture", "instances": "many"}, {"name": "screw"}]
    (lists / "landmarks.json").write_text(json.dumps({"landmarks": names}))
    dataset, problems = read_dataset(lists, missing="absent")
    assert not [one for one in problems if one.severity == "error"]
    assert len(dataset.cases[1].landmarks.instances["suture"]) == 1


def test_names_are_not_blamed_where_no_case_can_be_read(lists):
    names = [{"name": "AC"}, {"name": "suture"}, {"name": "screw"}]
    (lists / "landmarks.json").write_text(json.dumps({"landmarks": names}))
    for path in (lists / "landmarks").iterdir():
        path.write_text("{")
    _, problems = read_dataset(lists)
    assert ["is not valid JSON" in one.message for one in problems] == [True] * 3
