"""Calibration after a training from labels: on which cases, what it says, and that it is never of other weights."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from app_tools import NAMES, POINTS, oblique_affine, save_points, true_world, write_fixed_bundle, write_volume
from landmark_app.lib.tasks.bundles import ServedBundle
from landmark_app.lib.training import train, train_calibration
from landmark_app.lib.training.seen_cases import EVERYTHING, NOTHING, Seen, seen_by_weights_in_use, write_seen
from landmark_app.lib.training.train import LandmarkTrain
from landmark_app.lib.training.train_calibration import calibrate_on, unseen_cases
from landmark_app.lib.training.training_data import TrainingCases
from landmark_app.lib.training.training_stats import begin, note, summary
from landmark_app.lib.training.training_stats import training_stats as stats_of

from auto_config.bundle_scripts.points.landmark_files import write_markups
from auto_config.bundle_scripts.points.landmarks import ABSENT, PRESENT, LandmarkSet
from auto_config.running.child import Ended

SHAPE = (34, 30, 26)
AFFINE = oblique_affine("ras", (1.0, 1.0, 1.0), 0.0)
MOVED = [(x + 0.01, y, z) for x, y, z in POINTS]


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Fifteen labelled images; the labels are off by known distances, and in one of them a landmark is absent."""
    folder = tmp_path_factory.mktemp("images")
    items = []
    for number in range(15):
        image = write_volume(folder / f"case{number}.nii.gz", AFFINE, SHAPE, seed=number)
        points = true_world(AFFINE, SHAPE) + [0.1 * number, 0.0, 0.0]
        status = np.full(4, PRESENT)
        if number % 5 == 0:
            points[3], status[3] = np.nan, ABSENT
        label = folder / f"case{number}.mrk.json"
        write_markups(label, LandmarkSet(NAMES, points, status))
        items.append({"image": str(image), "label": str(label)})
    return items


@pytest.fixture
def bundle(tmp_path):
    root = write_fixed_bundle(tmp_path / "head")
    config = {"train": {"trainer": {"max_epochs": 2}, "handlers": [], "dataset": {"data": []}}}
    (root / "configs/train.json").write_text(json.dumps({**config, "validate": {"dataset": {"data": []}}}))
    path = root / "configs/inference.json"
    inference = json.loads(path.read_text(encoding="utf-8"))
    transforms = inference["postprocessing"]["transforms"]
    step = next(one for one in transforms if one["_target_"].endswith("LandmarkResultd"))
    step["calibration"] = "$@bundle_root + '/models/calibration.json'"
    verdict = {
        "_target_": "scripts.inference.verdict.step.CaseVerdictd",
        **{name: step[name] for name in ("keys", "ref_image", "landmarks", "calibration") if name in step},
        "training": "$@bundle_root + '/configs/verdict.json'",
    }
    transforms.insert(transforms.index(step) + 1, verdict)
    path.write_text(json.dumps(inference), encoding="utf-8")
    return ServedBundle(root)


def put_into_use(root, points=MOVED):
    """What a training does with better weights, in its order."""
    (root / "models/calibration.json").unlink(missing_ok=True)
    (root / "models/fold_labels").mkdir(exist_ok=True)
    save_points(root / "models/fold_labels/model.pt", points)
    save_points(root / "models/model.pt", points)


class Labels:
    """A data store."""

    def __init__(self, items):
        self.items = items

    def datalist(self):
        return self.items


# ---------------------------------------------------------------- what weights have seen


def test_weights_without_a_past(bundle):
    root = bundle.root
    assert seen_by_weights_in_use(root) == Seen({}, EVERYTHING)  # nobody knows of the data list
    (root / "models/fold_3").mkdir()
    (root / "models/fold_3/model.pt").write_bytes((root / "models/model.pt").read_bytes())
    assert seen_by_weights_in_use(root) == Seen({}, "3")
    put_into_use(root)  # by a version that kept no record
    assert seen_by_weights_in_use(root).images is None
    (root / "models/model.pt").unlink()
    assert seen_by_weights_in_use(root) == Seen({}, NOTHING)


def test_what_was_seen_is_right_whenever_a_training_is_killed(bundle, images):
    root = bundle.root
    before, after = Seen({"a.nii.gz": "1"}, "0"), Seen({"a.nii.gz": "1", "b.nii.gz": "2"}, "0")
    write_seen(root, before, after)
    assert seen_by_weights_in_use(root) == before
    (root / "models/fold_labels/model.pt").write_bytes(b"half")
    assert seen_by_weights_in_use(root) == before
    save_points(root / "models/fold_labels/model.pt", MOVED)
    assert seen_by_weights_in_use(root) == before
    save_points(root / "models/model.pt", MOVED)
    assert seen_by_weights_in_use(root) == after
    write_seen(root, after, after)  # the next training begins
    assert seen_by_weights_in_use(root) == after
    # Others, put there by hand or by a training that was killed between the two files of weights still better.
    save_points(root / "models/model.pt", POINTS[::-1])
    assert seen_by_weights_in_use(root) == Seen(after.images, EVERYTHING)
    save_points(root / "models/model.pt", MOVED)
    (root / "models/fold_labels/seen.json").write_text("{")
    assert seen_by_weights_in_use(root).images is None


def test_an_image_is_known_by_its_name_and_by_its_bytes(images, tmp_path):
    paths = [Path(item["image"]) for item in images]
    seen = Seen().more(paths[:1])
    assert seen.has(paths[0])
    assert not seen.has(paths[1])
    renamed = tmp_path / "other.nii.gz"
    renamed.write_bytes(paths[0].read_bytes())
    assert seen.has(renamed)
    again = tmp_path / paths[0].name
    again.write_bytes(paths[1].read_bytes())
    assert seen.has(again)
    assert Seen(images=None).has(paths[1])
    assert Seen(images=None).more(paths[:1]).images is None


# ---------------------------------------------------------------- which cases calibrate


def test_only_unseen_cases_calibrate(bundle, images):
    root = bundle.root
    cases = TrainingCases(images[5:], images[:5], "labels")
    assert unseen_cases(root, cases, Seen()).cases == images[:5]
    seen = Seen().more(Path(item["image"]) for item in images[:2])
    found = unseen_cases(root, cases, seen)
    assert (found.cases, found.reason) == (images[2:5], "2 of the 5 cases that judged were trained on before")
    assert unseen_cases(root, TrainingCases(images, [], "none"), Seen()).cases == []
    # A labelled image that the bundle was made of.
    (root / "data").mkdir()
    listed = {"image": images[4]["image"], "label": {}, "case": "x", "fold": 1}
    (root / "data/datalist.json").write_text(json.dumps({"dataset_dir": str(root), "training": [listed]}))
    assert unseen_cases(root, cases, Seen()).cases == images[:4]
    assert unseen_cases(root, cases, Seen(own=NOTHING)).cases == images[:5]


def test_the_bundles_own_cases_calibrate_only_who_has_not_seen_them(bundle, images):
    cases = TrainingCases(images[5:], images[:5], "bundle")
    assert unseen_cases(bundle.root, cases, Seen(own="0")).cases == images[:5]
    assert unseen_cases(bundle.root, cases, Seen(own=NOTHING)).cases == images[:5]
    for own in (EVERYTHING, "1"):
        found = unseen_cases(bundle.root, cases, Seen(own=own))
        assert not found.cases
        assert "may have been trained on" in found.reason


# ---------------------------------------------------------------- what is written


def test_a_calibration_of_many_cases_is_of_each_landmark(bundle, images):
    cases = TrainingCases(images[:3], images[3:], "labels")
    done = calibrate_on(bundle.root, bundle.card, cases, Seen(), "cpu")
    assert (done["cases"], done["pooled"]) == (12, False)
    assert train_calibration.CHOSEN_NOTE in done["notes"]
    written = json.loads((bundle.root / "models/calibration.json").read_text())
    assert written["landmarks"] == list(NAMES)
    assert written["source"] == "other cases"
    # Labels are 0.3, 0.4, ... 1.4 mm off: of 12 the region of level 0.9 is bounded by the 12th.
    assert written["regions"]["ball_mm"][written["levels"].index(0.9)][0] == pytest.approx(1.4, abs=0.05)
    assert written["presence"]["absent"] == 2
    # Verdicts are calibrated with it, and reach who asks for landmarks.
    assert written["verdict"]["cases"] == 12 and "normally distributed" in written["verdict"]["promise"]
    said = bundle.predict(Path(images[0]["image"])).verdict
    assert (said["verdict"], said["reasons"]) == ("ok", [])


def test_few_cases_have_one_region_for_all_landmarks(bundle, images):
    cases = TrainingCases(images[4:], images[:4], "labels")
    assert all(item["radius_mm"] is None for item in bundle.predict(Path(images[0]["image"])).landmarks)
    done = calibrate_on(bundle.root, bundle.card, cases, Seen(), "cpu")
    assert (done["cases"], done["pooled"]) == (4, True)
    assert any("one region for all landmarks" in line for line in done["notes"])
    written = json.loads((bundle.root / "models/calibration.json").read_text())
    assert all(radius is not None for radius in written["regions"]["ball_mm"][written["levels"].index(0.9)])
    # It is used by the next request, without a restart.
    assert all(item["radius_mm"] is not None for item in bundle.predict(Path(images[0]["image"])).landmarks)


def test_too_few_cases_are_none(bundle, images):
    root = bundle.root
    cases = TrainingCases(images[2:], images[:2], "labels")
    assert calibrate_on(root, bundle.card, cases, Seen(), "cpu") == (
        "none: 3 unseen cases that judged are needed, there are 2"
    )
    no_one = TrainingCases(images, [], "none")
    assert calibrate_on(root, bundle.card, no_one, Seen(), "cpu").startswith("none: no labelled image was held out")
    assert not (root / "models/calibration.json").exists()


def test_a_calibration_is_never_written_for_other_weights(bundle, images, monkeypatch):
    root = bundle.root
    cases = TrainingCases(images[4:], images[:4], "labels")
    real = train_calibration.predict_other_cases

    def predict(*given, **named):
        found = real(*given, **named)
        put_into_use(root)
        return found

    monkeypatch.setattr(train_calibration, "predict_other_cases", predict)
    assert calibrate_on(root, bundle.card, cases, Seen(), "cpu").startswith("none: other weights")
    assert not (root / "models/calibration.json").exists()


# ---------------------------------------------------------------- at the end of a training


def trained(bundle, items, monkeypatch, *, better=True, request=None):
    def follow(line, *, log):
        first, last = {"best_mre_mm": 3.0}, {"epoch": 1, "best_mre_mm": 2.0}
        progress = bundle.root / "models/fold_labels/progress.jsonl"
        progress.write_text(json.dumps(first) + "\n" + json.dumps(last) + "\n")
        if better:
            put_into_use(bundle.root)
        return Ended(0)

    monkeypatch.setattr(train.child, "follow", follow)
    return LandmarkTrain(bundle)(request or {}, Labels(items))


def test_new_weights_are_calibrated_in_the_same_job(bundle, images, monkeypatch, capsys):
    (bundle.root / "models/calibration.json").write_text("{}")  # of the weights before
    done = trained(bundle, images, monkeypatch)
    assert (done["replaced"], done["calibration"]["cases"], done["calibration"]["pooled"]) == (True, 3, True)
    assert json.loads((bundle.root / "models/calibration.json").read_text())["cases"] == 3
    assert "; calibrated on 3 of them" in capsys.readouterr().out


def test_weights_that_stay_keep_their_calibration(bundle, images, monkeypatch):
    path = bundle.root / "models/calibration.json"
    assert trained(bundle, images, monkeypatch, better=False)["calibration"] == "none: the weights in use stay"
    path.write_text("{}")
    assert trained(bundle, images, monkeypatch, better=False)["calibration"] == "kept"
    assert path.read_text() == "{}"


def test_cases_of_a_training_before_do_not_calibrate(bundle, images, monkeypatch):
    """The first training holds nothing out; the second goes on from its weights and judges by cases they have seen."""
    assert "held out" in trained(bundle, images, monkeypatch, request={"val_split": 0})["calibration"]
    save_points(bundle.root / "models/fold_labels/model.pt", MOVED)
    real = put_into_use
    monkeypatch.setitem(globals(), "put_into_use", lambda root: real(root, POINTS[::-1]))
    said = trained(bundle, images, monkeypatch)["calibration"]
    assert said == (
        "none: 3 unseen cases that judged are needed, there are 0; 3 of the 3 cases that judged were trained on before"
    )
    # From scratch nothing is left of what was seen.
    monkeypatch.setitem(globals(), "put_into_use", lambda root: real(root, POINTS))
    assert trained(bundle, images, monkeypatch, request={"pretrained": False})["calibration"]["cases"] == 3


def test_a_calibration_that_fails_leaves_the_new_weights(bundle, images, monkeypatch):
    def fail(*_given, **_named):
        raise RuntimeError("no memory\nfor this")

    monkeypatch.setattr(train_calibration, "predict_other_cases", fail)
    done = trained(bundle, images, monkeypatch)
    assert (done["state"], done["replaced"]) == ("done", True)
    assert done["calibration"].startswith("none: no memory")
    assert not (bundle.root / "models/calibration.json").exists()


def test_a_training_that_was_stopped_tells_of_no_calibration(bundle):
    root = bundle.root
    begin(root, {"max_epochs": 5})
    assert stats_of(root)["calibration"] is None
    note(root, {"calibration": "running", "validation_cases": 1, "process": {"pid": 0, "created": 0.0}})
    assert (stats_of(root)["state"], stats_of(root)["calibration"]) == ("stopped", "none: the weights in use stay")
    torch.save({}, root / "models/model.pt")
    assert stats_of(root)["calibration"] == "none: the training did not come to its end"
    said = summary({**stats_of(root), "best_mre_mm": 2.0, "before_mre_mm": 3.0})
    assert said.endswith("before 3.00 mm; not calibrated (the training did not come to its end)")
