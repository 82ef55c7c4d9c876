"""`create`: what it refuses, its options, and the bundles it writes for other networks and methods."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from blobs import HEAD, landmark_set
from bundle_tools import ask, config, edit, same, shrink, weights

from auto_config.bundle_scripts.points.landmark_files import read_markups, write_markups
from auto_config.bundle_scripts.training.dataset import read_cases
from auto_config.cli import main
from auto_config.commands.create import create

ONE_EPOCH = ("run", "training", "--config_file", "configs/train.json", "--train#trainer#max_epochs", 1)
SMALL = {"network": "tiny", "patch_size": [16, 16, 16], "workers": 1}


@pytest.fixture
def data(heads, tmp_path):
    """A copy of the data set that the test may change."""
    shutil.copytree(heads[0], tmp_path / "data")
    return tmp_path / "data"


def markups(data, number=0):
    return sorted((data / "landmarks").iterdir())[number]


def test_a_folder_that_is_there_is_refused(data, two_stage_bundle, tmp_path, capsys):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("text")
    assert main(["create", str(data), str(tmp_path / "thesis")]) == 2
    assert "exists and is no bundle" in capsys.readouterr().err
    assert (tmp_path / "thesis" / "chapter.tex").is_file()
    shutil.copytree(two_stage_bundle, tmp_path / "bundle")
    assert main(["create", str(data), str(tmp_path / "bundle")]) == 2
    assert "--overwrite" in capsys.readouterr().err


def test_overwrite_replaces_a_bundle(data, two_stage_bundle, tmp_path):
    bundle = tmp_path / "bundle"
    shutil.copytree(two_stage_bundle, bundle)
    (bundle / "models" / "model.pt").write_bytes(b"old weights")
    assert create(data, bundle, overwrite=True, **SMALL) == 0
    assert not (bundle / "models" / "model.pt").exists()
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_bad_data_is_refused_with_all_problems_printed(data, tmp_path, capsys):
    for number in (0, 1):
        path = markups(data, number)
        points = read_markups(path).points.copy()
        points[number] += 500.0
        write_markups(path, landmark_set(HEAD, points))
    assert main(["create", str(data), str(tmp_path / "bundle"), "--workers", "1"]) == 2
    lines = capsys.readouterr().err.splitlines()
    for number in (0, 1):
        assert [line for line in lines if line.startswith("error:") and HEAD[number] in line], lines
    assert lines[-1].startswith("error: no bundle was written: 2 problems")
    assert not any("Traceback" in line for line in lines)
    assert not (tmp_path / "bundle").exists()


def test_training_starts_from_the_weights_of_another_bundle(data, two_stage_bundle, server, tmp_path, copy_of):
    other = copy_of(two_stage_bundle, "other")
    server.monai(other, *ONE_EPOCH)
    given = weights(other)
    assert create(data, tmp_path / "new", stages=2, pretrained=other, seed=4, **SMALL) == 0
    bundle = shrink(tmp_path / "new")
    server.monai(bundle, *ONE_EPOCH, "--learning_rate", 0.0)
    started = weights(bundle)
    learned = [name for name in given if not name.startswith("shape.")]
    assert all(torch.equal(started[name], given[name]) for name in learned)
    # A client that continues from model.pt means those weights, not the ones that the first training began with.
    later = {name: x + 1 if name in learned else x for name, x in started.items()}
    torch.save(later, bundle / "models" / "model.pt")
    loader = {
        "_target_": "CheckpointLoader",
        "load_path": str(bundle / "models" / "model.pt"),
        "load_dict": {"model": "$@network"},
        "strict": False,
    }
    edit(bundle / "configs" / "train.json", lambda c: c["train"]["handlers"].insert(0, loader))
    server.monai(bundle, *ONE_EPOCH, "--learning_rate", 0.0)
    latest = weights(bundle, "fold_0/latest.pt")["network"]
    assert all(torch.equal(latest[name], later[name]) for name in learned)


def test_pretrained_needs_weights(data, two_stage_bundle, tmp_path, capsys):
    assert main(["create", str(data), str(tmp_path / "new"), "--pretrained", str(two_stage_bundle)]) == 2
    assert "has no models/model.pt" in capsys.readouterr().err


def test_cases_of_one_group_stay_together(data, tmp_path):
    names = sorted(path.name[:-7] for path in (data / "images").iterdir())
    groups = {name: f"patient{i // 2}" for i, name in enumerate(names)}
    table = tmp_path / "groups.csv"
    table.write_text("case,group\n" + "".join(f"{name},{group}\n" for name, group in groups.items()))
    assert create(data, tmp_path / "bundle", groups=table, folds=3, **SMALL) == 0
    datalist = json.loads((tmp_path / "bundle" / "data" / "datalist.json").read_text())
    place = {item["case"]: item.get("fold", "test") for key in ("training", "test") for item in datalist[key]}
    assert place.keys() == groups.keys()
    for group in set(groups.values()):
        assert len({place[name] for name in names if groups[name] == group}) == 1
    table.write_text("case,group\nnobody,1\n")
    assert main(["create", str(data), str(tmp_path / "again"), "--groups", str(table)]) == 2


def test_the_validation_list_of_a_datalist_is_what_fold_0_validates_on(data, tmp_path):
    stems = sorted(path.name[:-7] for path in (data / "images").iterdir())
    items = [{"image": f"images/{stem}.nii.gz", "label": f"landmarks/{stem}.mrk.json"} for stem in stems]
    lists = {"training": items[:5], "validation": items[5:7], "test": items[7:]}
    (data / "datalist.json").write_text(json.dumps(lists))
    assert create(data / "datalist.json", tmp_path / "bundle", **SMALL) == 0
    datalist = str(tmp_path / "bundle" / "data" / "datalist.json")
    for split, expected in (("training", stems[:5]), ("validation", stems[5:7]), ("test", stems[7:])):
        cases = read_cases(datalist, str(data), split, 0)
        assert sorted(Path(case["image"]).name[:-7] for case in cases) == expected


def test_a_folder_of_images_makes_a_bundle_to_start_annotating_with(data, heads, server, tmp_path):
    shutil.rmtree(data / "landmarks")
    bundle = tmp_path / "bundle"
    assert create(data, bundle, landmarks=list(HEAD), **SMALL) == 0
    assert [item["name"] for item in config(bundle, "landmarks")["landmarks"]] == list(HEAD)
    shrink(bundle)
    status, output = server.run("monai.bundle", *ONE_EPOCH, cwd=bundle)
    assert status != 0
    assert "has no case with landmarks to train on" in output
    # As a client trains it as soon as there is a label.
    image = sorted((data / "images").iterdir())[0]
    items = [{"image": str(image), "label": str(heads[0] / "landmarks" / f"{image.name[:-7]}.mrk.json")}]
    server.monai(bundle, *ONE_EPOCH, f"--train#dataset#data={items!r}", "--validate#dataset#data=[]")
    assert (bundle / "models" / "model.pt").is_file()


def test_one_labelled_case_trains_without_validation(data, server, tmp_path):
    for path in sorted((data / "landmarks").iterdir())[1:]:
        path.unlink()
    assert create(data, tmp_path / "bundle", **SMALL) == 0
    bundle = shrink(tmp_path / "bundle")
    server.monai(bundle, *ONE_EPOCH[:-1], 2)
    latest = weights(bundle, "fold_0/latest.pt")
    assert latest["epoch"] == 2
    assert same(weights(bundle), latest["network"])


@pytest.mark.parametrize(("network", "memory"), [("plain", 4), ("resenc_m", 8)])
def test_networks_for_gpus(data, server, tmp_path, network, memory):
    bundle = tmp_path / "bundle"
    assert create(data, bundle, network=network, gpu_memory_gb=memory, workers=1) == 0
    metadata = config(bundle, "metadata")
    assert ("dynamic-network-architectures" in metadata["required_packages_version"]) == (network == "resenc_m")
    plan = config(bundle, "plan")["decisions"]
    stages = {stage["name"]: stage["patch_size"] for stage in plan["stages"]["value"]}
    ((whole, parts),) = ask(server, tmp_path, "workflow_checks", "on_meta", [{"bundle": str(bundle), "stages": stages}])
    assert whole == [1, len(HEAD), *stages["fine"]]
    assert parts == {name: [1, len(HEAD), *size] for name, size in stages.items()}


def test_the_published_method_is_written(data, tmp_path, capsys):
    bundle = tmp_path / "bundle"
    assert create(data, bundle, preset="nnlandmark", workers=1) == 0
    (note,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("note:")]
    assert note == "note: --preset nnlandmark stands for --method nnlandmark --network plain"
    written = config(bundle, "train")
    assert written["optimizer"]["_target_"] == "torch.optim.SGD"
    assert (written["optimizer"]["momentum"], written["optimizer"]["nesterov"]) == (0.99, True)
    assert written["learning_rate"] == 0.01
    assert written["loss"] == {"_target_": "scripts.methods.losses.TopKBCELoss", "target": "@target", "fraction": 0.2}
    assert (written["train"]["trainer"]["max_epochs"], written["iterations_per_epoch"]) == (1000, 250)
    assert written["decoder"]["link"] == "sigmoid"
    assert np.isclose(max(written["target"]["radius"]), 15.0, atol=0.01)


def test_every_decision_has_a_reason_in_the_plan_and_the_readme(two_stage_bundle):
    decisions = config(two_stage_bundle, "plan")["decisions"]
    text = (two_stage_bundle / "docs" / "README.md").read_text(encoding="utf-8")
    for name, decision in decisions.items():
        assert decision["reason"], name
        assert decision["reason"] in text, name


def test_shared_files_tell_no_case_and_no_path(two_stage_bundle, heads):
    for path in two_stage_bundle.rglob("*"):
        if not path.is_file() or path.name == "datalist.json":
            continue
        text = path.read_bytes().decode("utf-8", errors="replace")  # pictures of the atlas are no text
        if path.name == "train.json":
            text = text.replace(json.dumps(json.loads(text)["dataset_dir"]), "")
        assert str(Path(heads[0]).parent) not in text, path
        assert not [case for case in heads[1] if case in text], path
