"""`evaluate` in 2D: errors in mm where the size of a pixel is known, else in pixels, and said which."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

from auto_config.bundle_scripts.inference.prediction_files import prediction_columns, prediction_rows
from auto_config.commands.evaluate import evaluate
from auto_config.errors import UserError

POINTS = {"one": [[10.0, 20.0], [30.0, 5.0]], "two": [[12.0, 22.0], [28.0, 8.0]]}  # pixels
MOVED = {"one": [[13.0, 24.0], [30.0, 5.0]], "two": [[12.0, 22.0], [28.0, 18.0]]}  # errors 5, 0, 0, 10 pixels
NAMES = ("a", "b")


@pytest.fixture
def truth(tmp_path):
    folder = tmp_path / "truth"
    (folder / "images").mkdir(parents=True)
    rng = np.random.default_rng(0)
    rows = ["image,landmark,x,y"]
    for case, points in POINTS.items():
        Image.fromarray(rng.integers(0, 256, (40, 50)).astype(np.uint8)).save(folder / f"images/{case}.png")
        rows += [f"{case}.png,{name},{x},{y}" for name, (x, y) in zip(NAMES, points, strict=True)]
    (folder / "landmarks.csv").write_text("\n".join(rows) + "\n")
    return folder


def write_table(folder, *, spacing=None):
    """``predictions.csv`` as `PredictionFolder` writes it."""
    folder.mkdir()
    rows = [prediction_columns(2)]
    for case, points in MOVED.items():
        items = [
            {
                "name": name,
                "world": [x * (spacing or 1) for x in point],
                "voxel": point,
                "confidence": 0.5,
                "present": 1,
                "radius_mm": None,
            }
            for name, point in zip(NAMES, points, strict=True)
        ]
        rows += prediction_rows(case, {"landmarks": items}, "px" if spacing is None else "mm")
    with (folder / "predictions.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows(rows)
    return folder


def test_the_table_has_pixels_and_mm(tmp_path):
    text = (write_table(tmp_path / "out", spacing=0.5) / "predictions.csv").read_text().splitlines()
    assert text[:2] == [
        "case,landmark,x_px,y_px,x_mm,y_mm,confidence,present,radius_mm,verdict",
        "one,a,13.0,24.0,6.5,12.0,0.5,1,,",
    ]
    text = (write_table(tmp_path / "px") / "predictions.csv").read_text().splitlines()
    assert text[1] == "one,a,13.0,24.0,,,0.5,1,,"


def test_errors_are_in_mm_where_the_pixel_size_is_known(truth, tmp_path, capsys):
    folder = write_table(tmp_path / "out", spacing=0.5)
    assert evaluate(folder, truth, pixel_spacing=[0.5], thresholds=[2.5]) == 0
    numbers = json.loads((folder / "metrics.json").read_text())
    assert numbers["unit"] == "mm"
    assert numbers["mre_mm"]["mean"] == pytest.approx(15 / 4 / 2)
    assert numbers["sdr"] == {"2.5": 75.0}
    assert "mre_px" not in numbers
    assert "1.88 mm" in capsys.readouterr().out
    page = (folder / "report.html").read_text()
    assert "Errors are distances in mm between" in page
    assert page.count("data:image/jpeg") == 2


def test_errors_are_in_pixels_where_it_is_not(truth, tmp_path, capsys):
    folder = write_table(tmp_path / "out")
    assert evaluate(folder, truth, thresholds=[5]) == 0
    numbers = json.loads((folder / "metrics.json").read_text())
    assert numbers["unit"] == "px"
    assert numbers["mre_px"]["mean"] == pytest.approx(15 / 4)
    assert numbers["per_case"]["two"]["mre_px"]["max"] == pytest.approx(10)
    assert "mre_mm" not in numbers
    assert "3.75 px" in capsys.readouterr().out
    page = (folder / "report.html").read_text()
    assert "distances in px between" in page
    assert "--pixel_spacing gives it" in page
    assert "mm</td>" not in page
    assert (folder / "per_landmark.csv").read_text().startswith("landmark,mean_px,")


def test_mm_and_pixels_are_never_compared(truth, tmp_path):
    with pytest.raises(UserError, match=r"its points are in px, the predictions in mm; give --pixel_spacing"):
        evaluate(write_table(tmp_path / "mm", spacing=0.5), truth)
    with pytest.raises(UserError, match=r"its points are in mm, the predictions in px; evaluate without"):
        evaluate(write_table(tmp_path / "px"), truth, pixel_spacing=[0.5])


def test_distances_are_named_in_pixels_where_nobody_knows_their_size(truth, tmp_path, capsys):
    folder = write_table(tmp_path / "out")
    page = tmp_path / "page.html"
    assert evaluate(folder, truth, report=page) == 0
    numbers = json.loads((folder / "metrics.json").read_text())
    assert numbers["sdr"] == {"2": 50.0, "5": 75.0, "10": 100.0, "20": 100.0}
    said = capsys.readouterr().out
    assert "found within 20 px" in said
    assert "Largest mean errors: b 5 px." in said
    assert f"Report: {page}" in said
    assert "distances in px between" in page.read_text()
    assert not (folder / "report.html").exists()
    known = write_table(tmp_path / "mm", spacing=0.5)
    assert evaluate(known, truth, pixel_spacing=[0.5]) == 0
    assert list(json.loads((known / "metrics.json").read_text())["sdr"]) == ["2", "2.5", "3", "4"]


def test_a_report_in_a_folder_that_is_not_there_is_refused_before_anything_is_read(truth, tmp_path):
    with pytest.raises(UserError, match=r"--report .*: the folder does not exist; create it or choose another"):
        evaluate(tmp_path / "no predictions", truth, report=tmp_path / "none" / "page.html")


def test_one_case_is_no_cases(truth, tmp_path, capsys):
    folder = write_table(tmp_path / "out")
    assert evaluate(folder, truth, cases=["one"]) == 0
    assert "1 case, 2 landmarks" in capsys.readouterr().out
    assert "1 case with 2 landmarks each" in (folder / "report.html").read_text()
