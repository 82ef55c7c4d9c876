"""Numbers that stand in train.json and in inference.json: a person who changes one of them is told."""

import json
import sys

import pytest

from auto_config.bundle.shared_numbers import SHARED, disagreement
from auto_config.commands.train import train
from auto_config.running import training


@pytest.fixture
def bundle(tmp_path):
    content = {
        "spacing": [1.0, 1.0, 2.0],
        "pad_value": -0.5,
        "patch_size": [32, 32, 32],
        "network_def": {"_target_": "A", "filters": [4, 8]},
        "overlap": 0.5,
    }
    (tmp_path / "configs").mkdir()
    for name, more in (("train", {"dataset_dir": "/a", "batch_size": 2}), ("inference", {"dataset_dir": "/b"})):
        (tmp_path / "configs" / f"{name}.json").write_text(json.dumps({**content, **more}))
    return tmp_path


def change(bundle, name, **values):
    path = bundle / "configs" / f"{name}.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_equal_files_agree_whatever_else_differs(bundle):
    change(bundle, "inference", overlap=0.75)
    assert disagreement(bundle) is None
    assert disagreement(bundle, {"batch_size": 4, "spacing": [1, 1, 2], "train#trainer#max_epochs": 3}) is None
    assert disagreement(bundle, {"spacing": "[1.0, 1, 2]"}) is None


def test_a_number_and_a_part_that_differ_are_named_in_one_line(bundle):
    change(bundle, "train", spacing=[2.0, 2.0, 2.0], network_def={"_target_": "B"})
    said = disagreement(bundle)
    assert said == (
        f"{bundle}: training (configs/train.json) and prediction (configs/inference.json) differ in spacing "
        "([2.0, 2.0, 2.0] and [1.0, 1.0, 2.0]), network_def; set the same in both, or points may be wrong"
    )


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        ({"spacing": [3, 3, 3]}, "spacing ([3, 3, 3] and [1.0, 1.0, 2.0])"),
        ({"patch_size": "[8, 8, 8]"}, "patch_size ([8, 8, 8] and [32, 32, 32])"),
        ({"network_def#filters": [2, 4]}, "network_def"),
        ({"network_def::filters": [2, 4]}, "network_def"),
    ],
)
def test_what_the_command_line_sets_counts(bundle, overrides, named):
    assert f"and the command line) and prediction (configs/inference.json) differ in {named};" in disagreement(
        bundle, overrides
    )


def test_files_that_cannot_be_read_are_not_its_matter(bundle):
    (bundle / "configs/inference.json").write_text("{")
    assert disagreement(bundle) is None
    (bundle / "configs/train.json").unlink()
    assert disagreement(bundle, {"spacing": [1]}) is None


def test_a_written_bundle_agrees_and_has_what_is_compared(two_stage_bundle):
    assert disagreement(two_stage_bundle) is None
    train, inference = (
        json.loads((two_stage_bundle / f"configs/{name}.json").read_text()) for name in ("train", "inference")
    )
    assert set(SHARED) - {"pixel_spacing"} <= train.keys() & inference.keys()


def test_train_says_it_and_goes_on(bundle, monkeypatch, capsys):
    (bundle / "data").mkdir()
    monkeypatch.setattr(training, "command", lambda *_: [sys.executable, "-c", "raise SystemExit(3)"])
    assert train(bundle) == 3
    assert "warning" not in capsys.readouterr().err
    assert train(bundle, spacing=[2.0, 2.0, 2.0]) == 3
    (said,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning:")]
    assert "differ in spacing ([2.0, 2.0, 2.0] and [1.0, 1.0, 2.0]); set the same in both" in said
