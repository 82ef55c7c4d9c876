"""Bundles of a folder: which are served, when they are opened again, what goes wrong in words."""

import json
import os
import time
from http import HTTPStatus

import numpy as np
import pytest
from app_tools import NAMES, POINTS, oblique_affine, save_points, true_world, write_fixed_bundle, write_volume
from landmark_app.lib.core.errors import ClientError
from landmark_app.lib.tasks.bundles import ServedBundle, bundle_folders, find_bundles, read_card, without_pictures
from picture_tools import write_picture, write_picture_bundle

from auto_config.errors import UserError

AFFINE = oblique_affine("ras", (1.5, 1.5, 1.5), 0.0)
SHAPE = (24, 22, 20)


@pytest.fixture
def image(tmp_path):
    return write_volume(tmp_path / "image.nii.gz", AFFINE, SHAPE)


def test_the_card_says_what_the_bundle_finds(bundles):
    card = read_card(bundles / "Jaw.2")
    assert (card.names, card.version, card.ball_radius_mm) == (("gnathion", "AC"), "2.0.0", 4.0)
    assert card.description == "Finds 2 landmarks."


def test_the_card_says_of_which_landmarks_there_are_many(own_bundles):
    path = own_bundles / "head" / "configs" / "landmarks.json"
    table = json.loads(path.read_text(encoding="utf-8"))
    assert read_card(own_bundles / "head").many == {}
    table["landmarks"][1] |= {"instances": "many", "most_instances": 4, "min_distance_mm": 2.5}
    path.write_text(json.dumps(table), encoding="utf-8")
    assert read_card(own_bundles / "head").many == {NAMES[1]: 2.5}


def test_a_folder_gives_its_bundles_and_what_is_wrong_with_the_others(own_bundles):
    (own_bundles / "head").rename(own_bundles / "has space")
    (own_bundles / "Jaw.2" / "configs" / "metadata.json").write_text("{")
    write_fixed_bundle(own_bundles / "new_points")
    (own_bundles / "empty").mkdir()
    served, broken = find_bundles(own_bundles)
    assert list(served) == ["new"]
    assert set(broken) == {"has space", "Jaw.2", "new_points"}
    assert "'new'" in broken["new_points"]
    assert "metadata.json" in broken["Jaw.2"]
    assert not any(str(own_bundles) in message for name, message in broken.items() if name == "Jaw.2")


def test_bundles_for_pictures_are_not_served_on_a_dicomweb_server(own_bundles):
    write_picture_bundle(own_bundles / "face", [0.5, 0.25])
    served, _ = find_bundles(own_bundles)
    assert (served["face"].card.spatial_dims, served["face"].card.pixel_spacing) == (2, (0.5, 0.25))
    kept, pictures = without_pictures(served)
    assert set(served) - set(kept) == {"face"} == set(pictures)
    assert "from a folder" in pictures["face"]


def test_only_the_chosen_bundles_are_served(bundles):
    assert list(find_bundles(bundles, ["new", "head"])[0]) == ["new", "head"]
    with pytest.raises(UserError, match=r"has no bundle 'heart'; there are Jaw\.2, head, new"):
        find_bundles(bundles, ["heart"])


def test_a_folder_without_bundles_is_refused(bundles, tmp_path):
    with pytest.raises(UserError, match="holds no bundle"):
        bundle_folders(tmp_path)
    with pytest.raises(UserError, match="is a bundle itself"):
        bundle_folders(bundles / "head")
    with pytest.raises(UserError, match="is no folder"):
        bundle_folders(tmp_path / "nowhere")


def test_a_bundle_for_volumes_refuses_a_picture(own_bundles, tmp_path):
    """Also one whose own reader would take it."""
    with pytest.raises(ClientError, match="is a picture; this bundle was made for 3D") as refused:
        ServedBundle(own_bundles / "head").predict(write_picture(tmp_path / "a.png"))
    assert refused.value.status == HTTPStatus.UNPROCESSABLE_ENTITY


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("landmarks", "[]"),
        ("landmarks", '{"spatial_dims": 3, "landmarks": [{}]}'),
        ("landmarks", '{"spatial_dims": 4, "landmarks": []}'),
        ("metadata", "null"),
        ("inference", '{"postprocessing": {"transforms": []}}'),
        ("inference", "\x00"),
    ],
)
def test_a_damaged_config_is_one_line_with_the_file(own_bundles, file, content):
    (own_bundles / "head" / "configs" / f"{file}.json").write_text(content)
    with pytest.raises(UserError, match=f"{file}.json") as raised:
        ServedBundle(own_bundles / "head")
    assert "\n" not in str(raised.value)


def test_weights_are_read_once(own_bundles, image, monkeypatch):
    opened = []
    import landmark_app.lib.tasks.bundles as module

    real = module.open_bundle
    monkeypatch.setattr(module, "open_bundle", lambda *given, **named: opened.append(1) or real(*given, **named))
    bundle = ServedBundle(own_bundles / "head")
    first = bundle.predict(image)
    second = bundle.predict(image)
    assert len(opened) == 1
    assert first.landmarks == second.landmarks
    np.testing.assert_array_equal(first.labels, second.labels)
    np.testing.assert_allclose(first.affine, AFFINE, atol=1e-6)


def test_every_file_that_matters_is_watched(own_bundles, image):
    root = own_bundles / "head"
    bundle = ServedBundle(root)
    assert [item["name"] for item in bundle.predict(image).landmarks] == list(NAMES)

    moved = [(0.5, 0.5, 0.5), *POINTS[1:]]
    save_points(root / "models" / "model.pt", moved)
    points = np.array([item["world"] for item in bundle.predict(image).landmarks])
    np.testing.assert_allclose(points, true_world(AFFINE, SHAPE, moved), atol=0.01)

    landmarks = root / "configs" / "landmarks.json"
    landmarks.write_text(landmarks.read_text(encoding="utf-8").replace("EAR left", "ear Left"), encoding="utf-8")
    assert bundle.predict(image).landmarks[3]["name"] == "ear Left"
    assert bundle.card.names[3] == "ear Left"

    before = bundle.predict(image).landmarks[0]["confidence"]
    script = root / "scripts" / "fixed.py"
    script.write_text(script.read_text().replace("2.0 - 0.5", "1.0 - 0.5"))
    assert bundle.predict(image).landmarks[0]["confidence"] < before - 0.05


def test_a_file_that_goes_while_it_is_looked_at_is_no_failure(own_bundles, image):
    """A link to nothing is listed and not there, like a calibration that a training removes in between."""
    (own_bundles / "head" / "models" / "calibration.json").symlink_to(own_bundles / "gone")
    assert len(ServedBundle(own_bundles / "head").predict(image).landmarks) == len(NAMES)


def test_weights_of_the_same_size_and_a_moment_later_are_noticed(own_bundles, image):
    path = own_bundles / "head" / "models" / "model.pt"
    bundle = ServedBundle(own_bundles / "head")
    bundle.predict(image)
    size = path.stat().st_size
    save_points(path, [(0.5, 0.5, 0.5)] * 4)
    assert path.stat().st_size == size
    later = time.time_ns() + 1_000_000
    os.utime(path, ns=(later, later))
    found = bundle.predict(image).landmarks[0]["world"]
    np.testing.assert_allclose(found, true_world(AFFINE, SHAPE, [(0.5, 0.5, 0.5)])[0], atol=0.01)


def test_a_bundle_is_repaired_while_it_is_served(own_bundles, image):
    path = own_bundles / "head" / "models" / "model.pt"
    good = path.read_bytes()
    path.write_bytes(good[: len(good) // 2])
    bundle = ServedBundle(own_bundles / "head")
    with pytest.raises(ClientError) as raised:
        bundle.predict(image)
    assert raised.value.status == HTTPStatus.INTERNAL_SERVER_ERROR
    assert str(own_bundles) not in str(raised.value)
    assert bundle.error is not None
    assert bundle.error in str(raised.value)
    path.write_bytes(good)
    assert len(bundle.predict(image).landmarks) == 4
    assert bundle.error is None


def test_a_bundle_without_weights_is_a_conflict(own_bundles, image):
    bundle = ServedBundle(own_bundles / "new")
    assert not bundle.trained
    with pytest.raises(ClientError, match="'new' has no weights yet") as raised:
        bundle.predict(image)
    assert raised.value.status == HTTPStatus.CONFLICT
    save_points(own_bundles / "new" / "models" / "model.pt", POINTS[:2])
    assert bundle.trained
    assert len(bundle.predict(image).landmarks) == 2


def test_a_wrong_list_of_weights_is_said_and_not_taken_for_none(own_bundles, image):
    listed = own_bundles / "head" / "models" / "ensemble.json"
    bundle = ServedBundle(own_bundles / "head")
    for content in (json.dumps({"files": ["fold_0/model.pt"]}), "[]", "{"):
        listed.write_text(content)
        assert not bundle.trained
        with pytest.raises(ClientError) as raised:
            bundle.predict(image)
        assert raised.value.status == HTTPStatus.INTERNAL_SERVER_ERROR
        assert str(own_bundles) not in str(raised.value)


@pytest.mark.parametrize("content", ["nan", "constant", "cut"])
def test_an_image_that_cannot_be_used_is_unprocessable(bundles, tmp_path, content):
    import nibabel as nib

    path = tmp_path / "odd.nii.gz"
    array = np.full(SHAPE, np.nan if content == "nan" else 3.0, dtype=np.float32)
    nib.save(nib.Nifti1Image(array, AFFINE), path)
    if content == "cut":
        path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(ClientError, match=r"odd\.nii\.gz") as raised:
        ServedBundle(bundles / "head").predict(path)
    assert raised.value.status == HTTPStatus.UNPROCESSABLE_ENTITY
    assert str(tmp_path) not in str(raised.value)
