"""Clicks, label maps and Slicer's files, each against what it must be in numbers."""

import json

import itk
import nibabel as nib
import numpy as np
import pytest
from app_tools import oblique_affine
from hypothesis import given, settings
from hypothesis import strategies as st
from landmark_app.lib.core.errors import ClientError
from landmark_app.lib.labels.label_map_files import write_label_map
from landmark_app.lib.labels.slicer_files import write_fiducials, write_roi_boxes
from landmark_app.lib.store.known import KnownPoint
from landmark_app.lib.tasks import infer
from landmark_app.lib.tasks.bundles import ServedBundle
from landmark_app.lib.tasks.definitions import definitions
from landmark_app.lib.tasks.editing import edited, read_clicks
from landmark_app.lib.tasks.infer import choice, label_map_ending

from auto_config.bundle_scripts.points.landmark_files import read_markups
from auto_config.bundle_scripts.points.landmarks import ABSENT, PRESENT

AFFINE = oblique_affine("pir")
NAMES = ("A", "a", "Größe, 1")


def landmark(name, world, present=1):
    return {"name": name, "world": list(world), "voxel": [0.0] * 3, "confidence": 0.25, "present": present}


@settings(deadline=None, derandomize=True, max_examples=15)
@given(
    position=st.tuples(st.sampled_from(["ras", "las", "pir"]), st.tuples(*[st.floats(0.3, 5)] * 3), st.floats(-40, 40)),
    shear=st.floats(-0.3, 0.3),
    ending=st.sampled_from([".nrrd", ".mha", ".nii.gz", ".nii"]),
    many=st.booleans(),
)
def test_a_label_map_keeps_voxels_and_place(tmp_path_factory, position, shear, ending, many):
    tilt = np.eye(4)
    tilt[0, 2] = shear
    affine = oblique_affine(*position) @ tilt
    labels = np.random.default_rng(3).integers(0, 300 if many else 200, (5, 4, 3))
    labels = labels.astype(np.uint16 if many else np.uint8)
    path = tmp_path_factory.mktemp("maps") / f"map{ending}"
    write_label_map(path, labels, affine)
    voxel = np.array([3, 1, 2])
    if ending.startswith(".nii"):
        image = nib.load(path)
        found, where = np.asarray(image.dataobj), (image.affine @ [*voxel, 1])[:3]
    else:
        image = itk.imread(str(path))
        found = itk.array_from_image(image).T
        where = np.array(image.TransformIndexToPhysicalPoint(voxel.tolist())) * [-1, -1, 1]
    assert found.dtype == labels.dtype
    np.testing.assert_array_equal(found, labels)
    np.testing.assert_allclose(where, (affine @ [*voxel, 1])[:3], atol=1e-4)


def test_nrrd_is_compressed_only_on_request(tmp_path):
    labels = np.zeros((40, 40, 40), dtype=np.uint8)
    write_label_map(tmp_path / "raw.nrrd", labels, AFFINE)
    write_label_map(tmp_path / "small.nrrd", labels, AFFINE, compress=True)
    assert (tmp_path / "raw.nrrd").stat().st_size > labels.size > 10 * (tmp_path / "small.nrrd").stat().st_size


def test_the_last_click_of_each_landmark_counts():
    request = {
        "model": "head_edit",
        "label": "A",
        "label_tag": ["original", "final"],
        "background": [[1, 1, 1]],
        "A": [[1, 2, 3], [4, 5, 6]],
        "a": [],
        "Größe, 1": [[0, 0, 9.4]],
    }
    clicks = read_clicks(request, NAMES, (10, 10, 10))
    assert {name: voxel.tolist() for name, voxel in clicks.items()} == {"A": [[4, 5, 6]], "Größe, 1": [[0, 0, 9.4]]}


@pytest.mark.parametrize(
    ("point", "message"),
    [
        ([1, 2], r"not \[i, j, k\]"),
        ([1, 2, "3"], r"not \[i, j, k\]"),
        ([1, 2, float("nan")], r"not \[i, j, k\]"),
        ([True, 2, 3], r"not \[i, j, k\]"),
        ([1, 2, 9.5], r"outside of the image, whose voxels are 0\.\.9 x 0\.\.9 x 0\.\.9"),
        ([-0.6, 2, 3], "outside of the image"),
    ],
)
def test_a_wrong_click_is_refused(point, message):
    with pytest.raises(ClientError, match=message):
        read_clicks({"A": [point]}, NAMES, (10, 10, 10))


def test_a_click_of_an_unknown_landmark_lists_the_known_ones():
    with pytest.raises(ClientError, match="'B', which is none of the landmarks A, a, Größe, 1"):
        read_clicks({"B": [[1, 2, 3]]}, NAMES, (10, 10, 10))


def test_an_edit_takes_clicks_before_knowledge_before_what_is_found():
    found = [landmark(name, [k, 0, 0]) for k, name in enumerate(NAMES)]
    known = {"a": [KnownPoint(np.array([7.25, 8, 9]), 0.5, 1.5)], "A": [KnownPoint(np.zeros(3))]}
    landmarks = edited(NAMES, {"A": np.array([[3.0, 4, 5]])}, known, found, AFFINE)
    assert [item["name"] for item in landmarks] == list(NAMES)
    np.testing.assert_allclose(landmarks[0]["world"], (AFFINE @ [3, 4, 5, 1])[:3])
    np.testing.assert_allclose(landmarks[0]["voxel"], [3, 4, 5], atol=1e-9)
    assert (landmarks[0]["confidence"], landmarks[0]["present"]) == (1.0, 1)
    assert landmarks[1]["world"] == [7.25, 8, 9]
    assert (landmarks[1]["confidence"], landmarks[1]["radius_mm"]) == (0.5, 1.5)
    assert landmarks[2] is found[2]


def test_a_click_brings_an_absent_landmark_back():
    known = {name: [KnownPoint(None)] for name in NAMES}
    landmarks = edited(NAMES, {"a": np.array([[1.0, 1, 1]])}, known, [], AFFINE)
    assert [item["present"] for item in landmarks] == [0, 1, 0]
    assert landmarks[0]["world"] is None


def test_absent_landmarks_have_no_box_and_are_missing_in_a_list(tmp_path):
    items = [landmark("A", [1, 2, 3]), landmark("a", [4, 5, 6], present=0), landmark("Größe, 1", [-7.125, 8, 9])]
    items[1]["world"] = None
    write_roi_boxes(tmp_path / "boxes.json", items, size_mm=5.0)
    boxes = json.loads((tmp_path / "boxes.json").read_text(encoding="utf-8"))["markups"]
    assert [(box["name"], box["center"]) for box in boxes] == [("A", [-1, -2, 3]), ("Größe, 1", [7.125, -8, 9])]
    assert all(box["size"] == [5.0] * 3 for box in boxes)
    write_fiducials(tmp_path / "points.mrk.json", items)
    markups = read_markups(tmp_path / "points.mrk.json")
    assert markups.names == NAMES
    assert markups.status.tolist() == [PRESENT, ABSENT, PRESENT]
    np.testing.assert_array_equal(markups.points[2], [-7.125, 8, 9])


def test_an_image_without_any_landmark_is_a_file_all_the_same(tmp_path):
    items = [landmark("A", [1, 2, 3], present=0)]
    write_roi_boxes(tmp_path / "boxes.json", items, size_mm=5.0)
    assert json.loads((tmp_path / "boxes.json").read_text(encoding="utf-8"))["markups"] == []


def test_options_have_a_default_and_a_list_of_what_is_allowed():
    assert choice({}, "label_tag", ("original", "final")) == "original"
    assert choice({"label_tag": ["original", "final"]}, "label_tag", ("original", "final")) == "original"
    assert choice({"label_tag": "final"}, "label_tag", ("original", "final")) == "final"
    with pytest.raises(ClientError, match="label_tag is 'x'; allowed are original, final"):
        choice({"label_tag": "x"}, "label_tag", ("original", "final"))


def test_the_ending_of_a_label_map():
    assert label_map_ending({}) == ".nrrd"
    assert label_map_ending({"result_extension": ".nii.gz"}) == ".nii.gz"
    assert label_map_ending({"result_extension": ".seg.nrrd"}) == ".nrrd"
    with pytest.raises(ClientError, match=r"allowed are \.nrrd"):
        label_map_ending({"result_extension": ".png"})


def test_a_device_may_be_named_as_clients_show_it_or_as_torch_does(bundles, monkeypatch):
    monkeypatch.setattr(infer, "device_list", lambda: ["Card:0", "Card:1"])
    monkeypatch.setattr(infer, "device_map", lambda: {"Card:0": "cuda:0", "Card:1": "cuda:1"})
    bundle = ServedBundle(bundles / "head")
    used = []
    monkeypatch.setattr(bundle, "predict", lambda image, device, **_: used.append(device))
    task = infer.LandmarkInfer(bundle)
    for device in (None, "Card:1", ["Card:0", "Card:1"], "cuda:1", "cpu"):
        task.find({"image": "x.nii.gz", "device": device})
    assert used == ["cuda:0", "cuda:1", "cuda:0", "cuda:1", "cpu"]
    with pytest.raises(ClientError, match="device is 'cuda:7'; allowed are Card:0, Card:1"):
        task.find({"image": "x.nii.gz", "device": "cuda:7"})


def test_definitions_of_an_atlas(tmp_path, caplog):
    assert definitions(tmp_path, NAMES) == []
    (tmp_path / "atlas").mkdir()
    file = tmp_path / "atlas" / "atlas.json"
    rows = [
        {"name": "a", "definition": "low", "pictures": ["a.png"]},
        {"name": "A", "definition": "high"},
        {"name": "x"},
    ]
    file.write_text(json.dumps({"landmarks": rows}), encoding="utf-8")
    assert definitions(tmp_path, NAMES) == [{"name": "A", "definition": "high"}, {"name": "a", "definition": "low"}]
    for text in ("{", "[]", '{"landmarks": [1]}', '{"landmarks": [{}]}'):
        caplog.clear()
        file.write_text(text, encoding="utf-8")
        assert definitions(tmp_path, NAMES) == []
        assert "is no atlas" in caplog.text
