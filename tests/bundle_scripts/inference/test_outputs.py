"""Files of a prediction: names, columns, Markups, and the handler inside MONAI's evaluator."""

import csv
import json
import math

import numpy as np
import pytest
import torch
from monai.data import DataLoader, Dataset, MetaTensor
from monai.engines import SupervisedEvaluator
from monai.transforms import Compose

from auto_config.bundle_scripts.inference.outputs import PredictionWriter
from auto_config.bundle_scripts.inference.prediction_files import (
    PredictionFolder,
    foreign_file,
    landmark_note,
    prediction_columns,
    prediction_rows,
    previous_cases,
    uncertainty_columns,
    uncertainty_rows,
)
from auto_config.bundle_scripts.inference.results import LandmarkResultd, PeaksToWorldd
from auto_config.bundle_scripts.points.fcsv_files import read_fcsv
from auto_config.bundle_scripts.points.landmark_files import read_markups


def landmark(name, world, present=1, radius=None, voxel=(1.0, 2.0)):
    return {
        "name": name,
        "world": list(world),
        "voxel": list(voxel),
        "confidence": 0.875,
        "present": present,
        "radius_mm": radius,
        "spread_mm": 0.5,
        "disagreement_mm": None,
        "covariance_mm2": [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]],
        "shape_distance_mm": None,
        "replaced": name == "b",
        "implausible": None,
    }


def bundle(folder, names, dims=3):
    (folder / "configs").mkdir(parents=True)
    (folder / "configs/metadata.json").write_text(json.dumps({"name": "skulls", "version": "0.1.0"}))
    items = [
        {"name": n, "slug": f"l{i}", "pair": None, "mean_offset_mm": [float(i)] * dims} for i, n in enumerate(names)
    ]
    (folder / "configs/landmarks.json").write_text(json.dumps({"landmarks": items, "spatial_dims": dims}))
    return folder


def test_columns_and_rows_are_those_of_the_design():
    assert ",".join(prediction_columns(3)) == (
        "case,landmark,x_ras_mm,y_ras_mm,z_ras_mm,confidence,present,radius_mm,verdict"
    )
    assert ",".join(prediction_columns(2)) == ("case,landmark,x_px,y_px,x_mm,y_mm,confidence,present,radius_mm,verdict")
    result = {"landmarks": [landmark("a", (1.0, -2.5, 3.00000049)), landmark("b", (4, 5, 6), present=0, radius=1.5)]}
    assert prediction_rows("c", result) == [
        ["c", "a", "1.0", "-2.5", "3.0", "0.875", "1", "", ""],
        ["c", "b", "4.0", "5.0", "6.0", "0.875", "0", "1.5", ""],
    ]
    flat = {"landmarks": [landmark("a", (0.05, 0.2))]}
    assert prediction_rows("c", flat) == [["c", "a", "1.0", "2.0", "0.05", "0.2", "0.875", "1", "", ""]]


def test_a_folder_holds_markups_a_table_and_a_record(tmp_path):
    out = tmp_path / "out"
    folder = PredictionFolder(out, bundle(tmp_path / "bundle", ["ä, 'x'", "b"]))
    result = {"landmarks": [landmark("ä, 'x'", (1, 2, 3)), landmark("b", (4, 5, 6), present=0)]}
    folder.write("second", result, image_center=np.array([7, 8, 9]), seconds=1.23456, fcsv=True, inline_json=True)
    folder.write("first", result, image_center=np.ones(3), seconds=1)
    folder.finish(options={"fcsv": True}, failed={"third": "broken"})

    for landmarks in (read_markups(out / "second.mrk.json"), read_fcsv(out / "second.fcsv")):
        assert landmarks.names == ("ä, 'x'", "b")
        np.testing.assert_allclose(landmarks.points[0], [1, 2, 3])
        assert landmarks.status.tolist() == [1, 0]
    stored = json.loads((out / "second.mrk.json").read_text())["markups"][0]
    assert stored["coordinateSystem"] == "LPS"
    assert stored["controlPoints"][0]["position"] == [-1.0, -2.0, 3.0]
    assert stored["controlPoints"][1]["positionStatus"] == "missing"
    assert json.loads((out / "second.json").read_text())["landmarks"] == result["landmarks"]
    assert not (out / "first.json").exists()

    rows = list(csv.DictReader((out / "predictions.csv").open(encoding="utf-8", newline="")))
    assert [(r["case"], r["landmark"]) for r in rows] == [(c, n) for c in ("second", "first") for n in ("ä, 'x'", "b")]
    run = json.loads((out / "run.json").read_text())
    assert run["bundle"] == {"name": "skulls", "version": "0.1.0"}
    assert run["failed"] == {"third": "broken"}
    assert run["mean_shape"] == {"ä, 'x'": [0.0] * 3, "b": [1.0] * 3}
    assert run["image_centers"] == {"second": [7.0, 8.0, 9.0], "first": [1.0, 1.0, 1.0]}
    assert run["seconds"]["second"] == 1.235
    assert run["replaced_by_shape"]["first"] == ["b"]
    assert set(run["packages"]) == {"python", "monai", "numpy", "torch"}
    assert not list(out.glob(".*"))


FAILED_CASE = {"verdict": "failed", "reasons": ["nothing fits", "nor this"], "deviations": {"shape": 9.0}}


def test_the_verdict_stands_in_every_file_and_a_failed_case_promises_nothing(tmp_path):
    out = tmp_path / "out"
    folder = PredictionFolder(out, bundle(tmp_path / "bundle", ["a"]))
    result = {"landmarks": [landmark("a", (1, 2, 3), radius=1.5)], "level": 0.9}
    for case, verdict in (
        ("good", {"verdict": "ok", "reasons": [], "not_judged": ["pose"], "deviations": {}}),
        ("odd", {"verdict": "check", "reasons": ["it is turned"], "deviations": {}}),
        ("bad", FAILED_CASE),
    ):
        folder.write(case, {**result, "verdict": verdict}, image_center=np.ones(3), seconds=1)
    folder.finish(options={}, failed={"empty": "it is empty"})
    rows = list(csv.DictReader((out / "predictions.csv").open()))
    assert [(row["verdict"], row["radius_mm"]) for row in rows] == [("ok", "1.5"), ("check", "1.5"), ("failed", "")]
    run = json.loads((out / "run.json").read_text())
    assert run["verdicts"] == {
        "good": {"verdict": "ok", "reasons": [], "not_judged": ["pose"]},
        "odd": {"verdict": "check", "reasons": ["it is turned"]},
        "bad": {"verdict": "failed", "reasons": ["nothing fits", "nor this"]},
        "empty": {"verdict": "failed", "reasons": ["could not be predicted: it is empty"]},
    }

    def note(case):
        return json.loads((out / f"{case}.mrk.json").read_text())["markups"][0]["controlPoints"][0]["description"]

    promise = "confidence 0.88, within 1.5 mm with probability 0.9"
    assert note("good") == promise
    assert note("odd") == f"{promise} if this case is like those of the calibration; CASE CHECK: it is turned"
    assert note("bad") == "confidence 0.88; CASE FAILED: nothing fits"


def test_files_of_others_are_seen(tmp_path):
    assert previous_cases(tmp_path) == set()
    (tmp_path / "mine.mrk.json").write_text("{}")
    assert foreign_file(tmp_path, "mine", set()) == tmp_path / "mine.mrk.json"
    assert foreign_file(tmp_path, "mine", {"mine"}) is None
    assert foreign_file(tmp_path, "other", set()) is None


class ConstantPeaks(torch.nn.Module):
    def forward(self, x):
        peaks = torch.zeros((2, 14))
        peaks[:, :6] = torch.tensor([[1.0, 2, 3, 0.5, math.nan, 0], [0, 0, 0, 0.25, 1.0, 1]])
        return peaks.repeat(len(x), 1, 1)


def evaluator(tmp_path, out, files=("/x/zebra.nii.gz", "/x/ant.nii.gz", "/x/bee.nii.gz"), cases=None):
    affine = torch.diag(torch.tensor([2.0, 2, 2, 1], dtype=torch.float64))
    original = np.diag([0.5, 1, 1, 1.0])
    items = [
        {
            "image": MetaTensor(
                torch.zeros(1, 4, 4, 4),
                affine=affine,
                meta={
                    "original_affine": original,
                    "spatial_shape": np.array([21, 7, 5]),
                    "filename_or_obj": file,
                },
            )
        }
        for file in files
    ]
    if cases is not None:
        items = [{**item, "case": case} for item, case in zip(items, cases, strict=True)]
    root = tmp_path / "bundle"
    landmarks = root / "configs/landmarks.json"
    if not root.exists():
        bundle(root, ["a", "b"])
    return SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=DataLoader(Dataset(items), batch_size=2),
        network=ConstantPeaks(),
        postprocessing=Compose([PeaksToWorldd(), LandmarkResultd(landmarks=str(landmarks))]),
        val_handlers=[PredictionWriter(str(out), str(landmarks))],
    )


def test_the_handler_leaves_the_files_of_predict(tmp_path):
    out = tmp_path / "deep/out"
    evaluator(tmp_path, out).run()
    rows = list(csv.DictReader((out / "predictions.csv").open()))
    assert [r["case"] for r in rows] == ["zebra", "zebra", "ant", "ant", "bee", "bee"]
    assert [rows[0][k] for k in ("x_ras_mm", "y_ras_mm", "z_ras_mm", "confidence")] == ["2.0", "4.0", "6.0", "0.5"]
    np.testing.assert_allclose(read_markups(out / "bee.mrk.json").points, [[2, 4, 6], [0, 0, 0]])
    run = json.loads((out / "run.json").read_text())
    assert run["image_centers"]["ant"] == [5.0, 3.0, 2.0]
    assert run["replaced_by_shape"]["ant"] == ["b"]
    evaluator(tmp_path, out).run()  # its own files are written again


def test_the_handler_never_writes_over_other_peoples_points(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "ant.mrk.json").write_text("expert points")
    with pytest.raises(ValueError, match="no earlier prediction"):
        evaluator(tmp_path, out).run()
    assert (out / "ant.mrk.json").read_text() == "expert points"


def test_a_case_has_the_name_that_the_data_list_gives_it(tmp_path):
    files = [f"/data/sub-0{i}/image.nii.gz" for i in (1, 2, 3)]
    named, unnamed = tmp_path / "named", tmp_path / "unnamed"
    evaluator(tmp_path, named, files, cases=["a_image", "b", "c"]).run()
    evaluator(tmp_path, unnamed, files).run()
    for out, names in ((named, ["a_image", "b", "c"]), (unnamed, ["image", "sub-02_image", "sub-03_image"])):
        rows = list(csv.DictReader((out / "predictions.csv").open()))
        assert list(dict.fromkeys(r["case"] for r in rows)) == names
        assert len(rows) == 2 * len(files)
        assert sorted(p.name for p in out.glob("*.mrk.json")) == sorted(f"{name}.mrk.json" for name in names)


@pytest.mark.parametrize(("cases", "message"), [("aba", "two images are called 'a'"), (["a", "../b", "c"], "'../b'")])
def test_a_name_that_is_taken_or_no_file_name_is_refused(tmp_path, cases, message):
    with pytest.raises(ValueError, match=message):
        evaluator(tmp_path, tmp_path / "out", cases=list(cases)).run()


def test_the_uncertainty_table_has_a_row_for_each_point():
    item = {
        "name": "a",
        "world": [1.0, 2.0, 3.0],
        "spread_mm": 0.5,
        "disagreement_mm": None,
        "shape_distance_mm": 1.25,
        "replaced": True,
        "implausible": None,
        "covariance_mm2": [[1.0, 0.1, 0.2], [0.1, 2.0, 0.3], [0.2, 0.3, 1.234567e-8]],
    }
    columns, (row,) = uncertainty_columns(3), uncertainty_rows("c", {"landmarks": [item]})
    found = dict(zip(columns, row, strict=True))
    assert (found["case"], found["landmark"], found["spread_mm"], found["disagreement_mm"]) == ("c", "a", "0.5", "")
    assert (found["cov_xx_mm2"], found["cov_xz_mm2"], found["cov_yz_mm2"]) == ("1.0", "0.2", "0.3")
    assert float(found["cov_zz_mm2"]) == 1.23457e-8  # of voxels of a tenth of a micrometre
    assert (found["replaced"], found["implausible"], found["shape_distance_mm"]) == ("1", "", "1.25")
    (short,) = uncertainty_rows("c", {"landmarks": [{"name": "a", "world": [1.0, 2.0], "replaced": False}]})
    assert short == ["c", "a", "", "", "", "0", "", "", "", ""]  # by scripts from before the table
    assert uncertainty_columns(2)[-3:] == ["cov_xx_mm2", "cov_xy_mm2", "cov_yy_mm2"]
    assert uncertainty_columns(2, "px")[2:5] == ["spread_px", "disagreement_px", "shape_distance_px"]


def test_a_viewer_is_told_how_sure_a_point_is():
    item = {"confidence": 0.934, "radius_mm": 0.4567}
    assert landmark_note(item, 0.9) == "confidence 0.93, within 0.457 mm with probability 0.9"
    assert "within 0.457 px" in landmark_note(item, 0.9, "px")
    assert landmark_note({**item, "radius_mm": None}, 0.9) == landmark_note(item, None) == "confidence 0.93"
