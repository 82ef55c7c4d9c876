"""Evaluation of landmarks with many instances and of exchangeable pairs."""

import csv
import json
from dataclasses import replace
from itertools import permutations
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from auto_config.bundle_scripts.points.landmarks import LandmarkSet
from auto_config.bundle_scripts.points.matching import best_order, match, ospa
from auto_config.commands.evaluate import evaluate
from auto_config.datasets.model.dataset import Case
from auto_config.errors import UserError
from auto_config.evaluation.instances import in_best_order, instance_metrics
from auto_config.evaluation.predictions import Predictions, read_predictions


def by_enumeration(predicted: np.ndarray, truth: np.ndarray, limit: float) -> tuple[int, float]:
    """Most matches within the limit, and their smallest sum, over all one to one assignments."""
    if len(predicted) > len(truth):
        predicted, truth = truth, predicted
    best = (0, 0.0)
    for order in permutations(range(len(truth)), len(predicted)):
        lengths = np.linalg.norm(predicted - truth[list(order)], axis=1)
        near = lengths[lengths <= limit]
        if (len(near), -near.sum()) > (best[0], -best[1]):
            best = (len(near), float(near.sum()))
    return best


@pytest.mark.parametrize("seed", range(20))
def test_matching_against_enumeration(seed: int):
    rng = np.random.default_rng(seed)
    predicted = rng.uniform(0, 10, (rng.integers(0, 6), 3))
    truth = rng.uniform(0, 10, (rng.integers(0, 6), 3))
    rows, columns = match(predicted, truth, 4.0)
    lengths = np.linalg.norm(predicted[rows] - truth[columns], axis=1)
    assert len(set(rows)) == len(rows) and len(set(columns)) == len(columns)
    assert (lengths <= 4.0).all()
    assert (len(rows), lengths.sum()) == pytest.approx(by_enumeration(predicted, truth, 4.0))


def test_ospa_counts_missed_and_invented_points():
    truth = np.array([[0.0, 0, 0], [10, 0, 0]])
    assert ospa(truth[::-1], truth, 4.0) == 0.0
    assert ospa(truth[:1] + [1.0, 0, 0], truth, 4.0) == pytest.approx((1 + 4) / 2)
    assert ospa(np.concatenate([truth, [[50.0, 0, 0]]]), truth, 4.0) == pytest.approx(4 / 3)
    assert ospa(np.zeros((0, 3)), truth, 4.0) == 4.0
    assert np.isnan(ospa(np.zeros((0, 3)), np.zeros((0, 3)), 4.0))


def test_best_order_ignores_what_is_not_there():
    truth = np.array([[0.0, 0, 0], [10, 0, 0]])
    assert best_order(truth[::-1], truth)
    assert not best_order(truth, truth)
    half = np.array([[np.nan] * 3, [10.0, 0, 0]])
    assert best_order(truth[::-1], half)
    points = in_best_order(
        np.stack([truth[::-1], truth]), np.stack([truth, truth]), ["a", "b"], [("a", "b"), ("a", "z")]
    )
    np.testing.assert_array_equal(points, np.stack([truth, truth]))


def predictions(instances: list[np.ndarray]) -> Predictions:
    count = len(instances)
    return Predictions(
        names=("bud",),
        cases=tuple(f"c{n}" for n in range(count)),
        points=np.zeros((count, 1, 3)),
        present=np.ones((count, 1), dtype=bool),
        failed={},
        training_cases=(),
        mean_shape=np.full((1, 3), np.nan),
        centers=np.zeros((count, 3)),
        bundle="",
        instances={"bud": tuple(instances)},
    )


def case(name: str, value: object) -> Case:
    landmarks = LandmarkSet.from_inline({"bud": value}, spatial_dims=3, many=("bud",))
    return Case(name, (Path("x.nii"),), landmarks)


def test_counts_over_cases():
    found = [np.array([[0.5, 0, 0], [30.0, 0, 0]]), np.array([[1.0, 1, 1]]), np.array([[2.0, 2, 2]])]
    cases = [case("c0", [[0, 0, 0], [10, 0, 0]]), case("c1", []), case("c2", "unknown")]
    numbers = instance_metrics(predictions(found), cases, ["bud"], 4.0)
    total = numbers["total"]
    assert (total["found"], total["missed"], total["invented"]) == (1, 1, 2)
    assert total["precision"] == pytest.approx(1 / 3)
    assert total["recall"] == pytest.approx(1 / 2)
    assert total["f1"] == pytest.approx(2 / 5)
    assert total["mre_mm"] == pytest.approx(0.5)
    assert numbers["per_case"]["c1"]["recall"] is None
    assert numbers["per_case"]["c2"]["f1"] is None
    json.dumps(numbers, allow_nan=False)


def test_no_landmark_with_many_is_no_entry():
    assert instance_metrics(replace(predictions([]), instances={}), [], [], 4.0) is None


def write_case(folder: Path) -> Path:
    """A datalist with one case, and predictions of it; returns the datalist."""
    nib.save(
        nib.Nifti1Image(np.random.default_rng(0).normal(size=(20, 20, 20)).astype(np.float32), np.eye(4)),
        folder / "a.nii.gz",
    )
    label = {"bud": [[2, 2, 2], [12, 2, 2]], "tip": [5, 5, 5], "end": [9, 9, 9]}
    source = folder / "list.json"
    source.write_text(json.dumps({"training": [{"case": "a", "image": "a.nii.gz", "label": label}]}))
    (folder / "out").mkdir()
    rows = [("bud", 2, 2, 3, 1), ("bud", 12, 3, 2, 1), ("bud", 15, 15, 15, 1), ("tip", 9, 9, 9, 1), ("end", 5, 5, 6, 1)]
    lines = ["case,landmark,x_ras_mm,y_ras_mm,z_ras_mm,confidence,present,radius_mm"]
    lines += [f"a,{name},{x},{y},{z},0.9,{present}," for name, x, y, z, present in rows]
    (folder / "out" / "predictions.csv").write_text("\n".join(lines) + "\n")
    return source


def test_evaluate_writes_instances(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    source = write_case(tmp_path)
    (tmp_path / "out" / "run.json").write_text(json.dumps({"many": ["bud"]}))
    assert evaluate(tmp_path / "out", source) == 0
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert metrics["instances"]["per_landmark"]["bud"]["precision"] == pytest.approx(2 / 3)
    assert set(metrics["per_landmark"]) == {"tip", "end"}
    with (tmp_path / "out" / "instances.csv").open() as stream:
        assert [row["landmark"] for row in csv.DictReader(stream)] == ["bud", "all"]
    assert "2 of 2 instances found" in capsys.readouterr().out.replace("\n", " ")
    assert "2 of 2 instances found" in (tmp_path / "out" / "report.html").read_text()


def test_only_landmarks_with_many(tmp_path: Path):
    source = write_case(tmp_path)
    document = json.loads(source.read_text())
    document["training"][0]["label"] = {"bud": [[2, 2, 2]]}
    source.write_text(json.dumps(document))
    (tmp_path / "out" / "run.json").write_text(json.dumps({"many": ["bud"]}))
    assert evaluate(tmp_path / "out", source) == 0
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert metrics["mre_mm"]["n"] == 0
    assert metrics["instances"]["total"]["found"] == 1


def test_exchangeable_ends_are_judged_in_the_better_order(tmp_path: Path):
    source = write_case(tmp_path)
    (tmp_path / "out" / "run.json").write_text(json.dumps({"many": ["bud"]}))
    document = json.loads(source.read_text())
    rows = [{"name": "bud", "instances": "many"}, {"name": "tip", "exchangeable": "end"}, {"name": "end"}]
    document["properties"] = {"landmarks": rows}
    source.write_text(json.dumps(document))
    assert evaluate(tmp_path / "out", source) == 0
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert metrics["mre_mm"]["max"] == pytest.approx(1.0)


def test_the_bundle_knows_which_ends_change_places_where_the_truth_does_not_say_it(tmp_path: Path):
    source = write_case(tmp_path)
    run = tmp_path / "out" / "run.json"
    run.write_text(json.dumps({"many": ["bud"]}))
    assert evaluate(tmp_path / "out", source) == 0
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["mre_mm"]["max"] > 5
    run.write_text(json.dumps({"many": ["bud"], "exchangeable": [["end", "tip"]]}))
    assert evaluate(tmp_path / "out", source) == 0
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["mre_mm"]["max"] == pytest.approx(1.0)


def test_a_repeated_name_that_is_not_many_is_an_error(tmp_path: Path):
    write_case(tmp_path)
    with pytest.raises(UserError, match="there twice"):
        read_predictions(tmp_path / "out")


def calibrated_case(folder: Path) -> Path:
    """A prediction whose ends are named the other way round, with regions for each name; returns the truth."""
    source = write_case(folder)
    document = json.loads(source.read_text())
    rows = [{"name": "bud", "instances": "many"}, {"name": "tip", "exchangeable": "end"}, {"name": "end"}]
    document["properties"] = {"landmarks": rows}
    document["training"][0]["label"] = {"bud": [[2, 2, 2], [12, 2, 2]], "tip": [5, 5, 5], "end": "absent"}
    source.write_text(json.dumps(document))
    # Predicted: buds 1 and sqrt(2) mm off and one invented; "end" lies 1 mm from the true "tip", and "tip" nowhere.
    calibration = {
        "cases": 9,
        "notes": [],
        "levels": [0.5, 0.8, 0.9],
        "presence": True,
        "ball_mm": {"bud": [1.2, 1.5, None], "tip": [0.1, 0.1, 0.1], "end": [0.9, 1.1, 1.1]},
        "ellipsoid": {"bud": [0.8, 0.8, None], "tip": [0.1, 0.1, 0.1], "end": [0.4, 0.6, 0.6]},
        "match_mm": {"bud": 3.0},
    }
    (folder / "out" / "run.json").write_text(json.dumps({"many": ["bud"], "calibration": calibration}))
    axes = ("xx", "xy", "xz", "yy", "yz", "zz")
    variances = [("bud", 1), ("bud", 4), ("bud", 9), ("tip", 25), ("end", 4)]
    lines = [",".join(["case", "landmark", "implausible", *[f"cov_{axis}_mm2" for axis in axes]])]
    for name, variance in variances:
        numbers = [variance if axis[0] == axis[1] else 0 for axis in axes]
        lines.append(",".join(["a", name, "1" if name == "tip" else "0", *map(str, numbers)]))
    (folder / "out" / "uncertainty.csv").write_text("\n".join(lines) + "\n")
    table = (folder / "out" / "predictions.csv").read_text().replace("9,9,9,0.9,1", "9,9,9,0.2,0")
    (folder / "out" / "predictions.csv").write_text(table.replace("bud,12,3,2", "bud,12,3,3"))
    return source


def test_regions_go_with_the_end_that_the_prediction_named(tmp_path: Path):
    assert evaluate(tmp_path / "out", calibrated_case(tmp_path)) == 0
    regions = json.loads((tmp_path / "out" / "metrics.json").read_text())["regions"]
    # Balls: 1 mm and sqrt(2) mm of buds within 1.2 and 1.5 mm, and 1 mm of what was called "end" within 0.9 and 1.1 mm.
    assert [regions["ball"][level]["share"] for level in ("0.5", "0.8", "0.9")] == pytest.approx([1 / 3, 1, 1])
    assert regions["ball"]["0.9"]["infinite"] == pytest.approx(2 / 3)
    assert {row["count"] for row in regions["ball"].values()} == {3}
    # Standard deviations: 1 of 1 and sqrt(2) of 2 (0.71) of the buds, 1 of 2 of the end.
    assert [regions["ellipsoid"][level]["share"] for level in ("0.5", "0.8", "0.9")] == pytest.approx([1 / 3, 2 / 3, 1])
    assert {row["count"] for row in regions["ellipsoid"].values()} == {3}


def test_presence_of_ends_is_judged_in_the_better_order(tmp_path: Path):
    assert evaluate(tmp_path / "out", calibrated_case(tmp_path)) == 0
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    presence = metrics["presence"]
    assert (presence["present_predicted_present"], presence["absent_predicted_absent"]) == (1, 1)
    assert presence["auroc"] == 1.0
    # What was called "tip" is implausible, and it is the one that is not there.
    assert metrics["implausible"] == {"count": 1, "mre_mm": None}


def test_instances_beyond_the_distance_of_the_calibration_have_no_region(tmp_path: Path):
    source = calibrated_case(tmp_path)
    run = tmp_path / "out" / "run.json"
    document = json.loads(run.read_text())
    document["calibration"]["match_mm"]["bud"] = 1.2  # the second bud lies sqrt(2) mm off
    run.write_text(json.dumps(document))
    assert evaluate(tmp_path / "out", source) == 0
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["regions"]["ball"]["0.5"]["count"] == 2


def test_a_bundle_with_instances_alone_has_regions(tmp_path: Path):
    source = calibrated_case(tmp_path)
    document = json.loads(source.read_text())
    document["training"][0]["label"] = {"bud": [[2, 2, 2]]}
    source.write_text(json.dumps(document))
    assert evaluate(tmp_path / "out", source) == 0
    regions = json.loads((tmp_path / "out" / "metrics.json").read_text())["regions"]
    assert (regions["ball"]["0.5"]["count"], regions["ball"]["0.5"]["share"]) == (1, 1.0)
