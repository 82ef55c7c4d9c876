"""`evaluate`, from files to files: numbers against closed forms, and what is said of what is missing."""

import csv
import json
import re
import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest

from auto_config.bundle_scripts.inference.prediction_files import PredictionFolder
from auto_config.bundle_scripts.points.landmark_files import write_markups
from auto_config.bundle_scripts.points.landmarks import ABSENT, PRESENT, UNKNOWN, LandmarkSet
from auto_config.commands.evaluate import evaluate
from auto_config.errors import UserError
from auto_config.evaluation.terminal import key_lines

NAMES = ("a", "b", "c")
NAN = float("nan")
SHAPE = (11, 21, 31)  # 1 mm voxels, so the middle is at (5, 10, 15)
TRUTH = {"one": [[1, 2, 3], [4, 4, 4], [9, 9, 9]], "two": [[2, 2, 2], [NAN] * 3, [NAN] * 3], "three": [[3, 3, 3]] * 3}
STATUS = {"one": [PRESENT] * 3, "two": [PRESENT, ABSENT, UNKNOWN], "three": [PRESENT] * 3}
# errors in mm: one: 0, 2, 5; two: 3, -, -; together 0, 2, 3, 5
PREDICTED = {"one": [[1, 2, 3], [4, 6, 4], [9, 12, 13]], "two": [[2, 2, 5], [0, 0, 0], [0, 0, 0]]}


@pytest.fixture
def truth(tmp_path):
    folder = tmp_path / "truth"
    for kind in ("images", "landmarks"):
        (folder / kind).mkdir(parents=True)
    rng = np.random.default_rng(0)
    for case, points in TRUTH.items():
        image = rng.integers(0, 100, SHAPE).astype(np.uint8)
        nib.save(nib.Nifti1Image(image, np.eye(4)), folder / f"images/{case}.nii.gz")
        landmarks = LandmarkSet(NAMES, np.array(points, dtype=float), np.array(STATUS[case], dtype=np.int8))
        write_markups(folder / f"landmarks/{case}.mrk.json", landmarks)
    return folder


def write_predictions(folder, tmp_path, predicted, *, names=NAMES, offsets=((0, 0, 0),) * 3, failed=None, absent=()):
    bundle = tmp_path / "bundle"
    (bundle / "configs").mkdir(parents=True, exist_ok=True)
    (bundle / "configs/metadata.json").write_text(json.dumps({"name": "m", "version": "1.0.0"}))
    shape = [{"name": n, "mean_offset_mm": None if o is None else list(o)} for n, o in zip(names, offsets, strict=True)]
    (bundle / "configs/landmarks.json").write_text(json.dumps({"landmarks": shape, "spatial_dims": 3}))
    writer = PredictionFolder(folder, bundle)
    for case, points in predicted.items():
        items = [
            {
                "name": name,
                "world": [float(x) for x in point],
                "voxel": [0.0] * 3,
                "confidence": 0.5,
                "present": 0 if (case, name) in absent else 1,
                "radius_mm": None,
                "shape_distance_mm": None,
                "replaced": False,
                "implausible": None,
                "spread_mm": 0.5,
                "disagreement_mm": None,
                "covariance_mm2": [[1.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0]],
            }
            for name, point in zip(names, points, strict=True)
        ]
        writer.write(case, {"landmarks": items}, image_center=np.array([5.0, 10, 15]), seconds=1.0)
    writer.finish(options={}, failed=failed)
    return folder


@pytest.fixture
def predictions(tmp_path):
    return write_predictions(tmp_path / "out", tmp_path, PREDICTED)


def test_the_numbers_are_those_of_the_closed_form(predictions, truth, capsys):
    assert evaluate(predictions, truth) == 0
    numbers = json.loads((predictions / "metrics.json").read_text())
    assert numbers["mre_mm"] == pytest.approx(
        {
            "mean": 2.5,
            "std": np.sqrt(3.25),
            "median": 2.5,
            "iqr": 2.0,  # 25 %: 1.5, 75 %: 3.5
            "p95": 4.7,
            "max": 5.0,
            "n": 4,
        }
    )
    assert numbers["sdr"] == {"2": 50.0, "2.5": 50.0, "3": 75.0, "4": 75.0}
    assert numbers["per_landmark"]["a"]["mre_mm"]["mean"] == 1.5
    assert numbers["per_landmark"]["c"]["mre_mm"]["n"] == 1
    assert numbers["per_case"]["one"]["mre_mm"]["mean"] == pytest.approx(7 / 3)
    assert numbers["per_case"]["two"]["sdr"]["2.5"] == 0.0
    # Mean shape: each point in the middle of its image.
    expected = [np.linalg.norm(np.subtract(p, (5, 10, 15))) for p in [*TRUTH["one"], TRUTH["two"][0]]]
    assert numbers["mean_shape_baseline"]["mre_mm"]["mean"] == pytest.approx(np.mean(expected))
    counts = {key: value for key, value in numbers["presence"].items() if isinstance(value, int)}
    assert counts == {
        "present": 4,
        "absent": 1,
        "unknown": 1,
        "present_predicted_present": 4,
        "present_predicted_absent": 0,
        "absent_predicted_present": 1,
        "absent_predicted_absent": 0,
    }
    # Every landmark is called present with the same probability: 0.8 are, and nothing is told apart.
    assert (numbers["presence"]["auroc"], numbers["presence"]["f1_absent"]) == (0.5, 0.0)
    assert numbers["presence"]["f1_present"] == pytest.approx(8 / 9)
    assert (numbers["measures"], numbers["regions"], numbers["inter_rater"]) == ({}, None, None)
    # The means of the two cases are 7/3 and 3, and every resample of them lies between.
    assert numbers["mre_interval"] == pytest.approx([7 / 3, 3.0])
    assert numbers["implausible"] == {"count": 0, "mre_mm": None}
    assert numbers["cases"] == {
        "evaluated": 2,
        "training": [],
        "without_prediction": ["three"],
        "failed": {},
        "without_truth": [],
    }
    said = capsys.readouterr().out
    assert "2.50 mm" in said and "mean shape" in said
    assert "not predicted: 1 case (three)" in said


def test_a_present_landmark_that_the_model_calls_absent_counts(tmp_path, truth):
    out = write_predictions(tmp_path / "out", tmp_path, PREDICTED, absent={("one", "c"), ("two", "b")})
    evaluate(out, truth)
    numbers = json.loads((out / "metrics.json").read_text())
    assert numbers["mre_mm"]["max"] == 5.0
    assert numbers["presence"]["present_predicted_absent"] == 1
    assert numbers["presence"]["absent_predicted_absent"] == 1


def test_tables_hold_a_row_for_each_landmark_and_case(predictions, truth, tmp_path):
    evaluate(predictions, truth, output=tmp_path / "report", thresholds=[3, 0.5, 3])
    with (tmp_path / "report/per_landmark.csv").open() as stream:
        rows = {row["landmark"]: row for row in csv.DictReader(stream)}
    assert list(rows) == ["a", "b", "c"]
    assert rows["a"]["mean_mm"] == "1.5"
    assert rows["a"]["n"] == "2"
    assert rows["a"]["sdr_0.5mm_percent"] == "50.0"
    with (tmp_path / "report/per_case.csv").open() as stream:
        assert [row["case"] for row in csv.DictReader(stream)] == ["one", "two"]
    assert not (predictions / "metrics.json").exists()


def test_a_truth_that_cannot_be_read_is_said(predictions, truth, capsys):
    (truth / "landmarks/two.mrk.json").write_text("{")
    assert evaluate(predictions, truth) == 0
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert re.match(r"error: .*two\.mrk\.json: is not valid JSON", lines[0])
    assert list(json.loads((predictions / "metrics.json").read_text())["per_case"]) == ["one"]


def test_missing_and_outside_mean_what_they_mean_for_create(predictions, truth):
    points = {"a": TRUTH["one"][0], "b": [99.0, 4, 4]}
    write_markups(truth / "landmarks/one.mrk.json", LandmarkSet.from_inline(points))
    counts = {}
    for options in ({}, {"missing": "absent"}, {"outside": "absent"}, {"missing_value": "-99,-4,4"}):
        evaluate(predictions, truth, cases=["one"], **options)
        presence = json.loads((predictions / "metrics.json").read_text())["presence"]
        counts[tuple(options)] = [presence[status] for status in ("present", "absent", "unknown")]
    assert counts == {
        (): [2, 0, 1],
        ("missing",): [2, 1, 0],
        ("outside",): [1, 1, 1],
        ("missing_value",): [1, 0, 2],
    }
    with pytest.raises(UserError, match="--outside is 'gone'"):
        evaluate(predictions, truth, outside="gone")


def test_a_model_that_learned_nothing_is_named(tmp_path, truth, capsys):
    middle = {case: [[5, 10, 15]] * 3 for case in ("one", "two")}
    out = write_predictions(tmp_path / "out", tmp_path, middle)
    evaluate(out, truth)
    assert "NOT clearly better" in capsys.readouterr().out
    page = (out / "report.html").read_text()
    assert "NOT clearly better" in page and 'class="verdict bad"' in page


def test_the_page_needs_nothing_else_and_carries_hostile_names(tmp_path):
    names = ("<script>alert(1)</script>", "x%z & ${x}", "Ä")
    folder = tmp_path / "truth"
    (folder / "images").mkdir(parents=True)
    (folder / "landmarks").mkdir()
    image = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    nib.save(nib.Nifti1Image(image, np.diag([-1.0, 1, 2, 1])), folder / "images/one.nii.gz")
    write_markups(folder / "landmarks/one.mrk.json", LandmarkSet(names, np.array(TRUTH["one"], float), np.ones(3)))
    out = write_predictions(tmp_path / "out", tmp_path, {"one": PREDICTED["one"]}, names=names)
    evaluate(out, folder)
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page and "x%z &amp; ${x}" in page
    assert "data:image/jpeg;base64," in page
    links = re.findall(r'(?:src|href)="([^"]{0,30})', page)
    assert links and all(link.startswith("data:") for link in links)
    assert "http" not in page.replace("http://www.w3.org/2000/svg", "")
    assert 'name="viewport"' in page


def test_predictions_of_other_cases_are_counted_and_left_out(tmp_path, truth, capsys):
    predicted = {**PREDICTED, "stranger": [[0, 0, 0]] * 3}
    out = write_predictions(tmp_path / "out", tmp_path, predicted, failed={"three": "cannot be read"})
    assert evaluate(out, truth) == 0
    cases = json.loads((out / "metrics.json").read_text())["cases"]
    assert cases["without_truth"] == ["stranger"] and cases["failed"] == {"three": "cannot be read"}
    said = capsys.readouterr().out
    assert "Could not be predicted: 1 case (three (cannot be read))" in said
    assert "without truth: 1 case (stranger)" in said


def test_only_the_cases_asked_for(predictions, truth):
    evaluate(predictions, truth, cases=["two"])
    assert list(json.loads((predictions / "metrics.json").read_text())["per_case"]) == ["two"]
    with pytest.raises(UserError, match="'zero' is not in"):
        evaluate(predictions, truth, cases=["zero"])
    with pytest.raises(UserError, match=r"--split test: .* puts no case there; leave it out or give"):
        evaluate(predictions, truth, split="test")
    with pytest.raises(UserError, match="allowed are training and test"):
        evaluate(predictions, truth, split="tset")


def test_other_landmarks_are_said(tmp_path, truth, capsys):
    predicted = {"one": [[1, 2, 3], [0, 0, 0]]}
    out = write_predictions(tmp_path / "out", tmp_path, predicted, names=("a", "x"), offsets=(None, (0, 0, 0)))
    evaluate(out, truth)
    numbers = json.loads((out / "metrics.json").read_text())
    assert list(numbers["per_landmark"]) == ["a"]
    assert numbers["mean_shape_baseline"] is None
    said = capsys.readouterr().out
    assert "model does not know: b, c" in said and "truth does not have: x" in said
    assert "baseline is not known" in said
    nothing = write_predictions(tmp_path / "none", tmp_path, {"one": [[0, 0, 0]]}, names=("x",), offsets=((0, 0, 0),))
    with pytest.raises(UserError, match="has no landmark of the predictions"):
        evaluate(nothing, truth)


def test_without_run_json_there_is_no_baseline(predictions, truth):
    (predictions / "run.json").unlink()
    evaluate(predictions / "predictions.csv", truth)
    assert json.loads((predictions / "metrics.json").read_text())["mean_shape_baseline"] is None


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("landmark,x_mm\n", "has no column 'case'; the first argument is .* exchanged, turn them around"),
        ("case,landmark,x_ras_mm,y_ras_mm,z_ras_mm\none,a,1,2,nan\n", "line 2: z_ras_mm is 'nan'"),
        ("case,landmark,x_ras_mm,y_ras_mm,z_ras_mm\none,a,1,2,\n", "line 2: z_ras_mm is ''"),
        ("case,landmark,x_ras_mm,y_ras_mm,z_ras_mm\none,a,1,2,3\none,a,1,2,3\n", "is there twice"),
        ("case,landmark,x_ras_mm,y_ras_mm,z_ras_mm\none,a,1,2,3\ntwo,b,1,2,3\n", "has no row for landmark 'b'"),
        ("case,landmark,x_mm,y_mm\none,a,1,2\n", "has 3D points, the predictions are 2D"),
    ],
)
def test_a_wrong_table_is_refused_in_one_line(tmp_path, truth, table, message):
    (tmp_path / "predictions.csv").write_text(table)
    with pytest.raises(UserError, match=message) as caught:
        evaluate(tmp_path, truth)
    assert "\n" not in str(caught.value)


def test_other_wrong_input(tmp_path, truth, predictions):
    with pytest.raises(
        UserError, match=r"is not there; the first .* the second the true landmarks; if they are exchanged"
    ):
        evaluate(tmp_path / "none", truth)
    for thresholds in ([], [0], [NAN]):
        with pytest.raises(UserError, match="--thresholds"):
            evaluate(predictions, truth, thresholds=thresholds)
    (predictions / "run.json").write_text("{")
    with pytest.raises(UserError, match="is not JSON"):
        evaluate(predictions, truth)


def test_evaluating_never_waits_for_torch():
    code = "import auto_config.evaluation, sys; sys.exit('torch' in sys.modules or 'monai' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_infinite_regions_are_not_praised():
    row = {"share": 1.0, "count": 9}
    ball = {"0.5": {**row, "infinite": 0.0}, "0.9": {**row, "infinite": 0.25}, "0.95": {**row, "infinite": 1.0}}
    numbers = {"presence": {"auroc": None}, "regions": {"ball": ball, "level set": {"0.9": {**row, "infinite": 1.0}}}}
    assert key_lines(numbers) == [
        "True points inside of their regions: 100 % at 0.5, 100 % at 0.9 (25 % infinite), "
        "100 % at 0.95 (all infinite); of level sets, 100 % at 0.9 (all infinite)."
    ]


def test_the_other_model_is_told_with_its_cases_and_which_sign_is_better():
    row = {"difference": -0.25, "interval": [-0.5, 0.125], "cases": 1}
    numbers = {"presence": {"auroc": None}, "regions": {}, "unit": "mm", "other_model": {"name": "old", "all": row}}
    assert key_lines(numbers) == [
        "Compared with old, in 1 case of both: -0.25 (-0.5 to 0.125) mm mean error; below 0 these predictions are "
        "better."
    ]


def test_names_of_the_truth_are_chosen_as_create_does(tmp_path, truth):
    """Labels 1, 2, 3 whose descriptions are a, b, c: a model of either is compared with the field that is asked for."""
    described = write_predictions(tmp_path / "described", tmp_path, PREDICTED)
    counted = write_predictions(tmp_path / "counted", tmp_path, PREDICTED, names=("1", "2", "3"))
    for case, points in TRUTH.items():
        landmarks = LandmarkSet(("1", "2", "3"), np.array(points, dtype=float), np.array(STATUS[case], dtype=np.int8))
        write_markups(truth / f"landmarks/{case}.mrk.json", landmarks, descriptions=NAMES)
    for folder, field, names in (
        (described, "descriptions", NAMES),
        (counted, "labels", ("1", "2", "3")),
        (counted, "order", ("1", "2", "3")),
    ):
        assert evaluate(folder, truth, names=field) == 0
        numbers = json.loads((folder / "metrics.json").read_text())
        assert tuple(numbers["per_landmark"]) == names
        assert numbers["mre_mm"]["mean"] == 2.5
    with pytest.raises(UserError, match="landmark"):
        evaluate(described, truth, names="labels")
