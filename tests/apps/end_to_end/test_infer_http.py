"""The three tasks of a bundle through a running server, as Slicer and OHIF ask for them."""

import itertools
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import itk
import nibabel as nib
import numpy as np
import pytest
from app_tools import (
    BALL_RADIUS_MM,
    NAMES,
    POINTS,
    oblique_affine,
    save_points,
    true_world,
    write_fixed_bundle,
    write_volume,
)
from monailabel.client import MONAILabelClient

from auto_config.bundle_scripts.grid.label_map import draw_balls
from auto_config.bundle_scripts.points.landmark_files import read_markups, write_markups
from auto_config.bundle_scripts.points.landmarks import ABSENT, PRESENT, LandmarkSet

pytestmark = pytest.mark.usefixtures("warm_python")

SHAPE = (34, 30, 26)
AFFINES = {
    "pir": oblique_affine("pir"),
    "las": oblique_affine("las", (0.8, 1.0, 3.0)),
    "ras": oblique_affine("ras", (1.5, 1.5, 1.5), 0.0),
}
SMALLEST_SPACING_MM = 0.8
TOLERANCE_MM = 0.01 * SMALLEST_SPACING_MM
OHIF = {"result_extension": ".nrrd", "result_dtype": "uint8", "result_compress": False, "restore_label_idx": False}
WITHOUT_SCRIPT = "import nothing_of_this_name\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Bundles that the tests of this module may change, some of them broken in one way each."""
    root = tmp_path_factory.mktemp("bundles_to_change")
    write_fixed_bundle(root / "head")
    write_fixed_bundle(root / "Jaw.2", POINTS[2:], ("gnathion", "AC"), version="2.0.0", logit=1.0)
    write_fixed_bundle(root / "changing", POINTS[:1], NAMES[:1])
    write_fixed_bundle(root / "new", None, NAMES[:2])
    (write_fixed_bundle(root / "without_inference") / "configs" / "inference.json").unlink()
    (write_fixed_bundle(root / "damaged_names") / "configs" / "landmarks.json").write_text('{"landmarks": [')
    (write_fixed_bundle(root / "damaged_weights") / "models" / "model.pt").write_bytes(b"PK not weights")
    save_points(write_fixed_bundle(root / "foreign_weights") / "models" / "model.pt", POINTS[:2])
    (write_fixed_bundle(root / "damaged_script") / "scripts" / "fixed.py").write_text(WITHOUT_SCRIPT)
    (root / "notes").mkdir()
    return root


@pytest.fixture(scope="module")
def running(server, folder, make_studies):
    return server(folder, make_studies())


@pytest.fixture
def fresh_image(running):
    """A new image of the running server, about which nothing is known yet."""
    name = f"fresh{next(_numbers)}"
    write_volume(running.studies / f"{name}.nii.gz", AFFINES["pir"])
    for _ in range(100):
        if name in running.get("/datastore/?output=all")["objects"]:
            return name
        threading.Event().wait(0.1)
    raise AssertionError("the server does not see a new image")


_numbers = itertools.count()


def failure(running, model, image, params=None):
    status, headers, body = running.infer(model, image, params)
    assert headers["Content-Type"].startswith("application/json"), body
    return status, json.loads(body)["error"]


def world(landmarks):
    return np.array([landmarks[name]["world"] for name in NAMES])


def test_each_bundle_is_offered_as_three_tasks_with_its_own_names(running):
    models = running.get("/info/")["models"]
    labels = {name: value for value, name in enumerate(NAMES, start=1)}
    for task, kind in {"head": "segmentation", "head_edit": "deepedit", "head_points": "detection"}.items():
        assert models[task]["type"] == kind
        assert models[task]["labels"] == labels
        assert models[task]["dimension"] == 3
        assert models[task]["config"]["save_label"] is False
        assert models[task]["config"]["label_tag"] == ["original", "final"]
    assert models["head_points"]["config"]["points_format"] == ["roi", "fiducial"]
    assert models["Jaw.2"]["labels"] == {"gnathion": 1, "AC": 2}


@pytest.mark.parametrize("image", AFFINES)
def test_the_points_are_the_true_ones_in_every_orientation(running, image):
    for model in ("head", "head_points"):
        landmarks = running.landmarks(model, image)
        assert tuple(landmarks) == NAMES
        np.testing.assert_allclose(world(landmarks), true_world(AFFINES[image], SHAPE), atol=TOLERANCE_MM)
        for item in landmarks.values():
            homogeneous = AFFINES[image] @ [*item["voxel"], 1]
            np.testing.assert_allclose(homogeneous[:3], item["world"], atol=1e-4)
            assert item["present"] == 1
            assert 0.5 < item["confidence"] < 1
            assert item["radius_mm"] is None


def test_ohif_gets_the_raw_voxels_in_the_order_of_the_file(running):
    status, headers, body = running.infer("head", "pir", OHIF, output="image")
    assert status == 200
    assert headers["Content-Disposition"].endswith('.nrrd"')
    header, _, voxels = body.partition(b"\n\n")
    assert b"encoding: raw" in header
    assert b"type: unsigned char" in header
    labels = np.frombuffer(voxels, dtype=np.uint8).reshape(SHAPE, order="F")
    points = true_world(AFFINES["pir"], SHAPE)
    np.testing.assert_array_equal(labels, draw_balls(points, SHAPE, AFFINES["pir"], BALL_RADIUS_MM))
    assert set(np.unique(labels)) == {0, 1, 2, 3, 4}
    # The first two balls touch: somewhere 1 has 2 beside it.
    assert ((labels[:, :, :-1] == 1) & (labels[:, :, 1:] == 2)).any()


@pytest.mark.parametrize("ending", [".nrrd", ".nii.gz", ".nii"])
def test_label_maps_lie_where_the_image_lies(running, tmp_path, ending):
    for image, affine in AFFINES.items():
        status, _, body = running.infer("head", image, {"result_extension": ending}, output="image")
        assert status == 200
        path = tmp_path / f"{image}{ending}"
        path.write_bytes(body)
        if ending == ".nrrd":
            volume = itk.imread(str(path))
            corner = np.array(volume.TransformIndexToPhysicalPoint([33, 5, 20])) * [-1, -1, 1]
            labels = itk.array_from_image(volume).T
        else:
            volume = nib.load(path)
            corner = (volume.affine @ [33, 5, 20, 1])[:3]
            labels = np.asarray(volume.dataobj)
        np.testing.assert_allclose(corner, (affine @ [33, 5, 20, 1])[:3], atol=1e-3)
        assert labels.shape == SHAPE
        np.testing.assert_array_equal(labels, draw_balls(true_world(affine, SHAPE), SHAPE, affine, BALL_RADIUS_MM))


def test_slicers_client_gets_roi_boxes_with_the_names(running):
    client = MONAILabelClient(running.url)
    file, params = client.infer("head_points", "las", {"result_extension": ".nrrd", "result_dtype": "uint8"})
    assert file.endswith(".json")
    assert not file.endswith(".mrk.json")
    document = json.loads(Path(file).read_text(encoding="utf-8"))
    boxes = document["markups"]
    assert [box["controlPoints"][0]["label"] for box in boxes] == list(NAMES)
    assert [box["name"] for box in boxes] == list(NAMES)
    for box, point in zip(boxes, true_world(AFFINES["las"], SHAPE), strict=True):
        assert (box["type"], box["roiType"], box["coordinateSystem"]) == ("ROI", "Box", "LPS")
        np.testing.assert_allclose(np.array(box["center"]) * [-1, -1, 1], point, atol=TOLERANCE_MM)
        assert box["controlPoints"][0]["position"] == box["center"]
        assert box["size"] == [2 * BALL_RADIUS_MM] * 3
    assert params["label_names"] == {name: value for value, name in enumerate(NAMES, start=1)}
    assert [item["name"] for item in params["landmarks"]] == list(NAMES)


def test_fiducials_on_request(running):
    client = MONAILabelClient(running.url)
    file, _ = client.infer("head_points", "pir", {"points_format": "fiducial"})
    assert file.endswith(".mrk.json")
    markups = read_markups(file)
    assert markups.names == NAMES
    assert (markups.status == PRESENT).all()
    np.testing.assert_allclose(markups.points, true_world(AFFINES["pir"], SHAPE), atol=TOLERANCE_MM)


def test_a_click_moves_its_landmark_and_no_other(running, fresh_image):
    clicks = {"background": [], "Größe, 1": [[1, 2, 3], [20, 7, 9]], "Nose tip": []}
    landmarks = running.landmarks("head_edit", fresh_image, clicks)
    expected = true_world(AFFINES["pir"], SHAPE)
    expected[2] = (AFFINES["pir"] @ [20, 7, 9, 1])[:3]
    np.testing.assert_allclose(world(landmarks), expected, atol=TOLERANCE_MM)
    np.testing.assert_allclose(landmarks["Größe, 1"]["voxel"], [20, 7, 9], atol=1e-6)


def test_an_edit_answers_with_the_balls_at_the_new_places(running, fresh_image):
    status, _, body = running.infer("head_edit", fresh_image, {**OHIF, "EAR left": [[20, 7, 9]]}, output="image")
    assert status == 200
    labels = np.frombuffer(body.partition(b"\n\n")[2], dtype=np.uint8).reshape(SHAPE, order="F")
    points = true_world(AFFINES["pir"], SHAPE)
    points[3] = (AFFINES["pir"] @ [20, 7, 9, 1])[:3]
    np.testing.assert_array_equal(labels, draw_balls(points, SHAPE, AFFINES["pir"], BALL_RADIUS_MM))
    assert labels[20, 7, 9] == 4


def test_wrong_clicks_are_said(running):
    status, message = failure(running, "head_edit", "pir", {"Nase": [[1, 2, 3]]})
    assert status == 400
    assert "Nase" in message
    assert "Nose tip" in message
    status, message = failure(running, "head_edit", "pir", {"EAR left": [[34, 2, 3]]})
    assert (status, "0..33 x 0..29 x 0..25" in message) == (400, True)
    assert failure(running, "head_edit", "pir", {"EAR left": [[1, 2]]})[0] == 400


def test_a_bundle_without_weights_says_so(running):
    assert running.get("/info/")["bundles"]["new"]["trained"] is False
    for model in ("new", "new_points", "new_edit"):
        status, message = failure(running, model, "pir")
        assert status == 409
        assert "no weights" in message


def test_all_landmarks_can_be_clicked_without_any_weights(running, fresh_image):
    clicks = {NAMES[0]: [[3, 4, 5]], NAMES[1]: [[6, 7, 8]]}
    landmarks = running.landmarks("new_edit", fresh_image, clicks)
    for name, [voxel] in clicks.items():
        np.testing.assert_allclose(landmarks[name]["world"], (AFFINES["pir"] @ [*voxel, 1])[:3], atol=1e-4)


def test_broken_bundles_are_listed_or_answer_with_what_is_wrong(running):
    info = running.get("/info/")
    for name, file in {"without_inference": "inference.json", "damaged_names": "landmarks.json"}.items():
        assert file in info["bundles"][name]["error"]
        assert name not in info["models"]
        assert "/" not in info["bundles"][name]["error"].replace(f"{name}/configs/{file}", "")
    assert "notes" not in info["bundles"]
    for name, word in {
        "damaged_weights": "model.pt",
        "foreign_weights": "model.pt",
        "damaged_script": "nothing",
    }.items():
        status, message = failure(running, name, "pir")
        assert status == 500
        assert word in message
        assert running.get("/info/")["bundles"][name]["error"] in message
    assert world(running.landmarks("head", "pir")).shape == (4, 3)


def test_bundles_never_use_each_others_code(running):
    expected = {"head": 1 / (1 + np.exp(-2.0)), "Jaw.2": 1 / (1 + np.exp(-1.0))}
    for model in ("head", "Jaw.2", "head", "Jaw.2"):
        confidences = [item["confidence"] for item in running.landmarks(model, "ras").values()]
        # Peaks lie between voxels, so the highest logit is a little below the one in the code.
        assert max(confidences) < expected[model]
        assert min(confidences) > expected[model] - 0.1


def test_new_weights_are_used_by_the_next_request_also_when_many_ask(running, folder):
    """Whatever an answer says, it is one of the points that were written, and never an older one than the last."""
    written = [(0.2 + 0.06 * number, 0.5, 0.5) for number in range(8)]
    expected = np.array([true_world(AFFINES["ras"], SHAPE, [point])[0] for point in written])
    path = folder / "changing" / "models" / "model.pt"

    def ask(_):
        return running.landmarks("changing", "ras")[NAMES[0]]["world"]

    with ThreadPoolExecutor(6) as pool:
        for number, point in enumerate(written):
            save_points(path, [point])
            for answer in pool.map(ask, range(3)):
                distances = np.linalg.norm(expected - answer, axis=1)
                assert distances.argmin() == number
                assert distances.min() < TOLERANCE_MM


def test_an_ensemble_is_used_and_followed(running, folder):
    models = folder / "changing" / "models"
    for fold, x in enumerate((0.45, 0.55)):
        (models / f"fold_{fold}").mkdir(exist_ok=True)
        save_points(models / f"fold_{fold}" / "model.pt", [(x, 0.5, 0.5)])
    (models / "ensemble.json").write_text(json.dumps({"files": ["fold_1/model.pt"]}))
    found = running.landmarks("changing", "ras")[NAMES[0]]["world"]
    np.testing.assert_allclose(found, true_world(AFFINES["ras"], SHAPE, [(0.55, 0.5, 0.5)])[0], atol=TOLERANCE_MM)
    (models / "ensemble.json").write_text(json.dumps({"files": ["fold_0/model.pt", "fold_1/model.pt"]}))
    between = running.landmarks("changing", "ras")[NAMES[0]]["world"]
    np.testing.assert_allclose(between, true_world(AFFINES["ras"], SHAPE, [(0.5, 0.5, 0.5)])[0], atol=0.1)
    (models / "ensemble.json").unlink()


def test_paths_are_no_images(running, tmp_path):
    outside = write_volume(tmp_path / "outside.nii.gz", AFFINES["ras"])
    for image in (str(outside), "../pir", "pir.nii.gz", ""):
        assert failure(running, "head", image)[0] in (400, 404)


def test_a_damaged_image_is_said_and_the_next_one_works(running):
    (running.studies / "damaged.nii.gz").write_bytes(b"no image")
    for _ in range(100):
        if "damaged" in running.get("/datastore/?output=all")["objects"]:
            break
        threading.Event().wait(0.1)
    for model in ("head", "head_edit"):
        status, message = failure(running, model, "damaged")
        assert status == 422
        assert str(running.studies) not in message
    assert world(running.landmarks("head", "pir")).shape == (4, 3)


def test_landmark_files_are_no_images(running):
    for name in ("pir.mrk.json", "points.fcsv", "points.json"):
        (running.studies / name).write_text("{}")
    threading.Event().wait(1.0)
    assert not [name for name in running.get("/datastore/?output=all")["objects"] if "points" in name or "mrk" in name]


def test_an_edit_begins_with_the_newest_that_is_known(running, fresh_image):
    """A click stays through the next edit, gives way to a new inference, and that to a label that is saved after it."""
    truth = true_world(AFFINES["pir"], SHAPE)
    running.landmarks("head_edit", fresh_image, {"EAR left": [[20, 7, 9]]})
    landmarks = running.landmarks("head_edit", fresh_image, {"Nose tip": [[5, 6, 7]]})
    expected = truth.copy()
    expected[3] = (AFFINES["pir"] @ [20, 7, 9, 1])[:3]
    expected[0] = (AFFINES["pir"] @ [5, 6, 7, 1])[:3]
    np.testing.assert_allclose(world(landmarks), expected, atol=TOLERANCE_MM)

    running.landmarks("head", fresh_image)
    np.testing.assert_allclose(world(running.landmarks("head_edit", fresh_image)), truth, atol=TOLERANCE_MM)


def test_what_ohif_saves_keeps_its_sub_voxel_points(running, fresh_image):
    """OHIF cannot submit: the option saves on the server. The clicked landmark moved, the others are not rounded."""
    params = {**OHIF, "save_label": True, "label_tag": "final", "EAR left": [[20, 7, 9]]}
    assert running.infer("head_edit", fresh_image, params, output="image")[0] == 200
    labels = running.get("/datastore/?output=all")["objects"][fresh_image]["labels"]
    assert list(labels) == ["final"]
    saved = read_markups(running.studies / "labels" / "final" / f"{fresh_image}.mrk.json")
    assert saved.names == NAMES
    expected = true_world(AFFINES["pir"], SHAPE)
    expected[3] = (AFFINES["pir"] @ [20, 7, 9, 1])[:3]
    np.testing.assert_allclose(saved.points, expected, atol=TOLERANCE_MM)


def test_an_edit_begins_with_a_label_that_a_person_saved(running, fresh_image, tmp_path):
    running.landmarks("head", fresh_image)
    points = true_world(AFFINES["pir"], SHAPE)
    points[1] += [1.25, -0.5, 0.75]
    status = np.array([PRESENT, PRESENT, ABSENT, PRESENT], dtype=np.int8)
    points[2] = np.nan
    write_markups(tmp_path / "corrected.mrk.json", LandmarkSet(NAMES, points, status))
    MONAILabelClient(running.url).save_label(fresh_image, str(tmp_path / "corrected.mrk.json"))
    landmarks = running.landmarks("head_edit", fresh_image, {"Nose tip": [[5, 6, 7]]})
    assert [landmarks[name]["present"] for name in NAMES] == [1, 1, 0, 1]
    np.testing.assert_allclose(landmarks["nose Tip"]["world"], points[1], atol=1e-6)
    np.testing.assert_allclose(landmarks["Nose tip"]["voxel"], [5, 6, 7], atol=1e-6)
    # A click brings the absent one back.
    landmarks = running.landmarks("head_edit", fresh_image, {"Größe, 1": [[8, 8, 8]]})
    assert [landmarks[name]["present"] for name in NAMES] == [1, 1, 1, 1]
    np.testing.assert_allclose(landmarks["Nose tip"]["voxel"], [5, 6, 7], atol=1e-6)
