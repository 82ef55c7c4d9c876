"""0, 0 and the like as marks of missing points: found, asked for, and taken as missing."""

import json

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from auto_config.bundle_scripts.points.fcsv_files import write_fcsv
from auto_config.bundle_scripts.points.landmark_files import write_markups
from auto_config.bundle_scripts.points.landmarks import ABSENT, PRESENT, UNKNOWN, LandmarkSet
from auto_config.cli import main
from auto_config.commands.create import create
from auto_config.datasets import read_dataset
from auto_config.datasets.assembly.missing_marks import parsed_missing_value
from auto_config.errors import UserError

CASES = [f"c{number}" for number in range(6)]
NAMES = ("A", "B", "C")


def points_of(case, dims):
    number = CASES.index(case)
    flat = {"A": [45 + number, 35], "B": [110 - number, 40 + number], "C": [80, 85 - number]}
    return {name: [*point, 9 + number][:dims] for name, point in flat.items()}


def marked(marks, dims=2):
    """Points of all cases, with marks at some (case, name)."""
    return {
        case: {**points_of(case, dims), **{name: mark for (own, name), mark in marks.items() if own == case}}
        for case in CASES
    }


def table(root, points):
    """A wide table of pictures."""
    for number, case in enumerate(CASES):
        grey = np.random.default_rng(number).integers(0, 255, (120, 160)).astype(np.uint8)
        Image.fromarray(grey).save(root / f"{case}.png")
    header = ",".join(f"{name}_{axis}" for name in NAMES for axis in "xy")
    lines = [",".join([case, *(f"{n}" for name in NAMES for n in points[case][name])]) for case in CASES]
    path = root / "points.csv"
    path.write_text("\n".join([f"image,{header}", *lines]) + "\n")
    return path


def volumes(root):
    """Volumes whose voxels are not world mm."""
    affine = nib.affines.from_matvec(np.array([[-1.5, 0, 0], [0, 0, 2.0], [0, 1.25, 0]]), [91.7, -12.3, 7.1])
    for number, case in enumerate(CASES):
        voxels = np.random.default_rng(number).normal(size=(12, 14, 10)).astype(np.float32)
        nib.save(nib.Nifti1Image(voxels, affine), root / f"{case}.nii.gz")


def status(dataset, case, name):
    landmarks = next(one for one in dataset.cases if one.name == case).landmarks
    return landmarks.status[landmarks.names.index(name)]


def severities(problems):
    return [problem.severity for problem in problems]


def test_one_point_at_zero_is_a_warning_and_each_remedy_is_right(tmp_path):
    path = table(tmp_path, marked({("c2", "B"): [0, 0]}))
    dataset, (problem,) = read_dataset(path)
    assert (problem.severity, problem.case, problem.landmark) == ("warning", "c2", "B")
    assert (
        "points.csv: case 'c2': landmark 'B' is exactly 0, 0; if that marks a missing point, say --missing_value 0"
        in problem.message
    )
    assert status(dataset, "c2", "B") == PRESENT
    for missing, expected in (("unknown", UNKNOWN), ("absent", ABSENT)):
        dataset, (problem,) = read_dataset(path, missing_value="0", missing=missing)
        assert f"1 point is 0 and taken as {missing}, as --missing_value says" in problem.message
        assert [status(dataset, "c2", name) for name in NAMES] == [PRESENT, expected, PRESENT]
        assert all((case.landmarks.status == PRESENT).all() for case in dataset.cases if case.name != "c2")
    dataset, problems = read_dataset(path, missing_value="none")
    assert (problems, status(dataset, "c2", "B")) == ([], PRESENT)


@pytest.mark.parametrize("number", [0, -1, -9, -999, 9999])
def test_a_number_that_repeats_over_landmarks_is_an_error(number, tmp_path):
    path = table(tmp_path, marked({("c2", "B"): [number, number], ("c3", "A"): [number, number]}))
    _, problems = read_dataset(path)
    (error,) = [problem for problem in problems if problem.severity == "error"]
    assert f"2 points of 2 landmarks are exactly {number}, {number}, such as 'B' in case 'c2'" in error.message
    for value in (str(number), f"{number},{number}"):
        assert f"--missing_value {number}," in error.message
        dataset, problems = read_dataset(path, missing_value=value)
        assert severities(problems) == ["warning"]
        assert [status(dataset, *place) for place in (("c2", "B"), ("c3", "A"), ("c2", "A"))] == [
            UNKNOWN,
            UNKNOWN,
            PRESENT,
        ]
    assert read_dataset(path, missing_value="none")[1] == []


def test_a_pixel_that_repeats_over_the_cases_of_one_landmark_is_an_error(tmp_path):
    path = table(tmp_path, marked({(case, "B"): [-1, -1] for case in CASES[:4]}))
    (problem,) = read_dataset(path)[1]
    assert problem.severity == "error"
    assert "4 points of 1 landmark are exactly -1, -1" in problem.message


def test_two_marks_are_said_together(tmp_path):
    path = table(tmp_path, marked({("c2", "B"): [0, 0], ("c3", "A"): [-1, -1], ("c4", "A"): [-1, -1]}))
    _, problems = read_dataset(path)
    assert severities(problems) == ["warning", "error"]
    assert all("say --missing_value 0/-1, if" in problem.message for problem in problems)
    dataset, problems = read_dataset(path, missing_value="0/-1")
    assert severities(problems) == ["warning", "warning"]
    assert [status(dataset, *place) for place in (("c2", "B"), ("c3", "A"), ("c4", "A"))] == [UNKNOWN] * 3
    # Of two marks one may be said alone: the other is then no error that nobody could end.
    _, problems = read_dataset(path, missing_value="0")
    assert severities(problems) == ["warning", "warning"]
    assert "say --missing_value 0/-1" in problems[1].message


def test_points_of_equal_coordinates_that_mark_nothing_are_left_alone(tmp_path):
    path = table(tmp_path, marked({("c2", "B"): [50, 50], ("c3", "A"): [50, 50], ("c4", "A"): [0, 12]}))
    assert read_dataset(path)[1] == []
    _, (problem,) = read_dataset(path, missing_value="-1")
    assert "--missing_value -1: no point is that" in problem.message


@pytest.mark.parametrize("kind", ["voxel", "ras", "lps", "payer", "payer_lps", "fcsv", "fcsv_lps", "markups", "json"])
def test_numbers_are_compared_as_the_file_has_them(kind, tmp_path):
    volumes(tmp_path)
    options = {}
    points = marked({("c2", "B"): [-1, -1, -1], ("c4", "C"): [-1, -1, -1]}, dims=3)
    if kind in ("voxel", "ras", "lps"):
        header = ",".join(f"{name}_{axis}_{kind}" for name in NAMES for axis in "xyz")
        lines = [",".join([case, *(f"{n}" for name in NAMES for n in own[name])]) for case, own in points.items()]
        (tmp_path / "points.csv").write_text("\n".join([f"case,{header}", *lines]) + "\n")
    elif kind.startswith("payer"):
        lines = [",".join([case, *(f"{n}" for name in NAMES for n in own[name])]) for case, own in points.items()]
        (tmp_path / "all.csv").write_text("\n".join(lines) + "\n")
        options = {"coordinates": "lps"} if kind == "payer_lps" else {}
    else:
        for case, own in points.items():
            if kind == "json":
                (tmp_path / "landmarks").mkdir(exist_ok=True)
                (tmp_path / "landmarks" / f"{case}.json").write_text(json.dumps(own))
            elif kind == "fcsv":
                rows = "".join(f"{name},{','.join(map(str, point))}\n" for name, point in own.items())
                (tmp_path / f"{case}.fcsv").write_text(f"# CoordinateSystem = RAS\n# columns = label,x,y,z\n{rows}")
            else:
                world = {name: [-x, -y, z] for name, (x, y, z) in own.items()}
                write = write_fcsv if kind == "fcsv_lps" else write_markups
                ending = "fcsv" if kind == "fcsv_lps" else "mrk.json"
                write(tmp_path / f"{case}.{ending}", LandmarkSet.from_inline(world))
    names = ("2", "3") if kind.startswith("payer") else ("B", "C")
    _, problems = read_dataset(tmp_path, **options)
    (error,) = [problem for problem in problems if problem.severity == "error"]
    assert "2 points of 2 landmarks are exactly -1, -1, -1" in error.message
    dataset, problems = read_dataset(tmp_path, missing_value="-1,-1,-1", **options)
    assert severities(problems) == ["warning"]
    found = [status(dataset, case, name) for case in ("c2", "c4") for name in names]
    assert found == [UNKNOWN, PRESENT, PRESENT, UNKNOWN]


def test_a_landmark_that_is_the_origin_is_no_mark(tmp_path):
    volumes(tmp_path)
    points = marked({(case, "A"): [0, 0, 0] for case in CASES[:5]}, dims=3)
    (tmp_path / "landmarks").mkdir()
    for case, own in points.items():
        (tmp_path / "landmarks" / f"{case}.json").write_text(json.dumps(own))
    assert read_dataset(tmp_path)[1] == []
    # In fewer cases than not it is no origin.
    for case in CASES[1:5]:
        (tmp_path / "landmarks" / f"{case}.json").write_text(json.dumps(points_of(case, 3)))
    (problem,) = read_dataset(tmp_path)[1]
    assert (problem.severity, problem.case) == ("warning", "c0")


def test_of_many_instances_the_marked_ones_are_left_out(tmp_path):
    table(tmp_path, marked({}))
    (tmp_path / "points.csv").unlink()
    (tmp_path / "landmarks").mkdir()
    for case in CASES:
        buds = [[0, 0], [7, 8]] if case == "c0" else [[0, 0]] if case == "c1" else [[5, 6], [7, 8]]
        (tmp_path / "landmarks" / f"{case}.json").write_text(json.dumps({"A": points_of(case, 2)["A"], "bud": buds}))
    dataset, _ = read_dataset(tmp_path, missing_value="0,0", missing="absent")
    inline = {case.name: case.landmarks.to_inline()["bud"] for case in dataset.cases}
    assert inline["c0"] == [[7, 8]]
    assert inline["c1"] in ([], "absent")
    assert inline["c2"] == [[5, 6], [7, 8]]


@pytest.mark.parametrize("value", ["", "x", "0,", "1,2,3,4", "nan", "0//1", "inf"])
def test_a_value_that_is_no_mark_is_refused(value, tmp_path):
    path = table(tmp_path, marked({}))
    with pytest.raises(UserError, match=r"^--missing_value is '.*'; give the coordinates that mark a missing point"):
        read_dataset(path, missing_value=value)


def test_a_mark_has_as_many_coordinates_as_the_points(tmp_path):
    path = table(tmp_path, marked({}))
    with pytest.raises(UserError, match="--missing_value 0,0,0 has 3 coordinates, points have 2; give one number"):
        read_dataset(path, missing_value="0,0,0")


@given(st.lists(st.lists(st.integers(-9999, 9999), min_size=1, max_size=3), min_size=1, max_size=3))
def test_what_is_said_is_what_is_meant(marks):
    text = "/".join(",".join(map(str, mark)) for mark in marks)
    assert parsed_missing_value(text).marks == tuple(tuple(map(float, mark)) for mark in marks)


def test_every_command_takes_it(tmp_path, capsys):
    path = table(tmp_path, marked({("c2", "B"): [-1, -1], ("c3", "A"): [-1, -1]}))
    assert main(["inspect", str(path), "--headers_only"]) == 2
    assert "--missing_value -1" in capsys.readouterr().out
    assert main(["inspect", str(path), "--headers_only", "--missing_value", "-1,-1"]) == 0
    assert "2 points are -1,-1 and taken as unknown" in capsys.readouterr().out
    out = tmp_path / "out"
    assert main(["convert", str(path), str(out), "--to", "datalist", "--missing_value=-1", "--missing", "absent"]) == 0
    document = json.loads((out / "datalist.json").read_text())
    assert [item["label"]["B"] for item in document["training"] if item["case"] == "c2"] == ["absent"]
    with pytest.raises(UserError, match="would train wrongly"):
        create(path, tmp_path / "refused", network="tiny")
    assert create(path, tmp_path / "bundle", network="tiny", missing_value="-1") == 0
    document = json.loads((tmp_path / "bundle" / "data" / "datalist.json").read_text())
    items = {item["case"]: item["label"] for part in ("training", "test") for item in document[part]}
    assert (items["c2"]["B"], items["c3"]["A"]) == ("unknown", "unknown")
