"""A calibrated prediction of a data set with measures, raters and absent landmarks, evaluated by command."""

import csv
import json
import re

import nibabel as nib
import numpy as np
import pytest

from auto_config import cli
from auto_config.bundle_scripts.points.landmark_files import write_markups
from auto_config.bundle_scripts.points.landmarks import ABSENT, PRESENT, LandmarkSet
from auto_config.commands.evaluate import evaluate
from auto_config.datasets.model.properties import Measure, Properties, write_properties
from auto_config.errors import UserError

NAMES = ("end 1", "end 2", "top <b>")
CASES = [f"c{i}" for i in range(12)]
CALIBRATION = {
    "cases": 30,
    "notes": ["a reservation & more"],
    "levels": [0.5, 0.9],
    "presence": True,
    "ball_mm": {name: [1.0, 3.0] for name in NAMES},
    "ellipsoid": {name: [1.0, 3.0] for name in NAMES},
}


def true_points():
    random = np.random.default_rng(0)
    points = random.uniform(5, 35, (len(CASES), 3, 3))
    status = np.full((len(CASES), 3), PRESENT)
    status[:4, 2] = ABSENT
    return points, status


@pytest.fixture(scope="module")
def truth(tmp_path_factory):
    folder = tmp_path_factory.mktemp("truth")
    points, status = true_points()
    for kind in ("images", "landmarks", "raters/r1", "raters/r2"):
        (folder / kind).mkdir(parents=True)
    for case, row, state in zip(CASES, points, status, strict=True):
        voxels = np.random.default_rng(1).integers(0, 100, (40, 40, 40)).astype(np.int16)
        nib.save(nib.Nifti1Image(voxels, np.eye(4)), folder / "images" / f"{case}.nii.gz")
        write_markups(folder / "landmarks" / f"{case}.mrk.json", LandmarkSet(NAMES, row, state))
        for rater, shift in (("r1", 0.0), ("r2", 0.6)):
            moved = LandmarkSet(NAMES, row + [shift, 0, 0], state)
            write_markups(folder / "raters" / rater / f"{case}.mrk.json", moved)
    measures = (Measure("length", "distance", NAMES[:2]), Measure("angle", "angle", NAMES))
    write_properties(folder / "landmarks.json", NAMES, Properties(measures=measures))
    return folder


def write(folder, *, error, calibration=CALIBRATION):
    """Predictions that are off by `error` (N, 3) mm along x; the probability of presence tells most of the truth."""
    folder.mkdir(parents=True)
    points, status = true_points()
    points = points + error[..., None] * np.array([1.0, 0, 0])
    confidence = np.where(status == PRESENT, 0.9, 0.2)
    confidence[0, 2] = 0.7  # an absent landmark that is called present
    rows, spreads = [], []
    for n, case in enumerate(CASES):
        for k, name in enumerate(NAMES):
            said = int(confidence[n, k] > 0.5)
            rows.append([case, name, *points[n, k], confidence[n, k], said, 3.0])
            spreads.append([case, name, 2.0, "", "", 0, int(error[n, k] > 5), 1.0, 0.0, 0.0, 1.0, 0.0, 1.0])
    heads = ["case", "landmark", "x_ras_mm", "y_ras_mm", "z_ras_mm", "confidence", "present", "radius_mm"]
    covariance = [f"cov_{pair}_mm2" for pair in ("xx", "xy", "xz", "yy", "yz", "zz")]
    judged = ["case", "landmark", "spread_mm", "disagreement_mm", "shape_distance_mm", "replaced", "implausible"]
    for file, table in (("predictions", [heads, *rows]), ("uncertainty", [[*judged, *covariance], *spreads])):
        with (folder / f"{file}.csv").open("w", newline="") as stream:
            csv.writer(stream).writerows(table)
    (folder / "run.json").write_text(json.dumps({"calibration": calibration}))
    return folder


@pytest.fixture
def errors():
    """Errors in mm: 2 everywhere, but one point at 8."""
    out = np.full((len(CASES), 3), 2.0)
    out[5, 0] = 8.0
    return out


def numbers_of(folder):
    return json.loads((folder / "metrics.json").read_text())


def test_the_numbers_of_presence_regions_measures_and_raters(truth, errors, tmp_path, capsys):
    out = write(tmp_path / "out", error=errors)
    assert evaluate(out, truth) == 0
    found = numbers_of(out)
    assert found["mre_mm"]["mean"] == pytest.approx((31 * 2 + 8) / 32)
    presence = found["presence"]
    assert (presence["absent_predicted_present"], presence["absent_predicted_absent"]) == (1, 3)
    assert presence["auroc"] == 1.0  # 0.7 is still below 0.9
    assert presence["f1_present"] == pytest.approx(2 * 32 / (2 * 32 + 1))
    assert presence["f1_absent"] == pytest.approx(2 * 3 / (2 * 3 + 1))
    # 2 mm lie outside of 1 mm and inside of 3; the covariance is the identity, so ellipsoids are the balls.
    for kind in ("ball", "ellipsoid"):
        assert found["regions"][kind]["0.5"]["share"] == 0
        assert found["regions"][kind]["0.9"]["share"] == pytest.approx(31 / 32)
        assert found["regions"][kind]["0.9"]["median_size"] == pytest.approx(4 / 3 * np.pi * 27)
    assert found["inter_rater"]["mre_mm"]["mean"] == pytest.approx(0.6)
    assert found["inter_rater"]["mre_mm"]["n"] == 32
    length = found["measures"]["length"]
    assert (length["unit"], length["cases"]) == ("mm", 12)
    # Both ends move alike, so lengths agree but for the case with the far point.
    points, _ = true_points()
    moved = np.linalg.norm(points[5, 0] + [6, 0, 0] - points[5, 1]) - np.linalg.norm(points[5, 0] - points[5, 1])
    assert length["bias"] == pytest.approx(moved / 12)
    assert found["measures"]["angle"]["cases"] == 8
    assert found["implausible"] == {"count": 1, "mre_mm": pytest.approx(8.0)}
    said = capsys.readouterr().out
    assert "Presence: AUROC 1.000" in said and "97 % at 0.9" in said
    assert "Points that the shape of the others rules out: end 1 in c5." in said


def test_verdicts_stand_beside_the_errors_of_their_cases(truth, errors, tmp_path, capsys):
    out = write(tmp_path / "out", error=errors)
    assert evaluate(out, truth) == 0
    assert numbers_of(out)["verdicts"] is None and "Verdicts" not in capsys.readouterr().out
    said = {case: {"verdict": "ok", "reasons": []} for case in CASES}
    said["c5"] = {"verdict": "failed", "reasons": ["<nothing> fits", "nor this"]}
    said["c6"] = {"verdict": "check", "reasons": ["it is turned"], "not_judged": ["presence"]}
    said |= {"other": {"verdict": "failed", "reasons": []}, "damaged": 7}
    run = json.loads((out / "run.json").read_text())
    (out / "run.json").write_text(json.dumps({**run, "verdicts": said}))
    assert evaluate(out, truth) == 0
    found = numbers_of(out)["verdicts"]
    known = np.array([status == PRESENT for status in true_points()[1]])[5]
    mean = float(errors[5][known].mean())
    assert found["failed"] == {"cases": 1, "mre_mm": pytest.approx(mean), "largest_mm": pytest.approx(mean)}
    assert found["ok"]["cases"] == len(CASES) - 2 and found["ok"]["largest_mm"] == pytest.approx(2.0)
    assert found["per_case"]["c6"] == {"verdict": "check", "reasons": ["it is turned"], "mre_mm": pytest.approx(2.0)}
    line = "Verdicts: ok 10 cases (mean error 2 mm), check 1 case (mean error 2 mm), failed 1 case (mean error"
    assert line in capsys.readouterr().out
    page = (out / "report.html").read_text()
    assert "which cases went wrong" in page and "&lt;nothing&gt; fits" in page


def test_the_same_numbers_stand_in_tables(truth, errors, tmp_path):
    out = write(tmp_path / "out", error=errors)
    evaluate(out, truth)
    tables = {
        name: list(csv.DictReader((out / name).read_text().splitlines()))
        for name in ("regions.csv", "measures.csv", "presence.csv")
    }
    assert [row["share_inside"] for row in tables["regions.csv"]] == ["0.0", "0.96875", "0.0", "0.96875"]
    assert len(tables["measures.csv"]) == 24
    assert tables["measures.csv"][12]["true"] == ""  # the angle needs a landmark that is absent
    assert len(tables["presence.csv"]) == 36
    assert sum(row["present"] != row["predicted_present"] for row in tables["presence.csv"]) == 1


def test_the_page_shows_all_of_it_and_escapes_what_it_shows(truth, errors, tmp_path):
    out = write(tmp_path / "out", error=errors)
    evaluate(out, truth, compare_with=write(tmp_path / "other", error=errors + 1))
    page = (out / "report.html").read_text()
    for words in (
        "Is the landmark there?",
        "AUROC 1.000",
        "Do the regions hold what they promise?",
        "a reservation &amp; more",
        "agreement of length",
        "between raters",
        "Compared with",
        "95 % interval of the mean",
    ):
        assert words in page, words
    assert "<b>top" not in page and "top <b>" not in page
    assert not re.search(r'(src|href)="(?!data:)', page) and "<script" not in page


def test_two_models_are_compared_case_by_case(truth, errors, tmp_path, capsys):
    out, other = write(tmp_path / "out", error=errors), write(tmp_path / "other", error=errors + 0.5)
    assert cli.main(["evaluate", str(out), str(truth), "--compare_with", str(other)]) == 0
    found = numbers_of(out)["other_model"]
    assert found["all"]["difference"] == pytest.approx(-0.5)
    assert found["all"]["interval"] == pytest.approx([-0.5, -0.5])
    assert found["all"]["p_value"] < 0.001
    # Three landmarks are tested; those with all cases have the smallest p-values, times three by Holm.
    assert found["per_landmark"]["end 1"]["p_value_holm"] == pytest.approx(
        3 * found["per_landmark"]["end 1"]["p_value"]
    )
    rows = list(csv.DictReader((out / "other_model.csv").read_text().splitlines()))
    assert [row["landmark"] for row in rows] == ["all", *NAMES]
    assert "-0.5" in capsys.readouterr().out


def test_tables_of_an_earlier_evaluation_do_not_stay(truth, errors, tmp_path):
    out = write(tmp_path / "out", error=errors)
    evaluate(out, truth, compare_with=write(tmp_path / "other", error=errors))
    assert (out / "other_model.csv").is_file()
    evaluate(out, truth)
    assert not (out / "other_model.csv").exists()


def test_without_a_calibration_there_are_no_regions(truth, errors, tmp_path):
    out = write(tmp_path / "out", error=errors, calibration=None)
    evaluate(out, truth)
    assert numbers_of(out)["regions"] is None
    assert not (out / "regions.csv").exists()
    assert "Do the regions hold" not in (out / "report.html").read_text()


def test_models_of_other_cases_cannot_be_compared(truth, errors, tmp_path):
    out, other = write(tmp_path / "out", error=errors), write(tmp_path / "other", error=errors)
    table = (other / "predictions.csv").read_text()
    (other / "predictions.csv").write_text(re.sub(r"^c(\d+),", r"x\1,", table, flags=re.M))
    with pytest.raises(UserError, match="none of its cases"):
        evaluate(out, truth, compare_with=other)
