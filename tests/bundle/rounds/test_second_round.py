"""`create --unlabelled` and `train --self_training`: scans that nobody labelled take part in a second round."""

import json
import shutil

import pytest
import torch
from bundle_tools import shrink

from auto_config import cli
from auto_config.commands.create import create
from auto_config.commands.train import train
from auto_config.errors import UserError
from auto_config.rounds import self_training

TRAIN = ("run", "training", "--config_file", "configs/train.json", "--train#trainer#max_epochs", 1)
OPTIONS = {"network": "tiny", "stages": 1, "patch_size": [16, 16, 16], "workers": 1, "few_labels": False}


@pytest.fixture
def with_scans(odd, tmp_path):
    """An untrained bundle that knows two unlabelled scans; labelled ones in the folder do not count."""
    scans = tmp_path / "scans"
    scans.mkdir()
    labelled = sorted((odd[0] / "images").iterdir())
    for number, path in enumerate(labelled[:2]):
        shutil.copy(path, scans / f"scan_{number}.nii.gz")
    (scans / labelled[2].name).symlink_to(labelled[2])
    bundle = tmp_path / "bundle"
    assert create(odd[0], bundle, unlabelled=scans, **OPTIONS) == 0
    return shrink(bundle)


def test_the_second_round_goes_on_from_the_first_with_predictions(with_scans, server, monkeypatch, capfd):
    bundle = with_scans
    document = json.loads((bundle / "data" / "datalist.json").read_text())
    assert [item["case"] for item in document["unlabelled"]] == ["scan_0", "scan_1"]
    assert cli.main(["inspect", str(bundle / "data" / "datalist.json")]) == 0
    with pytest.raises(UserError, match="is not there, and its network must label the scans"):
        train(bundle, self_training=True)
    server.monai(bundle, *TRAIN)
    # After two steps no prediction is ok; what is made of one that is does not depend on its points.
    monkeypatch.setattr(self_training, "OK", "failed")
    first = torch.load(bundle / "models" / "model.pt", weights_only=True)
    score = (bundle / "models" / "fold_0" / "score.json").read_text()
    capfd.readouterr()
    options = {"max_epochs": 1, "calibrate": False, "device": "cpu", "learning_rate": 0.0}
    assert train(bundle, self_training=True, **options) == 0
    said = capfd.readouterr().out
    assert "2 of 2 unlabelled scans are trained on (2 scans failed)." in said
    assert "With unlabelled scans the error on the validation cases is " in said
    # A rate of 0 shows where it began.
    latest = torch.load(bundle / "models" / "fold_0" / "latest.pt", weights_only=False)["network"]
    assert all(
        torch.equal(first[name], latest[name]) for name in first
    )  # the shape too: predictions have no part in it
    listed = json.loads((bundle / "models" / "fold_0" / "self_training.json").read_text())["training"]
    assert {item["case"] for item in listed if "confidence" in item} == {"scan_0", "scan_1"}
    assert json.loads((bundle / "models" / "fold_0" / "score.json").read_text())["value"] == pytest.approx(
        json.loads(score)["value"], rel=1e-3
    )
    with pytest.raises(UserError, match="began with --self_training"):
        train(bundle, resume=True, max_epochs=2)
    monkeypatch.setattr(self_training, "_predicted", lambda *_: pytest.fail("predicted again"))
    assert train(bundle, self_training=True, resume=True, **{**options, "max_epochs": 2}) == 0


def test_a_folder_of_labelled_scans_alone_is_refused(odd, tmp_path):
    with pytest.raises(UserError, match="has no image that is not a case of the data set"):
        create(odd[0], tmp_path / "bundle", unlabelled=odd[0] / "images", **OPTIONS)
    assert not (tmp_path / "bundle").exists()
