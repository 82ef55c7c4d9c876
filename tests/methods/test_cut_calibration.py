"""A bundle from complete cases, trained on cut fields of view, calibrates on cuts and decides presence by itself."""

import json
import shutil

import pytest
import torch
from steps import narrow_bundle, two_steps, write_cases

from auto_config.bundle.opened import open_bundle
from auto_config.calibration.time_limit import TimeLimit
from auto_config.commands.calibrate import calibrate


@pytest.fixture(scope="module", params=[(1, 2), (2, 3)], ids=["one stage 2D", "two stages 3D"])
def trained(request, tmp_path_factory):
    stages, dims = request.param
    folder = tmp_path_factory.mktemp("cuts")
    data = write_cases(folder / "data", dims)
    root = narrow_bundle(data, folder / "bundle", stages=stages, dims=dims)
    two_steps(root)
    (root / "models/fold_0").mkdir()
    shutil.copy(root / "models/model.pt", root / "models/fold_0/model.pt")
    return root, sorted((data / "images").iterdir())[0]


def test_presence_is_decided_by_default(trained, capsys):
    root, image = trained
    assert json.loads((root / "configs/train.json").read_text())["cut_share"] == 0.2
    assert calibrate(root, pooled=True, device="cpu") == 0
    assert "absent examples are cuts" in capsys.readouterr().out
    document = json.loads((root / "models/calibration.json").read_text())
    assert document["cases"] == 3
    assert document["presence"]["cuts"]["images"] == 9
    assert document["presence"]["features"][-2:] == ["border", "expected"]
    opened = open_bundle(root, device="cpu")
    result = opened.predict(opened.preprocess(image))["result"]["landmarks"]
    limits = document["presence"]["thresholds"]
    assert [item["present"] for item in result] == [
        int(item["confidence"] >= limit) for item, limit in zip(result, limits, strict=True)
    ]


def test_kept_cuts_are_used_until_labels_or_weights_change(trained, monkeypatch):
    root, _ = trained
    calibrate(root, pooled=True, device="cpu")
    calibrate(root, pooled=True, device="cpu")  # eight digits are kept, so what is new differs in the ninth
    first = (root / "models/calibration.json").read_text()
    with monkeypatch.context() as patched:
        patched.setattr("auto_config.calibration.cuts.predict_cuts", lambda *_, **__: pytest.fail("predicted again"))
        calibrate(root, pooled=True, device="cpu")
    assert (root / "models/calibration.json").read_text() == first
    for path in (root / "models/model.pt", root / "models/fold_0/model.pt"):
        state = torch.load(path, weights_only=True)
        torch.save({name: x * 1.01 if x.is_floating_point() else x for name, x in state.items()}, path)
    before = (root / "models/fold_0/cut_out_of_fold.json").read_text()
    calibrate(root, pooled=True, device="cpu")
    assert (root / "models/fold_0/cut_out_of_fold.json").read_text() != before


@pytest.fixture
def useful(monkeypatch):
    """As if the networks of two steps were better than the mean shape."""
    monkeypatch.setattr("auto_config.calibration.writing.useless_reason", lambda *_: None)


def test_within_a_time_a_useless_model_is_not_looked_at_cut_or_spoiled(trained, monkeypatch, capsys):
    root, _ = trained
    kept = [root / "models/fold_0" / name for name in ("cut_out_of_fold.json", "spoiled.json")]
    for path in kept:
        path.unlink(missing_ok=True)
    monkeypatch.setattr("auto_config.calibration.writing.useless_reason", lambda *_: "no better than the mean shape")
    assert calibrate(root, pooled=True, device="cpu", time_budget="5m") == 0
    assert "no cut and spoiled cases: the model is no better" in " ".join(capsys.readouterr().out.split())
    document = json.loads((root / "models/calibration.json").read_text())
    assert document["useless"] == "no better than the mean shape" and document["presence"] is None
    assert not any(path.exists() for path in kept)


@pytest.mark.usefixtures("useful")
def test_a_time_budget_leaves_out_cuts_and_spoiled_cases_and_the_next_calibration_makes_them(trained, capsys):
    root, _ = trained
    kept = [root / "models/fold_0" / name for name in ("cut_out_of_fold.json", "spoiled.json")]
    for path in kept:
        path.unlink(missing_ok=True)
    assert calibrate(root, pooled=True, device="cpu", time_budget="1s") == 0
    assert "there was no time for 9 cut cases and 2 spoiled cases;" in " ".join(capsys.readouterr().out.split())
    document = json.loads((root / "models/calibration.json").read_text())
    assert document["cases"] == 3
    assert document["presence"] is None
    assert not any(path.exists() for path in kept)
    assert calibrate(root, pooled=True, device="cpu") == 0
    assert "no time" not in capsys.readouterr().out
    assert json.loads((root / "models/calibration.json").read_text())["presence"]["cuts"]["images"] == 9
    assert all(path.exists() for path in kept)


@pytest.mark.usefixtures("useful")
def test_what_was_cut_short_counts_and_is_not_kept(trained, monkeypatch):
    root, _ = trained
    kept = [root / "models/fold_0" / name for name in ("cut_out_of_fold.json", "spoiled.json")]
    for path in kept:
        path.unlink(missing_ok=True)

    def first_one(limit, tasks, share=1.0, first=1.0):
        limit.omitted += len(tasks) - 1
        return iter(tasks[:1])

    with monkeypatch.context() as patched:
        patched.setattr(TimeLimit, "these", first_one)
        assert calibrate(root, pooled=True, device="cpu", time_budget="5m") == 0
    document = json.loads((root / "models/calibration.json").read_text())
    assert document["presence"]["cuts"]["images"] == 1
    assert "there was no time for 8 cut cases and 1 spoiled case" in " ".join(document["notes"])
    assert not any(path.exists() for path in kept)


def test_without_cuts_nothing_is_cut_and_every_landmark_counts(tmp_path):
    data = write_cases(tmp_path / "data", 2)
    root = narrow_bundle(data, tmp_path / "bundle", stages=1, dims=2, cut_share=0.0)
    config = json.loads((root / "configs/train.json").read_text())
    assert "cut_share" not in json.dumps(config)
    two_steps(root)
    (root / "models/fold_0").mkdir()
    shutil.copy(root / "models/model.pt", root / "models/fold_0/model.pt")
    calibrate(root, pooled=True, device="cpu")
    assert json.loads((root / "models/calibration.json").read_text())["presence"] is None
    assert not (root / "models/fold_0/cut_out_of_fold.json").exists()
