"""`inspect`: what it prints, its exit status, its report."""

import base64
import io
import json
import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image as PillowImage

from auto_config.bundle_scripts.points.landmark_files import write_markups
from auto_config.bundle_scripts.points.landmarks import LandmarkSet
from auto_config.commands.inspect import inspect
from auto_config.datasets.images import Header, Image
from auto_config.datasets.model.dataset import Problem
from auto_config.errors import UserError
from auto_config.inspection.problems import group_problems
from auto_config.inspection.report import PANEL_PIXELS, case_picture

SHAPE = (20, 24, 16)
POINTS = {"AC": [1.0, 2.0, 3.0], "left eye": [-2.0, 4.0, 0.0], "right eye": [3.0, 4.0, 0.5]}


@pytest.fixture
def source(tmp_path):
    """Three good cases in two orientations, one landmark absent in one of them."""
    root = tmp_path / "set"
    (root / "images").mkdir(parents=True)
    (root / "landmarks").mkdir()
    for number, case in enumerate("abc"):
        axes = np.diag([-1.0, -1, 1]) if number else np.eye(3)
        affine = nib.affines.from_matvec(axes, -axes @ (np.array(SHAPE) / 2))
        voxels = np.random.default_rng(number).normal(size=SHAPE).astype(np.float32)
        nib.save(nib.Nifti1Image(voxels, affine), root / "images" / f"{case}.nii.gz")
        points = {**POINTS, "AC": "absent"} if case == "b" else POINTS
        write_markups(root / "landmarks" / f"{case}.mrk.json", LandmarkSet.from_inline(points))
    return root


def spoil(source, case, value):
    path = source / "images" / f"{case}.nii.gz"
    image = nib.load(path)
    voxels = np.asarray(image.dataobj).copy()
    voxels[0, 0, 0] = value
    nib.save(nib.Nifti1Image(voxels, image.affine), path)


def test_it_says_what_is_declared(tmp_path, capsys):
    (tmp_path / "images").mkdir()
    (tmp_path / "landmarks").mkdir()
    for number, plants in enumerate(([[5, 6], [9, 3]], [])):
        grey = np.random.default_rng(number).integers(0, 256, (20, 30)).astype(np.uint8)
        PillowImage.fromarray(grey).save(tmp_path / "images" / f"{number}.png")
        points = {"a": [1, 2], "b": [7, 8], "plant": plants}
        (tmp_path / "landmarks" / f"{number}.json").write_text(json.dumps(points))
    declared = [{"name": "a", "pair": "b", "exchangeable": "b"}, {"name": "b"}, {"name": "plant", "instances": "many"}]
    measures = [{"name": "width", "kind": "distance", "landmarks": ["a", "b"]}]
    (tmp_path / "landmarks.json").write_text(json.dumps({"landmarks": declared, "measures": measures}))
    inspect(tmp_path, workers=1)
    printed = capsys.readouterr().out
    for words in (
        "left-right pairs  1 declared: a | b",
        "exchangeable  1 pair: a | b",
        "many  plant: 2 points, 0 to 2 in a case",
        "measures  width (distance)",
    ):
        assert words in printed


def test_it_says_what_the_data_set_is(source, capsys):
    assert inspect(source, workers=1) == 0
    printed = capsys.readouterr().out
    for words in (
        "format  markups",
        "cases  3",
        "landmarks  3: AC, left eye, right eye",
        "points  8 present, 1 absent, 0 unknown",
        "left-right pairs  1 by name: left eye | right eye",
        "spacing  1 mm, slices",
        "shape  20 x 24 x 16 voxels",
        "orientation  LPS 2, RAS 1",
        "channels  1; float32",
        "no problem found",
    ):
        assert words in printed


def test_errors_set_the_exit_status_and_name_the_file(source, capsys):
    spoil(source, "b", np.nan)
    (source / "landmarks" / "c.mrk.json").write_text("{")
    assert inspect(source, workers=1) == 2
    lines = capsys.readouterr().out.splitlines()
    assert any(re.match(r"error: .*b\.nii\.gz: image has 1 voxels that are NaN", line) for line in lines)
    assert any(re.match(r"error: .*c\.mrk\.json: is not valid JSON", line) for line in lines)
    assert lines[-1] == "2 errors that would train wrongly, 0 warnings"


def test_several_processes_find_the_same_in_the_same_order(source, capsys):
    spoil(source, "b", np.inf)
    (source / "images" / "c.nii.gz").write_bytes(b"nothing")
    printed = []
    for workers in (1, 2):
        assert inspect(source, workers=workers) == 2
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1]
    assert "c.nii.gz: image cannot be read" in printed[0]


def test_headers_only_reads_no_voxels(source):
    spoil(source, "b", np.nan)
    assert inspect(source, headers_only=True, workers=1) == 0


def test_points_outside_are_an_error_or_absent_by_choice(source, capsys):
    write_markups(source / "landmarks" / "a.mrk.json", LandmarkSet.from_inline({**POINTS, "AC": [99.0, 0, 0]}))
    assert inspect(source, workers=1) == 2
    capsys.readouterr()
    assert inspect(source, outside="absent", workers=1) == 0
    printed = capsys.readouterr().out
    assert "taken as absent" in printed
    assert "7 present, 2 absent" in printed


def test_what_create_would_refuse_is_found(source, capsys):
    path = source / "images" / "a.nii.gz"
    image = nib.load(path)
    voxels = np.zeros(SHAPE, dtype=np.float32)
    voxels[8:12, 8:16, 5:11] = np.asarray(image.dataobj)[8:12, 8:16, 5:11]
    nib.save(nib.Nifti1Image(voxels, image.affine), path)
    write_markups(source / "landmarks" / "a.mrk.json", LandmarkSet.from_inline({**POINTS, "AC": [9.0, 0, 0]}))
    assert inspect(source, headers_only=True, workers=1) == 0
    capsys.readouterr()
    assert inspect(source, workers=1) == 2
    printed = capsys.readouterr().out
    assert "a.nii.gz: landmark 'AC' lies in constant background that is cropped away" in printed
    assert "1 error that would train wrongly" in printed


def test_sides_swapped_in_all_cases_are_a_warning(source, capsys):
    for case in "abc":
        points = {"left eye": POINTS["right eye"], "right eye": POINTS["left eye"]}
        write_markups(source / "landmarks" / f"{case}.mrk.json", LandmarkSet.from_inline(points))
    assert inspect(source, workers=1) == 0
    printed = capsys.readouterr().out
    assert "landmarks called left, such as 'left eye', lie right of their partners" in printed
    assert "0 errors that would train wrongly, 1 warning" in printed


def test_names_with_markup_are_printed_as_they_are(source, capsys):
    for case in "abc":
        points = {"[bold]x[/bold]": [1, 2, 3], "[/y]": [2, 2, 3]}
        write_markups(source / "landmarks" / f"{case}.mrk.json", LandmarkSet.from_inline(points))
    assert inspect(source, workers=1) == 0
    assert "[bold]x[/bold], [/y]" in capsys.readouterr().out


def test_images_without_points(source, capsys):
    for path in (source / "landmarks").iterdir():
        path.unlink()
    assert inspect(source, landmarks=["AC"], workers=1) == 0
    assert "format  images" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"outside": "gone"}, "--outside is 'gone'"),
        ({"report": "gone/x.html"}, "folder does not exist"),
        ({"report": "x.html", "headers_only": True}, "leave one of them out"),
        ({"workers": 0}, "--workers is 0"),
    ],
)
def test_wrong_options_are_named(source, options, message):
    with pytest.raises(UserError, match=message):
        inspect(source, **options)


def test_the_report_is_one_page_with_a_picture_for_each_case(source, tmp_path, capsys):
    (source / "images" / "c.nii.gz").rename(source / "images" / "<c>.nii.gz")
    (source / "landmarks" / "c.mrk.json").rename(source / "landmarks" / "<c>.mrk.json")
    spoil(source, "b", np.nan)
    report = tmp_path / "report.html"
    assert inspect(source, report=report, workers=1) == 2
    assert str(report) in capsys.readouterr().out
    page = report.read_text()
    assert "<c>" not in page
    assert "&lt;c&gt;" in page
    assert "NaN" in page
    assert not re.search(r"(src|href)=\"(?!data:|#case-)", page)
    pictures = re.findall(r"base64,([^\"]+)", page)
    assert len(pictures) == 2  # the one with NaN cannot be shown
    with PillowImage.open(io.BytesIO(base64.b64decode(pictures[0]))) as picture:
        assert picture.size == (3 * PANEL_PIXELS, PANEL_PIXELS)


@pytest.mark.parametrize("axes", [np.eye(3), np.diag([-1.0, -1, 1]), np.array([[0, 0, -1], [-1.0, 0, 0], [0, 1, 0]])])
def test_points_are_drawn_on_what_they_mark(axes):
    size, spacing = 40, np.array([1.0, 1.0, 2.0])
    affine = nib.affines.from_matvec(axes * spacing, [5, -7, 11])
    voxel = np.array([9, 30, 14])
    volume = np.zeros((1, size, size, size), np.float32)
    volume[0][tuple(slice(v - 2, v + 3) for v in voxel)] = 100
    header = Header((size,) * 3, affine, 1, "float32", Path("a.nii"))
    image = Image(volume, affine, Path("a.nii"), header)
    point = (affine @ [*voxel, 1])[:3]
    drawn = np.asarray(
        PillowImage.open(io.BytesIO(case_picture(image, LandmarkSet.from_inline({"x": point.tolist()}))))
    )
    for panel in range(3):
        part = drawn[:, panel * PANEL_PIXELS : (panel + 1) * PANEL_PIXELS].astype(float)
        part = part[20:]  # below the text
        yellow = (part[..., 0] > 150) & (part[..., 2] < 100)
        white = part.min(axis=-1) > 150
        assert yellow.any() and white.any()
        centre = np.argwhere(yellow).mean(axis=0)
        box = np.argwhere(white | yellow).mean(axis=0)
        assert np.abs(centre - box).max() < 0.5 * PANEL_PIXELS / size


def test_problems_of_one_kind_are_grouped_and_errors_come_first():
    problems = [
        Problem("warning", "/x/a.nii: voxels are 30 mm wide"),
        Problem("error", "/x/a.nii: landmark 'AC' at (1, 2, 3) lies outside"),
        Problem("error", "/y/b.nii: landmark 'PC' at (4.5, 2, 3) lies outside"),
        Problem("error", "/x/c.nii: image is empty"),
    ]
    assert group_problems(problems) == [problems[1:3], [problems[3]], [problems[0]]]


def test_all_instances_are_drawn():
    header = Header((40, 30), np.eye(3), 1, "uint8", Path("p.png"), "px")
    picture = Image(np.zeros((1, 40, 30), np.float32), np.eye(3), Path("p.png"), header)
    marks = [
        np.count_nonzero(np.asarray(PillowImage.open(io.BytesIO(case_picture(picture, landmarks))))[..., 0] > 200)
        for landmarks in (
            LandmarkSet.from_inline({"plant": [[10, 15]]}),
            LandmarkSet.from_inline({"plant": [[10, 15], [25, 5], [30, 20]]}),
        )
    ]
    assert marks[1] > 2.5 * marks[0]
