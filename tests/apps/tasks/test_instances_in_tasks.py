"""Landmarks with any number of instances in the tasks: clicks, records, scores, the cases of a training."""

import json
from dataclasses import replace
from pathlib import Path

import itk
import numpy as np
import pytest
from app_tools import oblique_affine, write_fixed_bundle, write_volume
from ct_series import copied, make_series, ras
from landmark_app.lib.choosing.scoring import LandmarkError
from landmark_app.lib.choosing.strategies import image_uncertainty
from landmark_app.lib.core.served import record, served
from landmark_app.lib.dicom.dicom_objects import read_report, write_balls, write_report
from landmark_app.lib.store.datastore import LocalLandmarkDatastore
from landmark_app.lib.store.known import Known, KnownPoint, known_points
from landmark_app.lib.tasks.bundles import ServedBundle
from landmark_app.lib.tasks.editing import edited, new_clicks, read_clicks
from landmark_app.lib.tasks.infer import LandmarkEdit, LandmarkInfer, LandmarkPoints
from landmark_app.lib.training.training_data import check_items, items_of, own_labels
from many_tools import MANY_NAMES, NASION, SUTURES, write_many_bundle

from auto_config.bundle_scripts.points.instances import read_instances
from auto_config.bundle_scripts.points.landmark_files import read_label, read_markups, write_markups
from auto_config.bundle_scripts.points.landmarks import ABSENT, PRESENT, LandmarkSet
from auto_config.errors import UserError
from auto_config.review.teaching import SCALE_MM

MANY = {"suture": 5.0}
AFFINE = oblique_affine("ras", (1.0, 1.0, 1.0), 0.0, (0.0, 0.0, 0.0))
BUNDLES = {"skull": MANY_NAMES, "head": ("nasion", "AC")}


def suture(number, world, present=1, **more):
    return {"name": "suture", "world": world, "present": present, "instance": number, "radius_mm": None, **more}


def nasion(world=(1.0, 2.0, 3.0), **more):
    return {"name": "nasion", "world": list(world), "present": 1, "radius_mm": None, "confidence": 0.9, **more}


# ---------------------------------------------------------------- clicks


def test_a_click_moves_the_instance_that_is_near_and_else_adds_one():
    known = {
        "nasion": [KnownPoint(np.zeros(3))],
        "suture": [KnownPoint(np.array([10.0, 0, 0]), 0.7), KnownPoint(np.array([20.0, 0, 0]), 0.6)],
    }
    clicks = {"suture": np.array([[13.0, 0, 0], [10.0, 5.1, 0.0]])}
    items = edited(MANY_NAMES, clicks, known, [], AFFINE, many=MANY)
    assert [(item["name"], item["world"], item["confidence"]) for item in items] == [
        ("nasion", [0, 0, 0], 1.0),
        ("suture", [13, 0, 0], 1.0),
        ("suture", [20, 0, 0], 0.6),
        ("suture", [10, 5.1, 0], 1.0),
    ]
    assert [item.get("instance") for item in items] == [None, 1, 2, 3]


def test_a_click_where_there_was_none_is_the_first():
    absent = [nasion(), suture(1, [5.0, 5, 5], present=0, confidence=0.1)]
    items = edited(MANY_NAMES, {"suture": np.array([[7.0, 7, 7]])}, {}, absent, AFFINE, many=MANY)
    assert [(item["world"], item["present"]) for item in items[1:]] == [([7, 7, 7], 1)]
    items = edited(MANY_NAMES, {}, {"suture": [KnownPoint(None)]}, absent, AFFINE, many=MANY)
    assert [(item["world"], item["present"], item["instance"]) for item in items[1:]] == [(None, 0, 1)]


def test_all_clicks_of_one_with_many_count_and_each_once():
    request = {"suture": [[1, 2, 3], [4, 5, 6]], "nasion": [[1, 1, 1], [2, 2, 2]]}
    clicks = read_clicks(request, MANY_NAMES, (10, 10, 10), MANY)
    assert {name: voxels.tolist() for name, voxels in clicks.items()} == {
        "suture": [[1, 2, 3], [4, 5, 6]],
        "nasion": [[2, 2, 2]],
    }
    both = clicks["suture"]
    assert new_clicks(both, []).tolist() == both.tolist()
    assert new_clicks(both, [[1, 2, 3]]).tolist() == [[4, 5, 6]]
    assert new_clicks(both, both.tolist()).tolist() == []
    assert new_clicks(both, [[1, 2, 3], [9, 9, 9]]).tolist() == both.tolist()
    assert new_clicks(both[:1], both.tolist()).tolist() == both[:1].tolist()


# ---------------------------------------------------------------- records


@pytest.fixture
def store(tmp_path):
    write_volume(tmp_path / "a.nii.gz", AFFINE, (30, 30, 30))
    return LocalLandmarkDatastore(
        str(tmp_path), bundles=lambda: BUNDLES, many=lambda _image: MANY, extensions=["*.nii.gz"]
    )


def served_items():
    return [
        nasion(),
        suture(1, [10.5, 10.0, 10.0], confidence=0.9, spread_mm=1.0),
        suture(2, [20.0, 20.0, 20.0], confidence=0.7, spread_mm=3.0),
    ]


def test_what_is_served_is_known_with_each_instance(store):
    folder = store.landmark_folder()
    record(folder, "a", "skull_edit", served_items(), 2.0, clicks={"suture": [[1, 2, 3]]})
    [one] = served(folder, "a")
    np.testing.assert_array_equal(one.landmarks.instances["suture"], [[10.5, 10, 10], [20, 20, 20]])
    assert one.confidence == {"nasion": 0.9, "suture": pytest.approx(0.8)}
    assert one.uncertainty_mm == {"suture": 2.0}
    assert one.clicks == {"suture": [[1.0, 2.0, 3.0]]}
    known = known_points(store, "a", MANY_NAMES)
    assert [(point.world.tolist(), point.confidence) for point in known.points["suture"]] == [
        ([10.5, 10, 10], 0.9),
        ([20, 20, 20], 0.7),
    ]
    assert known.clicks == one.clicks
    expected = np.mean([1 - np.exp(-2.0 / SCALE_MM), 0.1])
    assert image_uncertainty([one]) == pytest.approx(expected)


def test_a_bundle_that_knows_one_finds_it_itself_where_another_knows_many(tmp_path):
    """Two bundles with the same names: what the one served says nothing of the single place of the other."""
    image = write_volume(tmp_path / "studies/a.nii.gz", AFFINE, (30, 30, 30))
    store = LocalLandmarkDatastore(
        str(tmp_path / "studies"), bundles=lambda: BUNDLES, many=lambda _image: MANY, extensions=["*.nii.gz"]
    )
    record(store.landmark_folder(), "a", "skull", served_items(), 2.0)
    bundle = ServedBundle(write_fixed_bundle(tmp_path / "one", ((0.2, 0.2, 0.2), (0.5, 0.5, 0.5)), MANY_NAMES))
    task = LandmarkEdit(bundle, lambda image_id, names: known_points(store, image_id, names), "cpu")
    _, params = task({"image": str(image), "image_id": "a"})
    assert [item["name"] for item in params["landmarks"]] == ["nasion", "suture"]
    np.testing.assert_allclose(params["landmarks"][0]["world"], [1, 2, 3])
    np.testing.assert_allclose(params["landmarks"][1]["world"], [14.5] * 3, atol=0.1)
    record(store.landmark_folder(), "a", "one_edit", params["landmarks"], 2.0)
    # To the bundle that knows many, it is then the newest that is known.
    assert len(known_points(store, "a", MANY_NAMES).points["suture"]) == 1


def test_none_found_is_known_as_absent(store):
    items = [nasion(), suture(1, [1.0, 1, 1], present=0, confidence=0.2)]
    record(store.landmark_folder(), "a", "skull", items, 2.0)
    [one] = served(store.landmark_folder(), "a")
    assert one.landmarks.status.tolist() == [PRESENT, ABSENT]
    assert [(point.world, point.confidence) for point in known_points(store, "a", MANY_NAMES).points["suture"]] == [
        (None, 0.2)
    ]


def label_of(sutures, names=MANY_NAMES, at=(1.0, 2.0, 3.0)):
    rows = [names[0], *["suture"] * len(sutures)]
    points = np.array([at, *sutures])
    return LandmarkSet.from_rows(rows, points, [PRESENT] * len(rows), {"suture"})


def save_label(store, tmp_path, found, tag="final", name="sent"):
    file = tmp_path / f"{name}.mrk.json"
    write_markups(file, found)
    store.save_label("a", str(file), tag, {})
    file.unlink()


def test_a_label_keeps_all_instances_and_corrections_by_hand(store, tmp_path):
    save_label(store, tmp_path, label_of([[10, 10, 10], [20, 20, 20], [5, 5, 25]]))
    assert len(store.canonical("a", "final").instances["suture"]) == 3
    assert len(known_points(store, "a", MANY_NAMES).points["suture"]) == 3
    path = store.canonical_path("a", "final")
    assert [point.label for point in map(_Point, json.loads(path.read_text())["markups"][0]["controlPoints"])] == [
        "nasion",
        *["suture"] * 3,
    ]
    write_markups(path, label_of([[10, 10, 10]]))
    assert len(store.canonical("a", "final").instances["suture"]) == 1
    write_markups(path, LandmarkSet.from_rows(["nasion"] * 2, np.eye(3)[:2], [1, 1], {"nasion"}))
    assert store.canonical("a", "final") is None
    assert "'nasion' occurs more than once" in store.label_problems()["final/a"]


class _Point:
    def __init__(self, content):
        self.label = content["label"]


# ---------------------------------------------------------------- scores


def test_scores_count_what_was_found_missed_and_invented(store, tmp_path):
    save_label(store, tmp_path, label_of([[10, 10, 10], [20, 20, 20], [5, 25, 5]]))
    save_label(store, tmp_path, label_of([[20, 21, 20], [10, 10, 12], [25, 5, 5], [5, 29, 4]]), "original")
    result = LandmarkError()({}, store)
    block = result["instances"]["per_landmark"]["suture"]
    assert (block["found"], block["missed"], block["invented"]) == (2, 1, 2)
    assert block["precision"] == pytest.approx(2 / 4)
    assert block["recall"] == pytest.approx(2 / 3)
    assert block["f1"] == pytest.approx(4 / 7)
    assert block["mre_mm"] == pytest.approx(1.5)
    assert result["instances"]["all"] == block
    assert result["images"]["a"]["instances"] == {"suture": block}
    assert result["images"]["a"]["errors_mm"] == {"nasion": 0.0}
    assert result["all"]["n"] == 1
    json.dumps(result, allow_nan=False)
    assert store.get_image_info("a")["landmark_error"]["instances"] == {"suture": block}


def test_without_such_landmarks_scores_are_as_they_were(store, tmp_path):
    one = LandmarkSet(("nasion",), np.ones((1, 3)), np.ones(1))
    save_label(store, tmp_path, one)
    save_label(store, tmp_path, one, "original")
    result = LandmarkError()({}, store)
    assert "instances" not in result
    assert "instances" not in result["images"]["a"]


# ---------------------------------------------------------------- training


@pytest.fixture
def bundle(tmp_path):
    return ServedBundle(write_many_bundle(tmp_path / "bundles" / "skull"))


def test_labels_are_trained_on_as_far_as_the_bundle_reads_them(store, tmp_path, bundle):
    save_label(store, tmp_path, label_of([[10, 10, 10], [20, 20, 20]]))
    items = store.datalist()
    table = bundle.root / "configs" / "landmarks.json"
    assert items_of(items, MANY_NAMES, MANY) == items
    assert own_labels(items, bundle.card, MANY, tmp_path / "copies") == items
    check_items(items, bundle.card, read_instances(table))
    save_label(store, tmp_path, label_of(np.random.default_rng(0).uniform(2, 27, (7, 3))))
    with pytest.raises(UserError, match=r"^a\.nii\.gz and its label.* has 7 instances, .* at most 6"):
        check_items(items, bundle.card, read_instances(table))


def test_a_bundle_without_such_landmarks_reads_labels_of_one_that_has_them(store, tmp_path, own_bundles):
    """Both have the nasion; the reader of the first bundle takes two sutures for a mistake."""
    save_label(store, tmp_path, label_of([[10, 10, 10], [20, 20, 20]]))
    items = store.datalist()
    card = ServedBundle(own_bundles / "new").card
    card = type(card)(("nasion", "AC"), card.version, card.description, card.ball_radius_mm)
    with pytest.raises(ValueError, match="occurs more than once"):
        read_label(items[0]["label"], card.names)
    [item] = own_labels(items_of(items, card.names, MANY), card, MANY, tmp_path / "copies")
    assert item["image"] == items[0]["image"]
    assert read_label(item["label"], card.names).status.tolist() == [1, -1]
    np.testing.assert_array_equal(read_label(item["label"], card.names).points[0], [1, 2, 3])
    check_items([item], card)


@pytest.mark.parametrize(("sutures", "status"), [([], 0), ([[10, 10, 10]], 1), ([[10, 10, 10], [20, 20, 20]], -1)])
def test_a_bundle_that_knows_one_is_trained_on_the_rest_of_a_label_with_several(store, tmp_path, sutures, status):
    card = ServedBundle(write_fixed_bundle(tmp_path / "one", None, MANY_NAMES)).card
    none = LandmarkSet(MANY_NAMES, np.array([[1.0, 2.0, 3.0], [0, 0, 0]]), np.array([PRESENT, ABSENT]))
    save_label(store, tmp_path, label_of(sutures) if sutures else none)
    [item] = own_labels(items_of(store.datalist(), MANY_NAMES, MANY), card, MANY, tmp_path / "copies")
    assert read_label(item["label"], MANY_NAMES).status.tolist() == [PRESENT, status]
    check_items([item], card)


def test_a_label_with_nothing_but_several_of_one_trains_no_bundle_that_knows_one(store, tmp_path):
    card = replace(ServedBundle(write_fixed_bundle(tmp_path / "one", None, MANY_NAMES)).card, names=("suture",))
    save_label(store, tmp_path, label_of([[10, 10, 10], [20, 20, 20]]))
    assert own_labels(items_of(store.datalist(), card.names, MANY), card, MANY, tmp_path / "copies") == []


# ---------------------------------------------------------------- DICOM


def test_reports_and_segmentations_hold_all_instances():
    slices = make_series()
    sutures = np.array([ras(5.3, 6.7, 4.1), ras(15.25, 10.5, 8.75), ras(20, 15, 2)])
    found = label_of(sutures, at=ras(3, 3, 3))
    report = read_report(copied(write_report(found, slices, confidence={"suture": 0.8}, radius_mm={})))
    np.testing.assert_allclose(report.landmarks.instances["suture"], sutures, atol=1e-4)
    assert report.landmarks.names == MANY_NAMES
    assert report.confidence == {"suture": pytest.approx(0.8)}
    balls = write_balls(found, slices, 3.0)
    assert [segment.SegmentLabel for segment in balls.SegmentSequence] == ["nasion", "suture"]


# ---------------------------------------------------------------- the three tasks


@pytest.fixture
def image(tmp_path):
    return write_volume(tmp_path / "volume.nii.gz", AFFINE, (34, 30, 26))


def test_the_tasks_tell_and_draw_all_instances(bundle, image):
    task = LandmarkInfer(bundle, "cpu")
    assert task.info()["many"] == ["suture"]
    assert task.info()["atlas"] == []
    assert task.info()["labels"] == {"nasion": 1, "suture": 2}
    path, params = task({"image": str(image)})
    size = np.array([33, 29, 25])
    assert [item["name"] for item in params["landmarks"]] == ["nasion", *["suture"] * 3]
    found = np.array([item["world"] for item in params["landmarks"]])
    expected = np.array([*NASION, *SUTURES]) * size
    np.testing.assert_allclose(found[0], expected[0], atol=0.05)
    assert np.linalg.norm(found[1:, None] - expected[None, 1:], axis=-1).min(axis=1).max() < 0.05
    labels = itk.array_from_image(itk.imread(path)).T
    assert set(np.unique(labels)) == {0, 1, 2}
    for point, value in zip(expected, [1, 2, 2, 2], strict=True):
        assert labels[tuple(np.rint(point).astype(int))] == value
    task = LandmarkPoints(bundle, device="cpu")
    boxes, _ = task({"image": str(image)})
    nodes = json.loads(Path(boxes).read_text(encoding="utf-8"))["markups"]
    assert [node["controlPoints"][0]["label"] for node in nodes] == ["nasion", *["suture"] * 3]
    assert [node["name"] for node in nodes] == ["nasion", "suture-1", "suture-2", "suture-3"]
    points, _ = task({"image": str(image), "points_format": "fiducial"})
    np.testing.assert_allclose(read_markups(points, many=MANY).instances["suture"], found[1:], atol=1e-9)


def test_an_edit_finds_the_others_and_follows_each_click_once(bundle, image):
    answers = []
    task = LandmarkEdit(bundle, lambda image_id, names: answers[-1] if answers else Known(), "cpu")

    def click(*voxels):
        request = {"image": str(image), "image_id": "volume", "suture": [list(voxel) for voxel in voxels]}
        _, params = task(request)
        items = params["landmarks"]
        points = {"nasion": [KnownPoint(np.array(items[0]["world"]))]}
        points["suture"] = [KnownPoint(np.array(item["world"])) for item in items[1:]]
        answers.append(Known(points, task.clicks(request)))
        return np.array([item["world"] for item in items[1:]])

    first = click([3, 20, 20])
    assert len(first) == 4
    np.testing.assert_allclose(first[3], [3, 20, 20])
    # The client sends the old click again; the instance that was there goes along with the new one.
    second = click([3, 20, 20], [3, 23, 20])
    assert len(second) == 4
    np.testing.assert_allclose(second[3], [3, 23, 20])
    third = click([3, 20, 20], [3, 23, 20], [3, 27, 20], [30, 3, 3])
    assert len(third) == 5
    np.testing.assert_allclose(third[3:], [[3, 27, 20], [30, 3, 3]])
    np.testing.assert_allclose(click([3, 20, 20], [3, 23, 20], [3, 27, 20], [30, 3, 3]), third)


def test_without_weights_clicks_alone_are_enough(bundle, image):
    (bundle.root / "models/model.pt").unlink()
    task = LandmarkEdit(bundle, lambda image_id, names: Known(), "cpu")
    _, params = task({"image": str(image), "suture": [[1, 2, 3], [20, 20, 20]], "nasion": [[4, 4, 4]]})
    assert [item["voxel"] for item in params["landmarks"]] == [[4, 4, 4], [1, 2, 3], [20, 20, 20]]
