"""A bundle that finds any number of a landmark, through a running server, as the clients use it."""

import json

import nibabel as nib
import numpy as np
import pytest
import requests
from app_tools import BALL_RADIUS_MM, oblique_affine, true_world, write_volume
from LandmarkBundlesLib.landmarks import DEFINED, Landmark
from LandmarkBundlesLib.logic import LandmarkServer
from many_tools import MANY_NAMES, NASION, SUTURES, save_several, write_many_bundle
from monailabel.client import MONAILabelClient

from auto_config.bundle_scripts.grid.label_map import draw_balls
from auto_config.bundle_scripts.points.landmark_files import read_markups

pytestmark = pytest.mark.usefixtures("warm_python")

AFFINE = oblique_affine("pir")
SHAPE = (34, 30, 26)
IMAGES = ("a", "b", "c", "d")
MANY = ("suture",)


@pytest.fixture(scope="module")
def running(tmp_path_factory, server):
    folder = tmp_path_factory.mktemp("many")
    write_many_bundle(folder / "bundles" / "skull")
    for seed, image in enumerate(IMAGES):
        write_volume(folder / "studies" / f"{image}.nii.gz", AFFINE, SHAPE, seed=seed)
    one = server(folder / "bundles", folder / "studies")
    one.root = folder / "bundles" / "skull"
    return one


def found(running, model, image, params=None):
    """World points of all sutures, and of the nasion, of an answer."""
    status, _, body = running.infer(model, image, params, output="json")
    assert status == 200, body
    items = json.loads(body)["landmarks"]
    sutures = [item for item in items if item["name"] == "suture"]
    assert [item["instance"] for item in sutures] == list(range(1, len(sutures) + 1))
    return np.array([item["world"] for item in sutures]), np.array(items[0]["world"])


def near(points, expected, atol):
    distances = np.linalg.norm(np.asarray(points)[:, None] - np.asarray(expected)[None], axis=-1)
    return distances.shape[0] == distances.shape[1] and bool((distances.min(axis=1) <= atol).all())


def final(running, image):
    return read_markups(running.studies / "labels/final" / f"{image}.mrk.json", many=MANY)


def test_it_is_offered_and_says_what_there_may_be_many_of(running):
    info = running.get("/info/")
    assert info["bundles"]["skull"]["error"] is None
    for task in ("skull", "skull_edit", "skull_points"):
        assert info["models"][task]["many"] == ["suture"]
        assert info["models"][task]["labels"] == {"nasion": 1, "suture": 2}


def test_slicers_label_map_comes_back_with_all_points(running, tmp_path):
    client = MONAILabelClient(running.url)
    file, params = client.infer("skull", "a", {"result_extension": ".nii.gz"})
    expected = true_world(AFFINE, SHAPE, [*NASION, *SUTURES])
    items = params["landmarks"]
    assert [item["name"] for item in items] == ["nasion", *["suture"] * 3]
    assert near([item["world"] for item in items], expected, 0.5)  # the two that touch draw each other nearer
    image = nib.load(file)
    labels = np.asarray(image.dataobj).copy()
    points = np.array([item["world"] for item in items])
    np.testing.assert_array_equal(labels, draw_balls(points, SHAPE, AFFINE, BALL_RADIUS_MM, np.array([1, 2, 2, 2])))
    names = {"label_info": [{"name": name, "idx": k} for k, name in enumerate(MANY_NAMES, start=1)]}
    client.save_label("a", file, "final", names)
    np.testing.assert_allclose(final(running, "a").instances["suture"], points[1:], atol=1e-6)
    # The annotator erases one and draws another.
    erased = draw_balls(points, SHAPE, AFFINE, BALL_RADIUS_MM) == 4
    labels[erased] = 0
    new = (AFFINE @ [30, 4, 4, 1])[:3]
    labels[draw_balls(new[None], SHAPE, AFFINE, BALL_RADIUS_MM) > 0] = 2
    nib.save(nib.Nifti1Image(labels, image.affine), tmp_path / "corrected.nii.gz")
    client.save_label("a", str(tmp_path / "corrected.nii.gz"), "final", names)
    sutures = final(running, "a").instances["suture"]
    assert len(sutures) == 3
    np.testing.assert_allclose(sutures[:2], points[1:3], atol=1e-6)
    assert np.linalg.norm(sutures[2] - new) < 1.0


def test_clicks_add_move_and_are_stored(running):
    before, nasion = found(running, "skull", "b")
    voxel = [30, 4, 4]
    world = (AFFINE @ [*voxel, 1])[:3]
    after, same = found(running, "skull_edit", "b", {"suture": [voxel]})
    np.testing.assert_allclose(after, [*before, world], atol=1e-4)
    np.testing.assert_allclose(same, nasion)
    moved = [30, 4, 5]
    params = {"suture": [voxel, moved], "save_label": True, "label_tag": "final"}
    after, _ = found(running, "skull_edit", "b", params)
    expected = [*before, (AFFINE @ [*moved, 1])[:3]]
    np.testing.assert_allclose(after, expected, atol=1e-4)
    np.testing.assert_allclose(final(running, "b").instances["suture"], expected, atol=1e-4)
    # The client repeats its clicks when another landmark is clicked.
    after, elsewhere = found(running, "skull_edit", "b", {"suture": [voxel, moved], "nasion": [[4, 20, 20]]})
    np.testing.assert_allclose(after, expected, atol=1e-4)
    np.testing.assert_allclose(elsewhere, (AFFINE @ [4, 20, 20, 1])[:3], atol=1e-4)


def test_the_module_and_the_boxes_of_the_extension_come_back(running):
    module = LandmarkServer(running.url)
    (bundle,) = module.bundles()
    assert bundle.many == ("suture",)
    landmarks = module.infer("skull", "c")
    assert [item.name for item in landmarks] == ["nasion", *["suture"] * 3]
    added = (AFFINE @ [28, 5, 6, 1])[:3]
    module.submit("c", [*landmarks, Landmark("suture", DEFINED, tuple(added * [-1, -1, 1]))], bundle)
    expected = [np.array(item.position) * [-1, -1, 1] for item in landmarks[1:]]
    sutures = final(running, "c").instances["suture"]
    np.testing.assert_allclose(sutures, [*expected, added], atol=1e-6)
    client = MONAILabelClient(running.url)
    file, _ = client.infer("skull_points", "c", {"result_extension": ".nrrd"})
    client.save_label("c", file, "final", {})
    assert near(final(running, "c").instances["suture"], expected, 1e-6)
    info = running.get("/datastore/?output=all")["objects"]["c"]["labels"]["final"]["info"]
    assert info["kept"] == list(MANY_NAMES)


def test_none_found_and_scores(running):
    found(running, "skull", "d", {"save_label": True, "label_tag": "original"})
    path = running.root / "models/model.pt"
    before = path.read_bytes()
    save_several(path, NASION, ())
    try:
        status, _, body = running.infer("skull", "d", output="json")
    finally:
        path.with_suffix(".tmp").write_bytes(before)
        path.with_suffix(".tmp").replace(path)
    items = json.loads(body)["landmarks"]
    assert (status, [(item["name"], item["present"]) for item in items]) == (200, [("nasion", 1), ("suture", 0)])
    landmarks = LandmarkServer(running.url)
    (bundle,) = landmarks.bundles()
    offered = landmarks.infer("skull", "d")
    landmarks.submit("d", offered[:3], bundle)  # the third suture was wrong
    answer = requests.post(f"{running.url}/scoring/landmark_error?run_sync=true", json={}, timeout=120)
    assert answer.status_code == 200, answer.text
    scores = running.get("/datastore/?output=all")["objects"]["d"]["image"]["info"]["landmark_error"]
    block = scores["instances"]["suture"]
    assert (block["found"], block["missed"], block["invented"]) == (2, 0, 1)
    strategies = running.get("/info/")["strategies"]
    assert "uncertainty" in strategies
    for strategy in strategies:
        assert requests.post(f"{running.url}/activelearning/{strategy}", json={}, timeout=60).status_code == 200
