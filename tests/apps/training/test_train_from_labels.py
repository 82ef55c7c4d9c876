"""Training from corrections, up to the process that trains: options, cases, config, what is left on disk."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import psutil
import pytest
import torch
from app_tools import NAMES, oblique_affine, true_world, write_fixed_bundle, write_volume
from hypothesis import given, settings
from hypothesis import strategies as st
from landmark_app.lib.core.devices import torch_device
from landmark_app.lib.core.errors import ClientError
from landmark_app.lib.tasks.bundles import Card, ServedBundle
from landmark_app.lib.training import train, training_stats
from landmark_app.lib.training.train import LandmarkTrain, overrides
from landmark_app.lib.training.training_data import check_items, choose_cases, find_damage, items_of, own_validation
from landmark_app.lib.training.training_options import TrainingOptions, read_training_options
from landmark_app.lib.training.training_stats import begin, end, is_running, note, summary
from landmark_app.lib.training.training_stats import training_stats as stats_of
from monai.bundle import ConfigParser

from auto_config.bundle_scripts.points.landmark_files import write_markups
from auto_config.bundle_scripts.points.landmarks import LandmarkSet
from auto_config.errors import UserError
from auto_config.running.child import Ended

CPU = {"cpu": "cpu"}
CARD = Card(NAMES, "1", "", 4.0)
GPUS = {"H200:0": "cuda:0", "H200:1": "cuda:1"}


def read(request, devices=CPU, gpus=0):
    return read_training_options(request, default_epochs=7, devices=devices, gpus=gpus)


def test_options_have_defaults():
    assert read({}) == TrainingOptions(max_epochs=7, pretrained=True, val_split=0.2, device="cpu", processes=1)
    assert read({"max_epochs": 3, "pretrained": False, "val_split": -1, "tracking": "mlflow"}) == TrainingOptions(
        max_epochs=3, pretrained=False, val_split=-1.0, device="cpu", processes=1
    )


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        ({"max_epochs": "$open('x', 'w')"}, "max_epochs"),
        ({"max_epochs": 0}, "from 1 to 100000"),
        ({"max_epochs": 2.5}, "whole number"),
        ({"max_epochs": True}, "max_epochs"),
        ({"pretrained": "@x"}, "true or false"),
        ({"val_split": 1.0}, "val_split is 1.0; give a share"),
        ({"val_split": float("nan")}, "val_split"),
        ({"device": "$exit()"}, "device"),
        ({"device": "cuda:1"}, "does not have"),
        ({"multi_gpu": 1}, "true or false"),
    ],
)
def test_options_that_are_not_allowed(request_, said):
    with pytest.raises(ClientError, match=said.replace("$", r"\$")):
        read(request_)


def test_several_gpus_train_together_unless_it_is_off():
    together = {"cuda": "cuda"}
    assert read({"device": "cuda"}, together, gpus=2).processes == 2
    assert read({"device": "cuda", "multi_gpu": False}, together, gpus=2).processes == 1
    assert read({"device": "H200:0"}, GPUS, gpus=2).processes == 2  # clients name the first one by default
    assert read({"device": "cpu"}, GPUS, gpus=2).processes == 1
    alone = read({"device": "H200:1", "multi_gpu": False}, GPUS, gpus=2)
    assert alone == TrainingOptions(7, True, 0.2, "cuda:1", 1)


def test_devices_in_the_words_of_clients():
    assert torch_device(["H200:1", "H200:0"], GPUS) == "cuda:1"
    assert torch_device("", GPUS) == "cuda:0"
    assert torch_device("cuda", GPUS) == "cuda"
    assert torch_device("cuda", CPU) == "cpu"  # the stock default, on a machine without GPU


def some_items(count):
    return [
        {"image": f"/studies/case{i}.nii.gz", "label": f"/studies/labels/final/case{i}.mrk.json"} for i in range(count)
    ]


@given(count=st.integers(1, 40), share=st.floats(0.01, 0.99))
@settings(max_examples=40, deadline=None, derandomize=True)
def test_cases_are_divided(count, share):
    items = some_items(count)
    cases = choose_cases(items, [], share)
    key = str
    assert sorted([*cases.training, *cases.validation], key=key) == sorted(items, key=key)
    assert cases.training
    assert len(cases.validation) == (min(count - 1, max(1, int(share * count))) if count > 1 else 0)
    assert cases.judge == ("labels" if count > 1 else "none")


def test_who_judges_does_not_depend_on_the_order_or_the_folder():
    items = some_items(10)
    moved = [{**item, "image": item["image"].replace("/studies", "/cache")} for item in reversed(items)]
    names = [[i["image"].rpartition("/")[2] for i in choose_cases(x, [], 0.3).validation] for x in (items, moved)]
    assert names[0] == names[1]


def test_the_bundles_own_cases_judge_where_one_label_cannot():
    own = [{"image": "/own/a.nii.gz", "label": {"AC": [0, 0, 0]}}]
    assert choose_cases(some_items(1), own, 0.2).judge == "bundle"
    assert choose_cases(some_items(1), own, 0.2).validation == own
    assert choose_cases(some_items(5), own, 0.2).judge == "labels"
    assert choose_cases(some_items(5), own, -1).validation == own
    assert len(choose_cases(some_items(5), own, -1).training) == 5
    assert choose_cases(some_items(5), own, 0.0).judge == "none"
    assert choose_cases(some_items(5), [], -1).judge == "none"


def test_own_cases_are_those_whose_images_are_here(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "here.nii.gz").write_bytes(b"")
    case = {"label": {"AC": [0.0, 0.0, 0.0]}, "fold": 0}
    training = [{**case, "case": name, "image": f"{name}.nii.gz"} for name in ("here", "gone")]
    training.append({**case, "case": "other", "image": "here.nii.gz", "fold": 1})
    listed = {"dataset_dir": str(tmp_path), "training": training}
    (tmp_path / "data" / "datalist.json").write_text(json.dumps(listed))
    assert [item["case"] for item in own_validation(tmp_path)] == ["here"]
    (tmp_path / "data" / "datalist.json").write_text("[1]")
    assert own_validation(tmp_path) == []
    assert own_validation(tmp_path / "nowhere") == []


@pytest.fixture
def labelled(tmp_path):
    """A fixed bundle and two labelled images."""
    root = write_fixed_bundle(tmp_path / "head")
    config = {"train": {"trainer": {"max_epochs": 200}, "handlers": [], "dataset": {"data": []}}}
    config |= {"validate": {"dataset": {"data": []}}, "fold": 0, "keep_better": False, "device": "x"}
    (root / "configs" / "train.json").write_text(json.dumps(config))
    items = []
    for name in ("a", "b"):
        image = write_volume(tmp_path / f"{name}.nii.gz", oblique_affine())
        label = tmp_path / "labels" / "final" / f"{name}.mrk.json"
        label.parent.mkdir(parents=True, exist_ok=True)
        write_label(label, true_world(oblique_affine(), (34, 30, 26)))
        items.append({"image": str(image), "label": str(label)})
    return root, items


def write_label(path, points, names=NAMES):
    write_markups(path, LandmarkSet(tuple(names), points, np.ones(len(names), dtype=np.int8)))


def test_labels_that_cannot_be_trained_on_are_named(labelled, tmp_path):
    _, items = labelled
    check_items(items, CARD)
    points = true_world(oblique_affine(), (34, 30, 26))
    outside = items[1]["label"]
    write_label(outside, points + 500.0)
    with pytest.raises(UserError, match=r"^b\.nii\.gz and its label cannot be trained on: .*outside"):
        check_items(items, CARD)
    (tmp_path / "labels" / "final" / "b.mrk.json").write_text("{")
    with pytest.raises(ValueError, match=r"b\.mrk\.json"):
        check_items(items, CARD)
    absent = LandmarkSet(NAMES, np.full((4, 3), np.nan), np.zeros(4, dtype=np.int8))
    write_markups(outside, absent)
    check_items(items, CARD)
    with pytest.raises(UserError, match="no final label has a point"):
        check_items([items[1]], CARD)


def test_labels_of_other_bundles_are_left_out(labelled, tmp_path):
    _, items = labelled
    other = tmp_path / "other.mrk.json"
    write_label(other, np.zeros((2, 3)), ("AC", "PC"))
    foreign = {"image": items[0]["image"], "label": str(other)}
    assert items_of([foreign, *items], NAMES) == items
    assert items_of([foreign, *items], ("PC", "new")) == [foreign]
    with pytest.raises(ValueError, match=r"gone\.mrk\.json"):
        items_of([{**foreign, "label": str(tmp_path / "gone.mrk.json")}], NAMES)


def test_damage_is_found_in_the_voxels(labelled, tmp_path):
    _, items = labelled
    assert find_damage(items) is None
    image = tmp_path / "b.nii.gz"
    image.write_bytes(image.read_bytes()[: image.stat().st_size // 2])
    said = find_damage(items)
    assert "b.nii.gz" in said
    assert "\n" not in said


def test_what_is_different_from_the_bundles_own_training(labelled):
    root, items = labelled
    options = read({"max_epochs": 3})
    cases = choose_cases(items, [], 0.2)
    changed = overrides(root, options, cases)
    file = root / "changed.json"
    file.write_text(json.dumps(changed))
    config = ConfigParser.load_config_files([str(root / "configs" / "train.json"), str(file)])
    assert config["train"]["trainer"]["max_epochs"] == 3
    assert config["train"]["dataset"]["data"] == cases.training
    assert config["validate"]["dataset"]["data"] == cases.validation
    assert (config["fold"], config["keep_better"], config["keep"]) == ("labels", True, "best")
    assert ConfigParser({"device": config["device"], "imports": ["$import torch"]}).get_parsed_content(
        "device"
    ) == torch.device("cpu")
    assert [handler["load_path"] for handler in config["train"]["handlers"]] == [str(root / "models" / "model.pt")]
    assert "+train#handlers" not in overrides(root, read({"pretrained": False}), cases)
    (root / "models" / "model.pt").unlink()
    assert "+train#handlers" not in overrides(root, options, cases)
    assert "device" not in overrides(root, TrainingOptions(3, True, 0.2, "cuda", 2), cases)


class Labels:
    """A data store."""

    def __init__(self, items):
        self.items = items

    def datalist(self):
        return self.items


def test_a_training_leaves_its_numbers(labelled, monkeypatch, capsys):
    root, items = labelled
    task = LandmarkTrain(ServedBundle(root))
    assert task.stats() == {}
    assert task.config()["max_epochs"] == 50
    seen = []

    def follow(line, *, log):
        seen.append(task.stats())
        progress = root / "models" / "fold_labels" / "progress.jsonl"
        first = {"epoch": 0, "loss": None, "best_mre_mm": 3.0, "progress": 0.0}
        second = {"epoch": 1, "loss": 0.5, "mre_mm": 2.0, "best_mre_mm": 2.0, "progress": 0.5, "seconds_left": 9.0}
        progress.write_text(json.dumps(first) + "\n" + json.dumps(second) + '\n{"epoch": 2, "lo')
        seen.append(task.stats())
        torch.save({}, root / "models" / "model.pt")
        assert any("train_from_labels.json" in word for word in line)
        return Ended(0)

    monkeypatch.setattr(train.child, "follow", follow)
    done = task({"max_epochs": 2}, Labels(items))
    assert (seen[0]["state"], seen[0]["epoch"], seen[0]["loss"]) == ("running", 0, None)
    assert {name: seen[1][name] for name in ("state", "epoch", "max_epochs", "loss", "mre_mm", "seconds_left")} == {
        "state": "running",
        "epoch": 1,
        "max_epochs": 2,
        "loss": 0.5,
        "mre_mm": 2.0,
        "seconds_left": 9.0,
    }
    assert (done["state"], done["replaced"], done["seconds_left"]) == ("done", True, None)
    assert (done["training_cases"], done["validation_cases"], done["judge"]) == (1, 1, "labels")
    assert done["total_epochs"] == 2
    assert done["total_time"] >= 0
    assert "the new weights are in use: 2.00 mm on 1 image, before 3.00 mm" in capsys.readouterr().out
    assert task.stats() == done


def test_a_failure_is_one_line_and_leaves_the_weights(labelled, monkeypatch, capsys, tmp_path):
    root, items = labelled
    before = (root / "models" / "model.pt").read_bytes()
    task = LandmarkTrain(ServedBundle(root))
    monkeypatch.setattr(train.child, "follow", lambda line, log: Ended(2, "CUDA out of memory", log))
    for request, items_, said in [
        ({}, items, "CUDA out of memory"),
        ({"max_epochs": -1}, items, "max_epochs is -1"),
        ({}, [], "no image has a final label yet"),
        ({}, [{**items[0], "label": str(tmp_path / "gone.mrk.json")}], "gone.mrk.json"),
        ({}, [{**items[0], "image": str(tmp_path / "gone.nii.gz")}], "gone.nii.gz"),
    ]:
        with pytest.raises(SystemExit, match="2"):
            task(request, Labels(items_))
        last = capsys.readouterr().out.splitlines()[-1]
        assert last.startswith("error: ")
        assert said in last
    assert task.stats()["state"] == "failed"
    assert "gone.nii.gz" in task.stats()["error"]
    assert (root / "models" / "model.pt").read_bytes() == before
    (root / "models" / "model.pt").write_bytes(before[: len(before) // 2])
    with pytest.raises(SystemExit):
        task({}, Labels(items))
    assert "is damaged; train from scratch" in task.stats()["error"]
    (root / "configs" / "train.json").write_text('{"train": ')
    assert task.config()["max_epochs"] == 50
    with pytest.raises(SystemExit):
        task({"pretrained": False}, Labels(items))
    assert task.stats()["error"].startswith("configs/train.json of 'head' is damaged")


def test_a_training_that_was_killed_is_stopped_and_one_that_runs_is_not_disturbed(labelled, capsys):
    root, items = labelled
    begin(root, {"max_epochs": 5})
    note(root, {"validation_cases": 1})
    assert is_running(root)
    task = LandmarkTrain(ServedBundle(root))
    with pytest.raises(SystemExit):
        task({}, Labels(items))
    assert "still runs" in capsys.readouterr().out
    record = training_stats.folder(root) / "training.json"
    content = json.loads(record.read_text())
    assert content["process"]["pid"] == os.getpid()
    # The number of the process may by now be that of another one.
    content["process"]["created"] = psutil.Process().create_time() - 100
    record.write_text(json.dumps(content))
    assert not is_running(root)
    assert stats_of(root)["state"] == "stopped"
    # One that was killed and that its parent has not taken note of yet.
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as killed:
        content["process"] = {"pid": killed.pid, "created": psutil.Process(killed.pid).create_time()}
        record.write_text(json.dumps(content))
        assert is_running(root)
        killed.kill()
        os.waitid(os.P_PID, killed.pid, os.WEXITED | os.WNOWAIT)
        assert not is_running(root)
    record.write_text("{")
    assert stats_of(root) == {}


def test_the_end_in_words(labelled):
    root, _ = labelled
    begin(root, {"max_epochs": 5, "validation_cases": 3})
    end(root, None)
    stats = stats_of(root)
    assert "nothing could judge" in summary(stats)
    assert summary({**stats, "best_mre_mm": 2.0, "before_mre_mm": 2.0}) == (
        "the weights in use stay: 2.00 mm on 3 images, and none of the new ones is better"
    )
    shutil.rmtree(root / "models")
    assert stats_of(root) == {}
