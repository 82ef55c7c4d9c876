"""Which cases `calibrate --data` takes, what it makes of them, and which it refuses in one line."""

import hashlib
import json
import shutil

import nibabel as nib
import numpy as np
import pytest
import torch
from PIL import Image

from auto_config import cli
from auto_config.bundle_scripts.points.landmark_files import write_markups
from auto_config.bundle_scripts.points.landmarks import LandmarkSet
from auto_config.calibration.others.other_cases import CaseSource, other_cases
from auto_config.calibration.out_of_fold import fingerprint_of
from auto_config.errors import UserError

NAMES = ["tip", "base"]
SIZE = 12


def write_cases(folder, cases, seed=0, names=NAMES):
    """Images (12, 12, 12) of noise, 1 mm, and a point for each name, of which the second is absent in the last case."""
    random = np.random.default_rng(seed)
    for part in ("images", "landmarks"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for number, case in enumerate(cases):
        image = random.normal(100, 20, (SIZE,) * 3).astype(np.float32)
        nib.save(nib.Nifti1Image(image, np.eye(4)), folder / "images" / f"{case}.nii.gz")
        status = np.ones(len(names), dtype=np.int8)
        status[1:2] = number < len(cases) - 1
        points = np.where(status[:, None] == 1, random.uniform(2, SIZE - 3, (len(names), 3)), np.nan)
        write_markups(folder / "landmarks" / f"{case}.mrk.json", LandmarkSet(tuple(names), points, status))
    return folder


def write_bundle(folder, training=None, *, dims=3, unit="mm", names=NAMES, spacing=None):
    """What calibrating reads of a bundle before it opens it: tables, and the data list of its training cases."""
    for part in ("configs", "models", "data"):
        (folder / part).mkdir(parents=True)
    rows = {"spatial_dims": dims, "unit": unit, "landmarks": [{"name": name} for name in names]}
    (folder / "configs" / "landmarks.json").write_text(json.dumps(rows))
    (folder / "configs" / "inference.json").write_text(json.dumps({"pixel_spacing": spacing}))
    (folder / "models" / "model.pt").write_bytes(b"")
    if training is not None:
        items = [
            {"case": path.stem, "image": f"images/{path.name}"} for path in sorted((training / "images").iterdir())
        ]
        listed = {"dataset_dir": str(training), "training": items, "test": []}
        (folder / "data" / "datalist.json").write_text(json.dumps(listed))
    return folder


@pytest.fixture
def bundle(tmp_path):
    return write_bundle(tmp_path / "bundle", write_cases(tmp_path / "seen", ["anna", "ben"], seed=1))


@pytest.fixture
def data(tmp_path):
    return write_cases(tmp_path / "ours", ["carl", "dora", "emil"], seed=2)


def taken(bundle, data, names=NAMES, **options):
    return other_cases(bundle, CaseSource(data, **options), names, spatial_dims=3, unit="mm")


def refusal(bundle, data, capsys, *options):
    """The one line with which the command line refuses."""
    assert cli.main(["calibrate", str(bundle), "--data", str(data), *options]) == 2
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert not (bundle / "models" / "calibration.json").exists()
    return said


def test_cases_are_items_as_those_of_a_data_list(bundle, data):
    (data / "cases.csv").write_text("case,group\ncarl,patient 7\ndora,patient 7\n")
    items, notes = taken(bundle, data, ["base", "new", "tip"])
    assert [(item["case"], item["group"]) for item in items] == [
        ("carl", "patient 7"),
        ("dora", "patient 7"),
        ("emil", None),
    ]
    assert items[0]["image"] == [data / "images" / "carl.nii.gz"]
    assert list(items[0]["label"]) == ["base", "new", "tip"]  # the channels of the bundle
    assert items[2]["label"]["base"] == "absent" and items[2]["label"]["new"] == "unknown"
    assert len(items[0]["label"]["tip"]) == 3
    assert notes == ["no case has 'new', so where that lies is not known"]


def test_cases_of_a_patient_that_was_trained_on_are_told(bundle, data):
    (data / "cases.csv").write_text("case,group\ncarl,patient 7\ndora,patient 8\n")
    path = bundle / "data" / "datalist.json"
    listed = json.loads(path.read_text())
    assert taken(bundle, data)[1] == []
    listed["training"][0]["group"] = "patient 7"
    path.write_text(json.dumps(listed))
    (note,) = taken(bundle, data)[1]
    assert note.startswith("case 'carl': of a group that training cases are of too; if that is the same patient")


def test_a_landmark_that_is_absent_in_every_case_is_fine(bundle, data):
    items, notes = taken(bundle, data, cases=["emil"])
    assert items[0]["label"]["base"] == "absent" and notes == ["no case has 'base', so where that lies is not known"]
    for case in ("carl", "dora"):
        shutil.copy(data / "landmarks" / "emil.mrk.json", data / "landmarks" / f"{case}.mrk.json")
    assert len(taken(bundle, data)[0]) == 3


def test_only_the_cases_that_are_asked_for(bundle, data):
    (data / "cases.csv").write_text("case,split\ncarl,training\ndora,test\nemil,test\n")
    assert [item["case"] for item in taken(bundle, data, split="test")[0]] == ["dora", "emil"]
    assert [item["case"] for item in taken(bundle, data, cases=["carl"])[0]] == ["carl"]


def test_a_training_case_is_refused_by_its_file(bundle, data, tmp_path, capsys):
    (line,) = refusal(bundle, tmp_path / "seen", capsys)
    assert "anna.nii.gz: case 'anna' is a training case of" in line and "(2 such cases)" in line


def test_a_training_case_is_refused_by_its_voxels_under_another_name_and_in_another_format(bundle, data, capsys):
    seen = nib.load(bundle.parent / "seen" / "images" / "ben.nii.gz")
    nib.save(nib.Nifti1Image(seen.get_fdata(), np.eye(4)), data / "images" / "fritz.nii")
    shutil.copy(data / "landmarks" / "carl.mrk.json", data / "landmarks" / "fritz.mrk.json")
    (line,) = refusal(bundle, data, capsys)
    assert "fritz.nii: case 'fritz' is a training case of" in line
    assert len(taken(bundle, data, cases=["carl", "dora"])[0]) == 2  # without it


def test_what_could_not_be_compared_is_said(bundle, data):
    (bundle.parent / "seen" / "images" / "ben.nii.gz").unlink()
    assert taken(bundle, data)[1] == [
        "1 of 2 training images are not there, so nobody checked that no case is one of these"
    ]
    (bundle / "data" / "datalist.json").unlink()
    assert "nobody checked that none of its networks was trained on these cases" in taken(bundle, data)[1][0]


def trained_in_the_server(bundle, *, in_use, images, number=1.0):
    """A bundle after a training from labels: its own weights, and what the record says of them."""
    labels = bundle / "models" / "fold_labels"
    labels.mkdir()
    for path, value in ((bundle / "models" / "model.pt", number), (labels / "model.pt", 1.0)):
        torch.save({"weight": torch.tensor([value])}, path)
    before = {"images": {"old.nii.gz": "0"}, "own": "everything"}
    record = {"weights_before": "others", "before": before, "after": {"images": images, "own": "everything"}}
    if in_use == "before":
        record |= {"weights_before": fingerprint_of(bundle / "models" / "model.pt"), "before": record["after"]}
    (labels / "seen.json").write_text(json.dumps(record))


@pytest.mark.parametrize(("in_use", "number"), [("after", 1.0), ("before", 2.0)])
def test_an_image_that_the_server_trained_on_is_refused(bundle, data, capsys, in_use, number):
    content = hashlib.sha256((data / "images" / "dora.nii.gz").read_bytes()).hexdigest()
    trained_in_the_server(bundle, in_use=in_use, images={"other name.nii.gz": content}, number=number)
    (line,) = refusal(bundle, data, capsys)
    assert "dora.nii.gz: case 'dora' is a training case of" in line
    assert taken(bundle, data, cases=["carl"])[1] == []


def test_a_training_in_the_server_counts_as_long_as_its_weights_are_in_use(bundle, data):
    content = hashlib.sha256((data / "images" / "dora.nii.gz").read_bytes()).hexdigest()
    trained_in_the_server(bundle, in_use="after", images={"dora.nii.gz": content}, number=3.0)
    assert len(taken(bundle, data)[0]) == 3
    record = bundle / "models" / "fold_labels" / "seen.json"
    for text in ("{", json.dumps({"weights_before": "x", "before": {}, "after": {"images": None}})):
        torch.save({"weight": torch.tensor([1.0])}, bundle / "models" / "model.pt")
        record.write_text(text)
        assert "nobody knows which labelled images" in taken(bundle, data)[1][0]


@pytest.mark.parametrize("change", ["unlabelled", "none"])
def test_data_without_a_labelled_case_are_refused(bundle, data, capsys, change):
    for path in (data / "landmarks").iterdir():
        if change == "none":
            path.unlink()
        else:
            unknown = LandmarkSet(tuple(NAMES), np.full((2, 3), np.nan), np.full(2, -1, dtype=np.int8))
            write_markups(path, unknown)
    (line,) = refusal(bundle, data, capsys)
    assert {"unlabelled": "has no labelled case", "none": "holds images but no landmarks"}[change] in line


def test_other_landmarks_axes_units_and_names_are_refused(bundle, data, capsys, tmp_path):
    others = write_bundle(tmp_path / "others", names=["nose"])
    assert "has no landmark of the bundle ('nose'), but 'tip', 'base'" in refusal(others, data, capsys)[0]
    flat = write_bundle(tmp_path / "flat", dims=2)
    assert "has 3D points, the bundle predicts 2D ones" in refusal(flat, data, capsys)[0]
    assert "--cases: 'zoe' is not in" in refusal(bundle, data, capsys, "--cases", "zoe")[0]
    assert "--split dev: allowed are training and test" in refusal(bundle, data, capsys, "--split", "dev")[0]
    assert "has no labelled case (of 0 chosen)" in refusal(bundle, data, capsys, "--split", "test")[0]
    with pytest.raises(UserError, match="--outside is 'gone'; allowed are error and absent"):
        CaseSource(data, outside="gone")


@pytest.mark.parametrize(
    "option", [("--split", "test"), ("--missing", "absent"), ("--outside", "absent"), ("--missing_value", "0")]
)
def test_options_of_reading_need_data(bundle, capsys, option):
    assert cli.main(["calibrate", str(bundle), *option]) == 2
    assert f"error: {option[0]}: says how other cases are read; give these with --data" in capsys.readouterr().err


def test_a_point_outside_its_image_is_an_error_or_absent(bundle, data, capsys):
    outside = LandmarkSet(tuple(NAMES), np.array([[5.0, 5, 9], [5, 5, 13]]), np.ones(2, dtype=np.int8))
    write_markups(data / "landmarks" / "carl.mrk.json", outside)
    lines = refusal(bundle, data, capsys)
    assert "carl" in lines[0] and "1 error above, so nothing was calibrated" in lines[1] and len(lines) == 2
    items, _ = taken(bundle, data, outside="absent")
    assert items[0]["label"] == {"tip": [5.0, 5.0, 9.0], "base": "absent"}
    assert len(taken(bundle, data, cases=["dora", "emil"])[0]) == 2


def test_a_name_that_is_missing_is_what_the_option_says(bundle, data):
    write_markups(data / "landmarks" / "carl.mrk.json", LandmarkSet(("tip",), np.full((1, 3), 5.0), np.ones(1)))
    assert taken(bundle, data)[0][0]["label"]["base"] == "unknown"
    assert taken(bundle, data, missing="absent")[0][0]["label"]["base"] == "absent"


def test_a_point_that_marks_a_missing_one_is_what_the_options_say(bundle, data):
    marked = LandmarkSet(tuple(NAMES), np.array([[5.0, 5, 5], [0, 0, 0]]), np.ones(2, dtype=np.int8))
    write_markups(data / "landmarks" / "carl.mrk.json", marked)
    assert taken(bundle, data, missing_value="0")[0][0]["label"]["base"] == "unknown"
    assert taken(bundle, data, missing_value="0", missing="absent")[0][0]["label"]["base"] == "absent"


BUDS = ["bud", "end"]


def bud_cases(folder, buds):
    """A data list with any number of buds in each case."""
    write_cases(folder, [f"c{number}" for number in range(len(buds))], seed=4)
    items = [
        {"case": f"c{number}", "image": f"images/c{number}.nii.gz", "label": {"bud": points, "end": [3.0, 3.0, 3.0]}}
        for number, points in enumerate(buds)
    ]
    rows = [{"name": "bud", "instances": "many"}, {"name": "end"}]
    path = folder / "list.json"
    path.write_text(json.dumps({"training": items, "properties": {"landmarks": rows}}))
    return path


def bud_bundle(folder, **row):
    """A bundle with a landmark ``bud`` that `row` says more of."""
    bundle = write_bundle(folder, write_cases(folder.parent / "seen", ["anna"], seed=1), names=BUDS)
    rows = {"spatial_dims": 3, "landmarks": [{"name": "bud", **row}, {"name": "end"}]}
    (bundle / "configs" / "landmarks.json").write_text(json.dumps(rows))
    return bundle


def test_an_image_without_instances_does_not_have_the_landmark(tmp_path):
    bundle = bud_bundle(tmp_path / "buds", instances="many", most_instances=4, min_distance_mm=2.0)
    items, notes = taken(bundle, bud_cases(tmp_path / "none", [[], []]), BUDS)
    assert [item["label"]["bud"] for item in items] == [[], []]
    assert notes == ["no case has 'bud', so where that lies is not known"]
    several = [[4.0, 4.0, 4.0], [8.0, 8.0, 8.0]]
    items, notes = taken(bundle, bud_cases(tmp_path / "some", [[], several]), BUDS)
    assert items[1]["label"]["bud"] == several and notes == []


def test_several_points_of_a_landmark_that_is_there_once_are_refused(tmp_path):
    """Otherwise the first of them would be taken for the true one."""
    bundle = bud_bundle(tmp_path / "one")
    data = bud_cases(tmp_path / "data", [[[4.0, 4.0, 4.0]], [[4.0, 4.0, 4.0], [8.0, 8.0, 8.0]]])
    with pytest.raises(
        UserError, match=r"c1.nii.gz: case 'c1' has 2 points of landmark 'bud', but the bundle finds one"
    ):
        taken(bundle, data, BUDS)
    assert taken(bundle, data, BUDS, cases=["c0"])[0][0]["label"]["bud"] == [[4.0, 4.0, 4.0]]


def pictures(folder, spacing=None):
    """A picture with two points in pixels."""
    folder.mkdir()
    noise = np.random.default_rng(3).integers(0, 255, (20, 30)).astype(np.uint8)
    Image.fromarray(noise).save(folder / "hand.png")
    (folder / "points.csv").write_text("image,landmark,x_px,y_px\nhand.png,tip,4,5\nhand.png,base,10,12\n")
    if spacing is not None:
        (folder / "landmarks.json").write_text(
            json.dumps({"landmarks": [{"name": name} for name in NAMES], "pixel_spacing": spacing})
        )
    return folder / "points.csv"


def flat_cases(bundle, data, unit="mm"):
    return other_cases(bundle, CaseSource(data), NAMES, spatial_dims=2, unit=unit)[0]


def test_pictures_have_the_pixel_size_with_which_the_bundle_reads_them(tmp_path):
    half = write_bundle(tmp_path / "half", dims=2, spacing=[0.5, 0.5])
    plain = pictures(tmp_path / "plain")
    assert flat_cases(half, plain)[0]["label"]["tip"] == [2.0, 2.5]
    assert flat_cases(half, pictures(tmp_path / "same", 0.5))[0]["label"]["tip"] == [2.0, 2.5]
    with pytest.raises(UserError, match=r"hand.png: has pixels of 0.2 x 0.2 mm, but .* reads it with 0.5 x 0.5 mm"):
        flat_cases(half, pictures(tmp_path / "other", 0.2))
    unknown = write_bundle(tmp_path / "unknown", dims=2, unit="px")
    assert flat_cases(unknown, plain, unit="px")[0]["label"]["tip"] == [4.0, 5.0]
    with pytest.raises(UserError, match="its points are in mm, those of the bundle in px"):
        flat_cases(unknown, tmp_path / "other" / "points.csv", unit="px")
    with pytest.raises(UserError, match="its points are in px, those of the bundle in mm"):
        flat_cases(write_bundle(tmp_path / "files", dims=2), plain)
