"""`predict --fixed`: files of points that a person set."""

import csv
import json

import numpy as np
import pytest
from decoy_bundle import NAMES, write_decoy_bundle, write_failed_case

from auto_config.bundle_scripts.points.fcsv_files import write_fcsv
from auto_config.bundle_scripts.points.landmark_files import read_markups, write_markups
from auto_config.bundle_scripts.points.landmarks import ABSENT, PRESENT, LandmarkSet
from auto_config.commands.predict import predict
from auto_config.errors import UserError


@pytest.fixture
def case(tmp_path):
    truth = write_failed_case(tmp_path / "in/a.nii.gz")
    return write_decoy_bundle(tmp_path / "bundle"), tmp_path, truth


def landmark_set(truth, *rows, absent=()):
    names = [NAMES[i] for i in (*rows, *absent)]
    points = np.array([*truth[list(rows)], *[[np.nan] * truth.shape[1]] * len(absent)])
    return LandmarkSet(tuple(names), points, np.array([PRESENT] * len(rows) + [ABSENT] * len(absent), dtype=np.int8))


def test_a_landmark_file_moves_the_others_and_its_points_come_out_as_given(case):
    bundle, folder, truth = case
    truth[1] += 0.1234
    write_markups(folder / "set.mrk.json", landmark_set(truth, 1, absent=[2]))
    assert predict(bundle, folder / "in/a.nii.gz", folder / "out", fixed=folder / "set.mrk.json", json=True) == 0
    found = read_markups(folder / "out/a.mrk.json")
    np.testing.assert_allclose(found.points[1], truth[1], atol=1e-12)
    assert found.status.tolist() == [1, 1, 0] + [1] * 9
    rest = [i for i in range(12) if i != 2]
    assert np.linalg.norm(found.points - truth, axis=1)[rest].max() < 0.3
    assert json.loads((folder / "out/run.json").read_text())["options"]["fixed"] == {"a": ["p1", "p2"]}
    items = json.loads((folder / "out/a.json").read_text())["landmarks"]
    assert [item["name"] for item in items if item.get("fixed")] == ["p1", "p2"]


@pytest.mark.parametrize("ending", [".fcsv", ".json", ".mrk.json"])
def test_a_folder_has_a_file_for_some_cases(case, ending):
    bundle, folder, truth = case
    write_failed_case(folder / "in/b.nii.gz")
    (folder / "set").mkdir()
    one = landmark_set(truth, 1)
    if ending == ".json":
        (folder / "set/b.json").write_text(json.dumps(one.to_inline()))
    else:
        {".fcsv": write_fcsv, ".mrk.json": write_markups}[ending](folder / f"set/b{ending}", one)
    assert predict(bundle, folder / "in", folder / "out", fixed=folder / "set") == 0
    errors = {case: read_markups(folder / f"out/{case}.mrk.json").points - truth for case in ("a", "b")}
    assert np.linalg.norm(errors["b"], axis=1).max() < 0.3
    assert np.linalg.norm(errors["a"], axis=1).max() > 5


def test_the_table_of_an_earlier_prediction_is_read_too(case):
    bundle, folder, truth = case
    with (folder / "set.csv").open("w", newline="") as stream:
        lines = [["case", "landmark", "x_ras_mm", "y_ras_mm", "z_ras_mm", "present"], ["a", "p1", *truth[1], 1]]
        csv.writer(stream).writerows([*lines, ["a", "p2", "", "", "", 0], ["other", "p1", 1, 2, 3, 1]])
    assert predict(bundle, folder / "in", folder / "out", fixed=folder / "set.csv") == 0
    found = read_markups(folder / "out/a.mrk.json")
    assert np.linalg.norm(found.points - truth, axis=1)[[1, 4, 7, 9]].max() < 0.3
    assert found.status[2] == 0


def test_wrong_points_are_refused_in_one_line_before_anything_is_written(case):
    bundle, folder, truth = case

    def refused(match, source="set.json", images="in/a.nii.gz"):
        with pytest.raises(UserError, match=match) as caught:
            predict(bundle, folder / images, folder / "out", fixed=folder / source)
        assert "\n" not in str(caught.value)
        assert not (folder / "out").exists()

    refused("set.json: is not there")
    (folder / "set.json").write_text(json.dumps({"p1": [1, 2, 3], "nose": [1, 2, 3]}))
    refused(r"set.json: has a point 'nose', which is none of the bundle's landmarks p0, p1")
    write_failed_case(folder / "in/b.nii.gz")
    refused("one landmark file for 2 images; give a folder", images="in")
    (folder / "empty").mkdir()
    refused(r"has a landmark file for none of the 2 cases, such as a.mrk.json", "empty", "in")
    for ending in (".json", ".mrk.json"):
        write_markups(folder / f"empty/a{ending}", landmark_set(truth, 1))
    refused("a.json is there as well; keep one", "empty", "in")
    (folder / "set.csv").write_text("case,landmark,x_ras_mm,y_ras_mm\na,p1,1,2\n")
    refused("has no column 'z_ras_mm'", "set.csv")
    (folder / "set.csv").write_text("case,landmark,x_ras_mm,y_ras_mm,z_ras_mm\na,p1,1,2,x\n")
    refused("set.csv: line 2: .*give numbers in mm", "set.csv")
    (bundle / "data/datalist.json").unlink()
    (folder / "set.json").write_text(json.dumps({"p1": [1, 2, 3]}))
    refused("knows no shape of its training cases; run `auto_config calibrate`.*; omit --fixed")


def test_pixels_of_pictures_keep_their_points(tmp_path):
    truth = write_failed_case(tmp_path / "in/a.nii.gz", dims=2)
    bundle = write_decoy_bundle(tmp_path / "bundle", dims=2, stages=1)
    (tmp_path / "set.json").write_text(json.dumps({"p1": truth[1].tolist()}))
    assert predict(bundle, tmp_path / "in", tmp_path / "out", fixed=tmp_path / "set.json") == 0
    rows = list(csv.DictReader((tmp_path / "out/predictions.csv").open()))
    found = np.array([[float(row["x_mm"]), float(row["y_mm"])] for row in rows])
    np.testing.assert_array_equal(found[1], truth[1])
    assert np.linalg.norm(found - truth, axis=1).max() < 0.3
