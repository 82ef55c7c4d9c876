"""Corrected points move the others: one stage and two, 2D and 3D, ensembles, oblique grids."""

import json
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from decoy_bundle import LANDMARKS, NAMES, write_decoy_bundle, write_failed_case
from scipy.spatial.transform import Rotation

from auto_config.bundle.opened import open_bundle
from auto_config.bundle_scripts.points.instances import Instances
from auto_config.prediction.corrected import corrected, first_look, predicted, why_not
from auto_config.prediction.fixed_cases import shape_of

FAILED = (1, 4, 7, 9)
OBLIQUE = np.eye(4)
OBLIQUE[:3, :3] = Rotation.from_euler("xyz", [20, -15, 30], degrees=True).as_matrix()
OBLIQUE[:3, 3] = [3.25, -40, 7]


def open_case(folder, dims=3, stages=2, members=1, *, affine=None, failed=FAILED):
    truth = write_failed_case(folder / "case.nii.gz", dims, failed, affine)
    opened = open_bundle(write_decoy_bundle(folder / "bundle", dims, stages, members))
    return opened, opened.preprocess(folder / "case.nii.gz"), truth


def world(done):
    return np.array([item["world"] for item in done["result"]["landmarks"]])


def given(points, *rows, absent=()):
    out, status = np.full_like(points, np.nan), np.full(len(points), -1)
    out[list(rows)], status[list(rows)] = points[list(rows)], 1
    status[list(absent)] = 0
    return out, status


def errors(done, truth):
    return np.linalg.norm(world(done) - truth, axis=1)


@pytest.mark.parametrize(
    ("dims", "stages", "members", "affine"),
    [(3, 2, 1, OBLIQUE), (3, 1, 1, None), (2, 1, 1, None), (2, 2, 1, None), (3, 2, 2, None)],
)
def test_one_correction_repairs_the_rest_and_stands_exactly_as_given(tmp_path, dims, stages, members, affine):
    opened, data, truth = open_case(tmp_path, dims, stages, members, affine=affine)
    look, shape = first_look(opened, data), shape_of(opened)
    assert why_not(opened, shape) is None
    np.testing.assert_array_equal(world(predicted(opened, look)), world(opened.predict(data)))
    assert (errors(opened.predict(data), truth)[list(FAILED)] > 5).all()
    wanted = truth.copy()
    wanted[1] += 0.123456789
    done = corrected(opened, look, shape, *given(wanted, 1))
    assert done["result"]["landmarks"][1]["world"] == wanted[1].tolist()
    assert errors(done, wanted)[list(FAILED)].max() < 0.3
    assert (errors(done, wanted) <= errors(opened.predict(data), wanted) + 1e-6).all()
    assert {"p4", "p7", "p9"} <= set(done["moved"])
    assert "p1" not in done["moved"]


@pytest.mark.parametrize("stages", [1, 2])
def test_a_point_that_says_what_was_found_changes_nothing_that_is_right(tmp_path, stages):
    opened, data, truth = open_case(tmp_path, stages=stages, failed=())
    done = opened.predict(data)
    found, right = world(done), errors(done, truth) < 0.3
    # The coarse stage mixes grey values and errs by itself.
    assert right.sum() >= (12 if stages == 1 else 8)
    assert right[[0, 3]].all()
    done = corrected(opened, first_look(opened, data), shape_of(opened), *given(found, 0, 3))
    assert not right[[NAMES.index(name) for name in done["moved"]]].any()
    np.testing.assert_array_equal(world(done)[right], found[right])


@pytest.mark.parametrize("half", [True, False])
def test_crops_are_looked_at_in_half_precision_where_predictions_are(tmp_path, monkeypatch, half):
    opened, data, truth = open_case(tmp_path)
    look = first_look(opened, data)
    opened.inferer.amp = half
    wrapped = []
    monkeypatch.setattr(
        "auto_config.prediction.corrected.HalfPrecisionNetwork", lambda network: wrapped.append(network) or network
    )
    corrected(opened, look, shape_of(opened), *given(truth, 1))
    assert bool(wrapped) == half


def test_an_absent_point_is_absent_and_says_nothing_of_a_place(tmp_path):
    opened, data, truth = open_case(tmp_path)
    done = corrected(opened, first_look(opened, data), shape_of(opened), *given(truth, 1, absent=[4]))
    items = done["result"]["landmarks"]
    assert (items[4]["present"], items[4]["fixed"], items[1]["present"]) == (0, True, 1)
    assert "p4" not in done["moved"]
    assert 5 not in np.unique(done["pred"])
    assert errors(done, truth)[[7, 9]].max() < 0.3


def test_the_coarse_stage_is_not_asked_again_and_no_crop_twice(tmp_path):
    opened, data, truth = open_case(tmp_path)
    look, shape, calls = first_look(opened, data), shape_of(opened), opened.network.calls
    calls.clear()
    first = corrected(opened, look, shape, *given(truth, 1))
    assert {name for name, _ in calls} == {"fine"}
    # The image and its mirror image.
    assert sum(count for _, count in calls) == 2 * len(first["moved"])
    calls.clear()
    again = corrected(opened, look, shape, *given(truth, 1))
    assert calls == []
    np.testing.assert_array_equal(world(again), world(first))


def test_without_time_the_shape_and_the_coarse_stage_say_where_and_the_next_update_looks(tmp_path):
    opened, data, truth = open_case(tmp_path)
    look, shape = first_look(opened, data), shape_of(opened)
    opened.network.calls.clear()
    hurried = corrected(opened, look, shape, *given(truth, 1), seconds=-1.0)
    assert opened.network.calls == []
    assert errors(hurried, truth).max() < 3
    moved = [item for item in hurried["result"]["landmarks"] if item["name"] in hurried["moved"]]
    assert all(item["replaced"] and item["spread_mm"] > 0 for item in moved)
    assert errors(corrected(opened, look, shape, *given(truth, 1)), truth).max() < 0.3


def test_what_cannot_be_corrected_is_said_in_words(tmp_path):
    opened, _, _ = open_case(tmp_path)
    assert "run `auto_config calibrate`" in why_not(opened, None)
    shape = shape_of(opened)
    opened.inferer.instances = Instances.single(NAMES)
    assert "change places" in why_not(opened, shape)


def test_the_calibration_comes_before_the_data_list_and_the_weights_come_last(tmp_path):
    opened, _, _ = open_case(tmp_path)
    listed = shape_of(opened)
    path = opened.root / "models/calibration.json"
    other = {**listed.document(), "log_size": [0.0, 0.5]}
    path.write_text(json.dumps({"landmarks": list(NAMES), "shape": {"gaussian": other}}))
    assert shape_of(opened).log_size == (0.0, 0.5)
    path.unlink()
    (opened.root / "data/datalist.json").unlink()
    assert shape_of(opened) is None
    rng = np.random.default_rng(0)
    opened.network.shape.fit(listed.mean + rng.normal(scale=0.4, size=(6, LANDMARKS, 3)))
    alone = shape_of(opened)
    assert len(alone.modes) == 0
    assert alone.known.all()


@pytest.mark.parametrize("stages", [1, 2])
def test_in_a_case_that_was_turned_points_that_agree_with_those_of_the_person_stay(tmp_path, stages):
    """What is kept of it was read on another grid: a point that is right may not be moved by it."""
    opened, data, truth = open_case(tmp_path, stages=stages)
    look = first_look(opened, data)
    assert not look.turned
    before = world(predicted(opened, look))
    right = np.flatnonzero(errors(predicted(opened, look), truth) < 1.0)
    done = corrected(opened, replace(look, turned=True), shape_of(opened), *given(truth, right[0]))
    others = [row for row in right if row != right[0]]
    assert len(others) >= 3
    np.testing.assert_array_equal(world(done)[others], before[others])
    np.testing.assert_array_equal(world(done)[right[0]], truth[right[0]])


@pytest.mark.parametrize("turned", [True, False])
def test_where_the_network_cannot_read_an_image_the_shape_alone_speaks(tmp_path, turned, monkeypatch):
    """All predicted points are wrong: the others go where those of the person and the shape have them."""
    opened, data, truth = open_case(tmp_path)
    look = first_look(opened, data)
    random = np.random.default_rng(0)
    wrong = random.uniform(2, 10, look.peaks.points.shape)
    look = replace(look, turned=turned, peaks=replace(look.peaks, points=torch.from_numpy(wrong).to(look.peaks.points)))
    monkeypatch.setattr("auto_config.prediction.corrected._look_again", lambda *_: pytest.fail("looked again"))
    first = errors(predicted(opened, look), truth)
    person = [0, 1, 2, 3]
    points, status = np.full_like(truth, np.nan), np.full(len(truth), -1)
    points[person], status[person] = truth[person], 1
    done = corrected(opened, look, shape_of(opened), points, status)
    others = [row for row in range(len(truth)) if row not in person]
    assert errors(done, truth)[others].mean() < 0.5 * first[others].mean()
    assert {item["name"] for item in done["result"]["landmarks"] if item["replaced"]} == set(done["moved"])


@pytest.mark.filterwarnings("error")
def test_landmarks_that_are_expected_outside_of_the_image_do_not_make_it_unreadable(tmp_path):
    """Of a cut field of view most points may be nowhere: the fine stage still looks for those that are in it."""
    opened, data, truth = open_case(tmp_path, failed=(4, 7))
    look = first_look(opened, data)
    # Beyond a cut the network sees nothing, and points are anywhere: five of all twelve agree with the person's.
    inside = [0, 1, 2, 3, 4, 5, 6, 7]
    points = look.peaks.points.clone()
    far = [row for row in range(len(truth)) if row not in inside]
    points[far] = torch.from_numpy(np.random.default_rng(3).uniform(0, 12, (len(far), 3))).to(points)
    look = replace(look, peaks=replace(look.peaks, points=points))
    asked = []
    corrected_module = sys.modules["auto_config.prediction.corrected"]
    with pytest.MonkeyPatch.context() as patch:
        real, beyond = corrected_module._Case.inside, np.isin(np.arange(len(truth)), far)
        patch.setattr(corrected_module._Case, "inside", lambda case, at: real(case, at) & ~beyond)
        again = corrected_module._look_again
        patch.setattr(corrected_module, "_look_again", lambda *given: asked.append(1) or again(*given))
        done = corrected(opened, look, shape_of(opened), *given(truth, 1))
    assert asked
    assert errors(done, truth)[[4, 7]].max() < 0.3


@pytest.mark.filterwarnings("error")
def test_where_a_person_set_every_point_each_stands_as_given(tmp_path):
    opened, data, truth = open_case(tmp_path)
    done = corrected(opened, first_look(opened, data), shape_of(opened), *given(truth, *range(len(truth))))
    np.testing.assert_array_equal(world(done), truth)
    assert done["moved"] == []


def test_one_point_in_an_unreadable_image_carries_the_others_along(tmp_path):
    """They lie about it as in the training cases; without usual places they stay where they were predicted."""
    opened, data, truth = open_case(tmp_path)
    look = first_look(opened, data)
    wrong = np.random.default_rng(1).uniform(0, 40, look.peaks.points.shape)
    look = replace(look, peaks=replace(look.peaks, points=torch.from_numpy(wrong).to(look.peaks.points)))
    before = world(predicted(opened, look))
    others = [row for row in range(len(truth)) if row != 1]
    stay = corrected(opened, look, shape_of(opened), *given(truth, 1))
    np.testing.assert_array_equal(world(stay)[others], before[others])
    table = opened.root / "configs" / "landmarks.json"
    document = json.loads(table.read_text())
    for row, point in zip(document["landmarks"], truth, strict=True):
        row["mean_offset_mm"] = (point + [9.0, -4.0, 6.0]).tolist()
    table.write_text(json.dumps(document))
    done = corrected(opened, look, shape_of(opened), *given(truth, 1))
    assert errors(done, truth)[others].max() < 2.0
    assert len(done["moved"]) == len(others)
    np.testing.assert_array_equal(world(done)[1], truth[1])


def test_a_search_for_the_pose_leaves_the_output_of_the_image_as_it_lies(tmp_path):
    """The window is asked again for each turned look; what is read again is the first answer."""
    opened, data, truth = open_case(tmp_path)
    plain = first_look(opened, data)

    class Searching(type(opened.inferer)):
        def heatmaps(self, image, network):
            found = super().heatmaps(image, network)
            self.window(image[None] * 0, lambda x: {"logits": x})
            return found

    searching = object.__new__(Searching)
    searching.__dict__ |= opened.inferer.__dict__
    look = first_look(replace(opened, inferer=searching), data)
    assert look.output.keys() == plain.output.keys()
    for head, value in plain.output.items():
        np.testing.assert_array_equal(look.output[head].numpy(), value.numpy())
    assert errors(corrected(opened, look, shape_of(opened), *given(truth, 1)), truth)[list(FAILED)].max() < 0.3
