"""What annotators had to correct, and which image comes next."""

import numpy as np
import pytest
from label_tools import BUNDLES, NAMES, POINTS, SHAPE, answer, save
from landmark_app.lib.choosing.scoring import LandmarkError, per_landmark, radial_errors, scores, surplus
from landmark_app.lib.choosing.strategies import RESERVED_SECONDS, First, Random, Uncertainty, image_uncertainty
from landmark_app.lib.core.errors import ClientError
from landmark_app.lib.core.served import record
from landmark_app.lib.store.datastore_local import LocalLandmarkDatastore

from auto_config.bundle_scripts.points.landmark_files import write_markups
from auto_config.bundle_scripts.points.landmarks import ABSENT, PRESENT, UNKNOWN, LandmarkSet

IDS = ("case1", "case2", "case10")


@pytest.fixture
def store(tmp_path):
    for name in IDS:
        save(tmp_path / f"{name}.nii.gz", np.zeros(SHAPE, np.int16))
    return LocalLandmarkDatastore(str(tmp_path), bundles=lambda: BUNDLES, extensions=["*.nii.gz"])


def label(store, image_id, tag, points, status=(PRESENT, PRESENT, PRESENT)):
    path = store.canonical_path(image_id, tag)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_markups(path, LandmarkSet(NAMES, points, np.array(status)))


def serve(store, image_id, confidence, **more):
    landmarks = [
        {"name": name, "world": point.tolist(), "confidence": value, "present": 1, **more}
        for name, point, value in zip(NAMES, POINTS, confidence, strict=True)
    ]
    record(store.landmark_folder(), image_id, "brain", landmarks, 3.0)


# ---------------------------------------------------------------- scoring


def test_numbers_in_closed_form():
    result = scores([0.0, 2.0, 2.4, 3.6, float("inf")])
    assert result["mre_mm"] == pytest.approx(2.0)
    assert result["sdr"] == {"2": 40.0, "2.5": 60.0, "3": 60.0, "4": 80.0}
    assert (result["n"], result["not_found"]) == (5, 1)
    assert scores([]) == {"mre_mm": None, "sdr": dict.fromkeys(("2", "2.5", "3", "4")), "n": 0, "not_found": 0}
    assert scores([float("inf")])["mre_mm"] is None
    assert per_landmark({"a": {"AC": 1.0, "PC": 5.0}, "b": {"AC": 3.0}})["AC"]["mre_mm"] == 2.0


def test_errors_follow_the_truth():
    truth = LandmarkSet(NAMES, POINTS, np.array([PRESENT, ABSENT, PRESENT]))
    offered = LandmarkSet(NAMES[1:], POINTS[1:] + [3.0, 4.0, 0.0], np.array([PRESENT, PRESENT]))
    assert radial_errors(truth, offered) == pytest.approx({"AC": float("inf"), "Left eye": 5.0})
    assert surplus(truth, offered) == ["PC"]
    unknown = LandmarkSet(NAMES, POINTS, np.array([UNKNOWN] * 3))
    assert radial_errors(unknown, offered) == {}


def test_scores_are_in_the_infos_of_the_images(store):
    label(store, "case1", "final", POINTS)
    label(store, "case1", "original", POINTS + [0.0, 0.0, 2.0])
    label(store, "case2", "final", POINTS, (PRESENT, ABSENT, UNKNOWN))
    label(store, "case2", "original", POINTS + [1.0, 0.0, 0.0])
    label(store, "case10", "final", POINTS)
    result = LandmarkError()({"method": "landmark_error"}, store)
    assert result["images"].keys() == {"case1", "case2"}
    assert result["all"]["n"] == 4
    assert result["all"]["mre_mm"] == pytest.approx((3 * 2.0 + 1.0) / 4)
    assert result["per_landmark"]["AC"]["mre_mm"] == pytest.approx(1.5)
    info = store.json()["objects"]["case2"]["image"]["info"]["landmark_error"]
    assert info["errors_mm"] == pytest.approx({"AC": 1.0})
    assert info["absent_but_offered"] == ["PC"]
    assert info["sdr"]["2"] == 100.0
    assert "landmark_error" not in store.get_image_info("case10")
    # A score does not outlive its labels.
    store.remove_label("case2", "original")
    LandmarkError()({}, store)
    assert store.get_image_info("case2")["landmark_error"] is None


def test_other_tags_and_wrong_ones(store):
    label(store, "case1", "final", POINTS)
    label(store, "case1", "second", POINTS)
    assert LandmarkError()({"y_pred": "second"}, store)["images"]["case1"]["mre_mm"] == 0.0
    with pytest.raises(ClientError, match="tag"):
        LandmarkError()({"y": "../x"}, store)
    with pytest.raises(ClientError, match="landmark app"):
        LandmarkError()({}, object())


# ---------------------------------------------------------------- strategies


def order(strategy, store):
    """The images in the order in which they are given out when each is labelled at once."""
    given = []
    while (chosen := strategy({"strategy": "s"}, store)) is not None:
        given.append(chosen["id"])
        label(store, chosen["id"], "final", POINTS)
    return given


def test_first_counts_numbers_as_numbers(store):
    assert order(First(), store) == ["case1", "case2", "case10"]
    assert First()({"strategy": "s"}, store) is None


def test_random_is_the_same_each_time_and_differs_by_seed(store):
    orders = set()
    for seed in range(12):
        chosen = Random(seed)({"strategy": "s"}, store)
        assert chosen == Random(seed)({"strategy": "s"}, store)
        orders.add(chosen["id"])
    assert orders == set(IDS)


def test_uncertain_images_come_first_and_unseen_ones_before_them(store):
    serve(store, "case1", [0.9, 0.8, 0.7])
    serve(store, "case10", [0.9, 0.8, 0.1])
    first = Uncertainty()({"strategy": "s"}, store)
    assert first == {"id": "case2", "uncertainty": None}
    assert order(Uncertainty(), store) == ["case2", "case10", "case1"]


def test_the_last_answer_counts(store):
    serve(store, "case1", [0.1, 0.1, 0.1])
    serve(store, "case2", [0.5, 0.5, 0.5])
    serve(store, "case10", [0.9, 0.9, 0.9])
    assert Uncertainty()({"strategy": "s"}, store) == {"id": "case1", "uncertainty": pytest.approx(0.9)}
    serve(store, "case1", [1.0, 1.0, 1.0])
    assert Uncertainty()({"strategy": "s"}, store)["id"] == "case2"


def test_uncertainty_in_closed_form():
    assert image_uncertainty([]) == float("inf")
    assert image_uncertainty([answer(confidence=0.75)]) == pytest.approx(0.25)
    spread = answer(confidence=1.0, uncertainty_mm={"AC": 4.0})
    assert image_uncertainty([spread]) == pytest.approx((1 - np.exp(-1)) / 3)
    wide = answer(confidence=1.0, uncertainty_mm=dict.fromkeys(NAMES, 8.0))
    narrow = answer(confidence=0.0, uncertainty_mm=dict.fromkeys(NAMES, 1.0))
    assert image_uncertainty([wide]) > image_uncertainty([narrow])


@pytest.mark.parametrize("strategy", [First, Random, Uncertainty])
def test_what_was_handed_out_comes_after_the_others_for_an_hour(store, strategy):
    now = {"s": 1_000_000.0}
    chooser = strategy(clock=lambda: now["s"])
    given = []
    for _ in range(4):
        chosen = chooser({"strategy": "mine"}, store)["id"]
        store.update_image_info(chosen, {"strategy": {"mine": {"ts": int(now["s"]), "client_id": "c"}}})
        given.append(chosen)
        now["s"] += 60
    assert sorted(given[:3]) == sorted(IDS)
    assert given[3] == given[0]
    assert chooser({"strategy": "other"}, store)["id"] == given[0]
    now["s"] += RESERVED_SECONDS
    assert chooser({"strategy": "mine"}, store)["id"] == given[0]


def test_the_tag_of_the_request_counts(store):
    label(store, "case1", "original", POINTS)
    assert First()({"strategy": "s", "label_tag": "original"}, store)["id"] == "case2"
    assert First()({"strategy": "s"}, store)["id"] == "case1"
