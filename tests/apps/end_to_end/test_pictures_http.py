"""Bundles for pictures through a running server, in the places where Slicer shows the pictures."""

import json
from pathlib import Path

import itk
import numpy as np
import pytest
from app_tools import oblique_affine, write_volume
from LandmarkBundlesLib.logic import LandmarkServer
from monailabel.client import MONAILabelClient
from picture_tools import NAMES, pixels, write_picture, write_picture_bundle

from auto_config.bundle_scripts.points.landmark_files import read_markups

pytestmark = pytest.mark.usefixtures("warm_python")

DPI = (254, 127)
"""Of a JPEG; ITK, and so Slicer, takes it for pixels of 0.1 x 0.2 mm."""
SIZES = {"plain": (1.0, 1.0), "jpeg": (0.1, 0.2), "tiff": (1.0, 1.0)}
RAS = np.array([-1.0, -1.0, 1.0])


@pytest.fixture(scope="module")
def running(tmp_path_factory, server):
    """``face`` knows no pixel size; ``ruler`` was told 0.5 mm, whatever the files say."""
    folder = tmp_path_factory.mktemp("pictures")
    write_picture_bundle(folder / "bundles" / "face")
    write_picture_bundle(folder / "bundles" / "ruler", [0.5, 0.5], ball_radius_mm=1.5)
    write_picture(folder / "studies" / "plain.png")
    write_picture(folder / "studies" / "jpeg.jpg", 1, dpi=DPI)
    write_picture(folder / "studies" / "tiff.tif", 2)
    write_volume(folder / "studies" / "volume.nii.gz", oblique_affine())
    return server(folder / "bundles", folder / "studies")


def shown(image) -> np.ndarray:
    """(3, 3) RAS mm of the landmarks where Slicer shows the picture: pixel x its size along L and P."""
    flat = pixels() * SIZES[image]
    return np.column_stack([flat, np.zeros(3)]) * RAS


def world(landmarks) -> np.ndarray:
    return np.array([landmarks[name]["world"] for name in NAMES])


def final(running, image):
    return read_markups(running.studies / "labels/final" / f"{image}.mrk.json")


@pytest.mark.parametrize("model", ["face", "ruler"])
@pytest.mark.parametrize("image", list(SIZES))
def test_points_lie_where_slicer_shows_the_picture(running, image, model):
    landmarks = running.landmarks(model, image)
    np.testing.assert_allclose(world(landmarks), shown(image), atol=0.05)
    for name, pixel in zip(NAMES, pixels(), strict=True):
        np.testing.assert_allclose(landmarks[name]["voxel"], [*pixel, 0], atol=0.05)
        assert "covariance_mm2" not in landmarks[name]
    client = MONAILabelClient(running.url)
    file, _ = client.infer(f"{model}_points", image, {"points_format": "fiducial"})
    np.testing.assert_allclose(read_markups(file).points, world(landmarks), atol=1e-9)
    file, _ = client.infer(f"{model}_points", image, {})
    boxes = json.loads(Path(file).read_text(encoding="utf-8"))["markups"]
    np.testing.assert_allclose([np.array(box["center"]) * RAS for box in boxes], world(landmarks), atol=1e-9)


@pytest.mark.parametrize("image", ["plain", "jpeg"])
def test_the_label_map_lies_over_the_picture_and_comes_back(running, image):
    client = MONAILabelClient(running.url)
    file, params = client.infer("ruler", image, {"result_extension": ".nrrd", "result_dtype": "uint8"})
    labels = itk.imread(file)
    picture = itk.imread(str(next(running.studies.glob(f"{image}.*"))))
    assert list(labels.GetLargestPossibleRegion().GetSize()) == [*picture.GetLargestPossibleRegion().GetSize(), 1]
    for value, pixel in enumerate(np.rint(pixels()).astype(int), start=1):
        index = [int(x) for x in pixel]
        assert labels.GetPixel([*index, 0]) == value
        place = np.array(labels.TransformIndexToPhysicalPoint([*index, 0]))
        np.testing.assert_allclose(place[:2], np.array(picture.TransformIndexToPhysicalPoint(index)), atol=1e-9)
    client.save_label(image, file, "final", {"label_info": [{"name": name} for name in NAMES]})
    points = np.array([item["world"] for item in params["landmarks"]])
    np.testing.assert_allclose(final(running, image).points, points, atol=1e-9)
    info = running.get("/datastore/?output=all")["objects"][image]["labels"]["final"]["info"]
    assert info["kept"] == list(NAMES)


def test_a_click_moves_and_the_module_submits(running):
    landmarks = running.landmarks("ruler_edit", "jpeg", {"nasion": [[10, 30, 0]]})
    expected = shown("jpeg")
    expected[1] = [-1.0, -6.0, 0.0]
    np.testing.assert_allclose(world(landmarks), expected, atol=0.05)
    module = LandmarkServer(running.url)
    bundle = next(one for one in module.bundles() if one.name == "face")
    found = module.infer("face", "tiff")
    module.submit("tiff", found, bundle)
    np.testing.assert_allclose(final(running, "tiff").points, shown("tiff"), atol=0.05)
    status, _, body = running.infer("face_edit", "plain", {"nasion": [[60, 1, 0]]}, output="json")
    assert (status, "0..59 x 0..43 x 0..0" in json.loads(body)["error"]) == (400, True)


def test_a_volume_is_refused_and_pictures_are_taken(running, tmp_path):
    for model in ("face", "face_edit"):
        status, _, body = running.infer(model, "volume", {"sella": [[1, 1, 1]]} if "edit" in model else {})
        assert status == 422
        assert "volume" in json.loads(body)["error"]
    client = MONAILabelClient(running.url)
    client.upload_image(str(write_picture(tmp_path / "sent.png", 5)), "sent")
    np.testing.assert_allclose(world(running.landmarks("face", "sent")), shown("plain"), atol=0.05)
    damaged = tmp_path / "damaged.png"
    damaged.write_bytes(write_picture(tmp_path / "x.png").read_bytes()[:80])
    with pytest.raises(Exception, match="422"):
        client.upload_image(str(damaged), "damaged")


def test_an_edit_begins_with_what_is_known(running):
    """What was clicked stays at the next edit, in the same place."""
    first = running.landmarks("face_edit", "plain", {"menton": [[3, 40, 0]]})
    again = running.landmarks("face_edit", "plain", {"sella": [[50, 2, 0]]})
    np.testing.assert_allclose(again["menton"]["world"], first["menton"]["world"])
    np.testing.assert_allclose(again["sella"]["world"], [-50, -2, 0])
