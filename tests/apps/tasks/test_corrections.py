"""Clicks that move the other landmarks: the edit task end to end, what is kept between clicks, and until when."""

import os
import shutil

import numpy as np
import pytest
from app_tools import oblique_affine, write_fixed_bundle, write_volume
from decoy_bundle import NAMES, write_decoy_bundle, write_failed_case
from landmark_app.lib.store.known import Known, KnownPoint
from landmark_app.lib.tasks.bundles import ServedBundle
from landmark_app.lib.tasks.infer import LandmarkEdit, LandmarkInfer
from landmark_app.lib.tasks.looks import Looks

FAILED = [1, 4, 7, 9]
RAS = np.array([[0.0, -1, 0, 5], [1, 0, 0, -7], [0, 0, 1, 30.5], [0, 0, 0, 1]])


class Served:
    """A bundle with its tasks, and what is known of the image."""

    def __init__(self, folder, dims=3, stages=2):
        self.image = folder / "case.nii.gz"
        self.truth = write_failed_case(self.image, dims, affine=RAS if dims == 3 else None)
        self.bundle = ServedBundle(write_decoy_bundle(folder / "balls", dims, stages))
        self.bundle.corrections.seconds = None
        self.known = Known()
        self.infer = LandmarkInfer(self.bundle, "cpu")
        self.edit = LandmarkEdit(self.bundle, lambda _image, _names: self.known, "cpu")
        self.request = {"image": str(self.image), "image_id": "case"}

    def click(self, **voxels):
        return self.edit.find({**self.request, **{name: [list(map(float, v))] for name, v in voxels.items()}})

    def voxel(self, row):
        return (np.linalg.inv(RAS) @ [*self.truth[row], 1])[:3]

    def calls(self):
        made = list(self.bundle._open[2].network.calls)
        self.bundle._open[2].network.calls.clear()
        return [name for name, _ in made]

    def remember(self, prediction):
        self.known = Known(
            {item["name"]: [KnownPoint(np.array(item["world"]), item["confidence"])] for item in prediction.landmarks}
        )


def errors(prediction, truth):
    return np.linalg.norm(np.array([item["world"] for item in prediction.landmarks]) - truth, axis=1)


@pytest.fixture
def served(tmp_path):
    return Served(tmp_path)


def test_a_click_moves_the_clicked_and_what_cannot_be_where_it_was(served):
    before = served.infer.find(served.request)
    served.remember(before)
    assert (errors(before, served.truth)[FAILED] > 5).all()
    assert "coarse" in served.calls()
    after = served.click(p1=served.voxel(1))
    assert "coarse" not in served.calls()
    assert [item["name"] for item in after.landmarks] == list(NAMES)
    assert errors(after, served.truth).max() < 0.3
    np.testing.assert_allclose(after.landmarks[1]["world"], served.truth[1], atol=1e-9)
    right = errors(before, served.truth) < 0.3
    for was, item in zip(np.array(before.landmarks)[right], np.array(after.landmarks)[right], strict=True):
        np.testing.assert_allclose(item["world"], was["world"], atol=1e-9)
    # Balls are drawn where the points are.
    place = np.round(served.voxel(7)).astype(int)
    assert after.labels[tuple(place)] == 8


def test_the_first_click_on_an_image_that_nobody_predicted_looks_once(served):
    after = served.click(p1=served.voxel(1))
    assert errors(after, served.truth).max() < 0.3
    served.remember(after)
    served.calls()
    served.click(p1=served.voxel(1), p3=served.voxel(3))
    assert "coarse" not in served.calls()


def test_earlier_clicks_count_until_the_image_is_predicted_anew(served):
    served.remember(served.infer.find(served.request))
    served.remember(served.click(p1=served.voxel(1) + 0.4))
    again = served.click(p3=served.voxel(3))
    np.testing.assert_allclose(again.landmarks[1]["voxel"], served.voxel(1) + 0.4, atol=1e-6)
    session = served.bundle.corrections.looks.get(served.image)
    assert sorted(session.clicks) == ["p1", "p3"]
    served.infer.find(served.request)
    assert served.bundle.corrections.looks.get(served.image).clicks == {}


def test_what_a_person_saved_stays_and_says_where_the_others_are(served):
    served.remember(served.infer.find(served.request))
    wrong = served.known.points["p4"][0].world
    served.known.points["p4"] = [KnownPoint(wrong, saved=True)]
    after = served.click(p1=served.voxel(1))
    np.testing.assert_allclose(after.landmarks[4]["world"], wrong, atol=1e-9)
    assert errors(after, served.truth)[[1, 7, 9]].max() < 0.3


def test_pictures_are_corrected_in_the_world_of_viewers(tmp_path):
    shown = Served(tmp_path, dims=2, stages=1)
    before = shown.infer.find(shown.request)
    shown.remember(before)
    frame = shown.bundle.frame(shown.image)
    truth = frame.to_shown(shown.truth)
    voxels = (np.linalg.inv(frame.grid.affine) @ np.c_[truth, np.ones(len(truth))].T).T[:, :3]
    assert (errors(before, truth)[FAILED] > 5).all()
    after = shown.click(p1=voxels[1])
    assert errors(after, truth)[FAILED].max() < 0.3


def test_a_bundle_without_a_shape_moves_the_clicked_alone(tmp_path):
    image = write_volume(tmp_path / "a.nii.gz", oblique_affine("ras"))
    bundle = ServedBundle(write_fixed_bundle(tmp_path / "head"))
    edit = LandmarkEdit(bundle, lambda _image, _names: Known(), "cpu")
    before = LandmarkInfer(bundle, "cpu").find({"image": str(image)})
    after = edit.find({"image": str(image), "image_id": "a", "EAR left": [[1, 2, 3]]})
    assert not bundle.corrections.possible
    assert len(bundle.corrections.looks) == 0
    for was, item in zip(before.landmarks[:3], after.landmarks[:3], strict=True):
        assert was["world"] == item["world"]


def test_what_is_kept_is_bounded_and_dropped(served, tmp_path):
    served.infer.find(served.request)
    look = served.bundle.corrections.looks.get(served.image).look
    assert look.bytes() > 12 * 4 * 1000
    now = [0.0]
    files = [shutil.copy(served.image, tmp_path / f"copy_{i}.nii.gz") for i in range(4)]
    few = Looks(most_images=2, clock=lambda: now[0])
    for path in files[:3]:
        few.start(path, look)
    assert [few.get(path) is not None for path in files[:3]] == [False, True, True]
    small = Looks(most_bytes=look.bytes() - 1, clock=lambda: now[0])
    small.start(files[0], look)
    assert small.get(files[0]) is not None  # the newest is kept whatever its size
    small.start(files[1], look)
    assert len(small) == 1
    now[0] = 1e6
    assert few.get(files[2]) is None
    assert len(few) == 0
    few.start(files[3], look)
    os.utime(files[3], ns=(1, 1))
    assert few.get(files[3]) is None  # another image under the same name


def test_new_weights_drop_what_the_old_ones_saw(served):
    served.infer.find(served.request)
    assert len(served.bundle.corrections.looks) == 1
    os.utime(served.bundle.root / "models/model.pt", ns=(1, 1))
    other = served.image.with_name("other.nii.gz")
    shutil.copy(served.image, other)
    served.bundle.predict(other, device="cpu")
    assert len(served.bundle.corrections.looks) == 1
    assert served.bundle.corrections.looks.get(served.image) is None
