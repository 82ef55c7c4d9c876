"""`predict` with a bundle whose network needs no training."""

import csv
import json
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from toy_bundle import NAMES, save_values, write_toy_bundle, write_toy_image

from auto_config.bundle.opened import open_bundle, weight_files
from auto_config.bundle.writer import data_list
from auto_config.bundle_scripts.points.fcsv_files import read_fcsv
from auto_config.bundle_scripts.points.landmark_files import read_markups, write_markups
from auto_config.bundle_scripts.points.landmarks import LandmarkSet
from auto_config.commands.evaluate import evaluate
from auto_config.commands.predict import predict
from auto_config.datasets import read_dataset
from auto_config.datasets.checks.cases import check_header
from auto_config.datasets.images import read_header
from auto_config.errors import UserError
from auto_config.planning import Split

VOXELS = [(2, 3, 4), (9, 1, 6)]
PIR = np.array([[0, 0, 1.0, -10], [-0.5, 0, 0, 20], [0, -2.0, 0, 30], [0, 0, 0, 1]])


@pytest.fixture
def bundle(tmp_path):
    return write_toy_bundle(tmp_path / "toy")


def rows_of(folder):
    return list(csv.DictReader((folder / "predictions.csv").open(encoding="utf-8", newline="")))


def test_a_folder_of_images_in_any_orientation(bundle, tmp_path, capsys):
    truth = {
        "a": write_toy_image(tmp_path / "in/a.nii.gz", VOXELS, PIR),
        "b.2": write_toy_image(tmp_path / "in/b.2.nii.gz", VOXELS, np.diag([-1.0, 2, 1, 1])),
    }
    (tmp_path / "in/notes.txt").write_text("no image")
    out = tmp_path / "out"
    assert predict(bundle, tmp_path / "in", out, fcsv=True, json=True, labelmap=True) == 0
    for case, points in truth.items():
        found = read_markups(out / f"{case}.mrk.json")
        assert found.names == NAMES
        np.testing.assert_allclose(found.points, points, atol=1e-5)
        assert read_fcsv(out / f"{case}.fcsv") == found
        voxels = [x["voxel"] for x in json.loads((out / f"{case}.json").read_text())["landmarks"]]
        np.testing.assert_allclose(voxels, VOXELS, atol=1e-5)
        labels = nib.load(out / f"{case}.labels.nii.gz")
        assert [labels.dataobj[v] for v in VOXELS] == [1, 2]
    np.testing.assert_allclose(nib.load(out / "a.labels.nii.gz").affine, PIR)
    rows = rows_of(out)
    assert [(r["case"], r["landmark"]) for r in rows] == [(case, name) for case in ("a", "b.2") for name in NAMES]
    assert {(r["present"], r["radius_mm"], r["confidence"]) for r in rows} == {("1", "", "0.5")}
    run = json.loads((out / "run.json").read_text())
    assert run["bundle"] == {"name": "toy", "version": "0.1.0"}
    assert run["options"]["labelmap"] is True
    assert run["failed"] == {}
    assert run["mean_shape"] == {"tip": [0.0, 0.0, 0.0], "Ä, base": [1.0, 0.0, 0.0]}
    np.testing.assert_allclose(run["image_centers"]["b.2"], [-5.5, 9.0, 3.5])
    assert set(run["seconds"]) == {"a", "b.2"}
    assert not list(out.glob(".*"))
    assert "2 images predicted" in capsys.readouterr().out


def test_a_broken_image_is_reported_and_the_rest_is_predicted(bundle, tmp_path, capsys):
    write_toy_image(tmp_path / "in/good.nii.gz", VOXELS)
    (tmp_path / "in/broken.nii.gz").write_bytes(b"not a scan")
    nan = np.ones((4, 4, 4), dtype=np.float32)
    nan[1, 1, 1] = np.nan
    nib.save(nib.Nifti1Image(nan, np.eye(4)), tmp_path / "in/nan.nii.gz")
    nib.save(nib.Nifti1Image(np.ones((4, 4, 4), dtype=np.float32), np.eye(4)), tmp_path / "in/flat.nii.gz")
    out = tmp_path / "out"
    assert predict(bundle, tmp_path / "in", out) == 1
    assert {r["case"] for r in rows_of(out)} == {"good"}
    failed = json.loads((out / "run.json").read_text())["failed"]
    assert set(failed) == {"broken", "nan", "flat"}
    assert "cannot be read" in failed["broken"]
    assert "NaN" in failed["nan"]
    assert "same grey value" in failed["flat"]
    assert not any("\n" in reason for reason in failed.values())
    messages = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert len(messages) == 3 and all(".nii.gz" in line for line in messages)


def test_nothing_predicted_gives_status_two_and_debug_shows_the_error(bundle, tmp_path):
    image = tmp_path / "broken.nii.gz"
    image.write_bytes(b"")
    assert predict(bundle, image, tmp_path / "out") == 2
    with pytest.raises(UserError, match="cannot be read"):
        predict(bundle, image, tmp_path / "out2", debug=True)


def test_an_earlier_prediction_stays_unless_overwritten(bundle, tmp_path):
    write_toy_image(tmp_path / "first/old.nii.gz", VOXELS)
    write_toy_image(tmp_path / "second/new.nii.gz", VOXELS)
    out = tmp_path / "out"
    predict(bundle, tmp_path / "first", out)
    (out / "my_notes.txt").write_text("kept")
    before = (out / "predictions.csv").read_bytes()
    with pytest.raises(UserError, match="--overwrite"):
        predict(bundle, tmp_path / "second", out)
    assert (out / "predictions.csv").read_bytes() == before
    assert predict(bundle, tmp_path / "second", out, overwrite=True) == 0
    assert sorted(p.name for p in out.iterdir()) == [
        "my_notes.txt",
        "new.mrk.json",
        "predictions.csv",
        "run.json",
        "uncertainty.csv",
    ]


@pytest.fixture
def scans(bundle, tmp_path):
    """A folder for each of three cases, of which the bundle's data list holds the last one out."""
    folder = tmp_path / "scans"
    for case in ("anna", "ben", "carl"):
        points = write_toy_image(folder / f"images/{case}/image.nii.gz", VOXELS)
        (folder / f"landmarks/{case}").mkdir(parents=True)
        landmarks = LandmarkSet(NAMES, points, np.ones(len(NAMES)))
        write_markups(folder / f"landmarks/{case}/image.mrk.json", landmarks)
    dataset, _ = read_dataset(folder)
    names = [case.name for case in dataset.cases]
    _, content = data_list(dataset, Split((names[2],), {names[0]: 0, names[1]: 1}, (), {}))
    (bundle / "data").mkdir()
    (bundle / "data/datalist.json").write_text(json.dumps(content))
    return folder


def test_the_test_cases_of_a_bundle_alone_are_predicted_and_evaluated(bundle, scans, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the data list leads to the images from anywhere
    datalist = Path("toy/data/datalist.json")
    assert predict(bundle, datalist, tmp_path / "out") == 0
    assert {row["case"] for row in rows_of(tmp_path / "out")} == {"carl_image"}
    assert (tmp_path / "out/carl_image.mrk.json").is_file()
    assert evaluate(tmp_path / "out", datalist, split="test") == 0
    numbers = json.loads((tmp_path / "out/metrics.json").read_text())
    assert list(numbers["per_case"]) == ["carl_image"] and numbers["mre_mm"]["max"] < 1e-4
    assert numbers["cases"]["training"] == []
    assert "NOT a test" not in capsys.readouterr().out
    assert scans.is_dir()


def test_training_cases_in_an_error_are_said(bundle, scans, tmp_path, capsys):
    link = tmp_path / "link"
    link.symlink_to(scans)
    predict(bundle, link, tmp_path / "out")
    run = json.loads((tmp_path / "out/run.json").read_text())
    assert run["training_cases"] == ["anna_image", "ben_image"]
    evaluate(tmp_path / "out", scans)
    said = "NOT a test: 2 of the 3 cases are training cases of the bundle (anna_image, ben_image)"
    lines = [line for line in capsys.readouterr().out.splitlines() if said in line]
    assert len(lines) == 1 and "--split test" in lines[0]
    assert said in (tmp_path / "out/report.html").read_text()
    cases = json.loads((tmp_path / "out/metrics.json").read_text())["cases"]
    assert cases["training"] == ["anna_image", "ben_image"]


def test_an_image_predicted_alone_meets_its_truth_by_its_file_name(bundle, scans, tmp_path):
    image = scans / "images/ben/image.nii.gz"
    predict(bundle, image, tmp_path / "out")
    with pytest.raises(UserError, match="none of its cases"):  # three images are called so
        evaluate(tmp_path / "out", scans)
    for other in ("anna", "carl"):
        (scans / f"landmarks/{other}/image.mrk.json").unlink()
    evaluate(tmp_path / "out", scans)
    numbers = json.loads((tmp_path / "out/metrics.json").read_text())
    assert list(numbers["per_case"]) == numbers["cases"]["training"] == ["ben_image"]


def test_the_evaluation_of_an_earlier_prediction_goes_with_it(bundle, tmp_path):
    out = tmp_path / "out"
    points = write_toy_image(tmp_path / "scans/images/a.nii.gz", VOXELS)
    (tmp_path / "scans/landmarks").mkdir()
    write_markups(tmp_path / "scans/landmarks/a.mrk.json", LandmarkSet(NAMES, points, np.ones(len(NAMES))))
    out.mkdir()
    (out / "metrics.json").write_text("{}")  # nobody predicted here before, so this is not ours
    predict(bundle, tmp_path / "scans", out)
    assert (out / "metrics.json").read_text() == "{}"
    predicted = {path.name for path in out.iterdir()} - {"metrics.json"}
    evaluate(out, tmp_path / "scans")
    (out / "report_of_mine.html").write_text("kept")
    predict(bundle, tmp_path / "scans", out, overwrite=True)
    assert {path.name for path in out.iterdir()} == predicted | {"report_of_mine.html"}


def test_expert_points_are_never_written_over(bundle, tmp_path):
    write_toy_image(tmp_path / "scans/a.nii.gz", VOXELS)
    expert = tmp_path / "scans/a.mrk.json"
    expert.write_text("expert points")
    with pytest.raises(UserError, match="no earlier prediction wrote it"):
        predict(bundle, tmp_path / "scans", tmp_path / "scans", overwrite=True)
    assert expert.read_text() == "expert points"


def test_a_table_that_points_out_of_the_folder_deletes_nothing(bundle, tmp_path):
    write_toy_image(tmp_path / "in/a.nii.gz", VOXELS)
    (tmp_path / "victim.json").write_text("kept")
    out = tmp_path / "out"
    out.mkdir()
    (out / "predictions.csv").write_text("case,landmark\n../victim,x\n")
    predict(bundle, tmp_path / "in", out, overwrite=True)
    assert (tmp_path / "victim.json").exists()


def test_folds_are_averaged_as_heatmaps(bundle, tmp_path):
    save_values(bundle / "models/fold_0/model.pt", (4.0, 22.0))
    save_values(bundle / "models/fold_1/model.pt", (16.0, 18.0))
    (bundle / "models/ensemble.json").write_text(json.dumps({"files": ["fold_0/model.pt", "fold_1/model.pt"]}))
    image = tmp_path / "in/a.nii.gz"
    # Neither fold alone finds 10 for the first landmark: there are voxels of 4 and of 16.
    write_toy_image(image, [*VOXELS])
    array = nib.load(image).get_fdata()
    array[0, 0, 0], array[1, 1, 1] = 4.0, 16.0
    nib.save(nib.Nifti1Image(array, np.eye(4)), image)
    predict(bundle, image, tmp_path / "out")
    np.testing.assert_allclose(read_markups(tmp_path / "out/a.mrk.json").points, VOXELS)
    (bundle / "models/ensemble.json").write_text(json.dumps({"files": ["fold_0/model.pt"]}))
    predict(bundle, image, tmp_path / "alone")
    np.testing.assert_allclose(read_markups(tmp_path / "alone/a.mrk.json").points[0], [0, 0, 0])
    (bundle / "models/fold_0/model.pt").unlink()
    with pytest.raises(UserError, match=r"fold_0/model\.pt: is not there"):
        weight_files(bundle)


def test_two_bundles_in_one_process_keep_their_own_code(tmp_path):
    image = tmp_path / "in/a.nii.gz"
    write_toy_image(image, VOXELS)
    path = list(sys.path)
    first = open_bundle(write_toy_bundle(tmp_path / "one", confidence=0.25))
    second = open_bundle(write_toy_bundle(tmp_path / "two", confidence=0.75))
    for opened, confidence in ((first, 0.25), (second, 0.75), (first, 0.25)):
        result = opened.predict(opened.preprocess(image))["result"]
        assert {x["confidence"] for x in result["landmarks"]} == {confidence}
    assert sys.path == path
    assert "scripts" not in sys.modules
    # Code that changed is imported anew.
    toy = tmp_path / "one/scripts/toy.py"
    toy.write_text(toy.read_text().replace("0.25", "0.125"))
    again = open_bundle(tmp_path / "one")
    assert again.predict(again.preprocess(image))["result"]["landmarks"][0]["confidence"] == 0.125


def test_what_is_wrong_with_a_bundle_is_said_in_one_line(tmp_path, bundle):
    image = tmp_path / "a.nii.gz"
    write_toy_image(image, VOXELS)
    untrained = write_toy_bundle(tmp_path / "untrained", values=None)
    wrong = write_toy_bundle(tmp_path / "wrong", values=(1.0, 2.0, 3.0))
    (tmp_path / "nothing").mkdir()
    for root, options, message in [
        (untrained, {}, r"model\.pt: is not there.*auto_config train"),
        (wrong, {}, "does not fit the network"),
        (tmp_path / "nothing", {}, "is no bundle"),
        (bundle, {"device": "fpga"}, "--device fpga: not a device"),
        (bundle, {"plausibility": False}, "has no plausibility step"),
    ]:
        with pytest.raises(UserError, match=message) as caught:
            predict(root, image, tmp_path / "out", **options)
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_what_inspect_says_of_several_volumes_and_of_colour_is_said_too(bundle, tmp_path, capsys):
    (tmp_path / "in").mkdir()
    series = nib.Nifti1Image(np.random.default_rng(0).normal(size=(6, 6, 6, 2)).astype(np.float32), np.eye(4))
    nib.save(series, tmp_path / "in" / "series.nii.gz")
    colour = np.zeros((12, 12, 12), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    colour["G"] = np.random.default_rng(0).integers(0, 255, colour.shape)
    nib.save(nib.Nifti1Image(colour, np.eye(4)), tmp_path / "in" / "colour.nii.gz")
    assert predict(bundle, tmp_path / "in", tmp_path / "out") == 1
    said = " ".join(capsys.readouterr().err.split())
    for name in ("series", "colour"):
        header = read_header(tmp_path / "in" / f"{name}.nii.gz")
        line = next(one for one in check_header(name, header) if "volumes" in one.message or "colour" in one.message)
        assert f"{line.severity}: {line.message}" in said


def test_a_number_that_training_does_not_share_is_said_in_one_line(bundle, tmp_path, capsys):
    image = tmp_path / "in/a.nii.gz"
    write_toy_image(image, VOXELS)
    path = bundle / "configs/inference.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "pad_value": -1.0}))
    (bundle / "configs/train.json").write_text(json.dumps({"pad_value": -2.0}))
    assert predict(bundle, image, tmp_path / "out") == 0
    (said,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning:")]
    assert "differ in pad_value (-2.0 and -1.0); set the same in both" in said
