"""`verify`: weights that cannot be read are said once, and nobody is told to switch torch's check off."""

import json
from pathlib import Path

import pytest
import torch

from auto_config.verification import monai_checks
from auto_config.verification.weights import check_weights

DAMAGED = {
    "a byte": (lambda path: path.write_bytes(b"x"), "holds Python objects, which could run code, or is damaged"),
    "cut": (lambda path: path.write_bytes(path.read_bytes()[:500]), "is damaged or no file of weights"),
    "an object": (lambda path: torch.save(Path("x"), path), "holds Python objects, which could run code"),
}


@pytest.fixture
def root(tmp_path):
    """A folder with weights, of which two are of an ensemble."""
    (tmp_path / "models" / "fold_0").mkdir(parents=True)
    for name in ("model.pt", "fold_0/model.pt"):
        torch.save({"weight": torch.zeros(1)}, tmp_path / "models" / name)
    (tmp_path / "models" / "ensemble.json").write_text(json.dumps({"files": ["fold_0/model.pt"]}))
    return tmp_path


def test_weights_that_can_be_read_pass(root):
    assert check_weights(root).state == "ok"


@pytest.mark.parametrize("kind", DAMAGED)
@pytest.mark.parametrize("name", ["models/model.pt", "models/fold_0/model.pt"])
def test_the_row_of_the_weights_fails_in_our_words(root, name, kind):
    spoil, problem = DAMAGED[kind]
    spoil(root / name)
    found = check_weights(root)
    assert found.state == "failed"
    assert found.problem.startswith(f"{name}: is ") and problem in found.problem
    assert found.remedy.endswith("or train again") and "change of the network" not in found.remedy
    assert "weights_only" not in str(found)


@pytest.mark.parametrize("listed", [False, True])
def test_a_member_that_is_not_there_fails_unless_it_can_be_fetched(root, listed):
    (root / "models" / "fold_0" / "model.pt").unlink()
    if listed:
        (root / "large_files.yml").write_text(
            'large_files:\n  - path: "models/fold_0/model.pt"\n    url: "https://x"\n'
        )
    found = check_weights(root)
    assert found.state == ("ok" if listed else "failed")
    assert listed or "models/fold_0/model.pt, which is not there" in found.problem


@pytest.mark.parametrize("text", ["{", "[]", '{"files": 1}', "{}"])
def test_a_list_of_an_ensemble_that_is_none_says_nothing_of_weights(root, text):
    (root / "models" / "ensemble.json").write_text(text)
    assert check_weights(root).state == "ok"


@pytest.mark.parametrize("kind", DAMAGED)
def test_exports_of_damaged_weights_are_not_tried(root, monkeypatch, kind):
    monkeypatch.chdir(root)
    DAMAGED[kind][0](root / "models" / "model.pt")
    exports = [f for f in monai_checks.check(root, None) if f.what in ("ckpt_export, scripted", "onnx_export")]
    assert [f.state for f in exports] == ["not checked"] * 2
    for finding in exports:
        assert "models/model.pt cannot be read" in str(finding) and "weights_only" not in str(finding)


def test_a_scripted_network_that_is_there_is_loaded(root, monkeypatch):
    monkeypatch.chdir(root)
    what = "models/model.ts is TorchScript"
    assert what not in [f.what for f in monai_checks.check(root, None)]
    path = root / "models" / "model.ts"
    torch.jit.script(torch.nn.Linear(1, 1)).save(str(path))
    for spoil, state in ((lambda: None, "ok"), (lambda: path.write_bytes(b"x"), "failed")):
        spoil()
        (found,) = [f for f in monai_checks.check(root, None) if f.what == what]
        assert found.state == state
    assert found.problem == "torch.jit.load cannot read models/model.ts: it is damaged, or no TorchScript"
    assert "ckpt_export" in found.remedy
