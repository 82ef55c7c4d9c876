"""`create --unlabelled` and `train --self_training`: scans that nobody labelled take part in a second round."""

import json
import shutil

import pytest
import torch
from bundle_tools import shrink

from auto_config.commands.create import create
from auto_config.commands.train import train
from auto_config.errors import UserError
from auto_config.running import self_training

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


def test_the_second_round_goes_on_from_the_first_and_keeps_the_better_weights(with_scans, server, monkeypatch, capfd):
    bundle = with_scans
    document = json.loads((bundle / "data" / "datalist.json").read_text())
    assert [item["case"] for item in document["unlabelled"]] == ["scan_0", "scan_1"]
    with pytest.raises(UserError, match="is not there, and its network must label the scans"):
        train(bundle, self_training=True)
    server.monai(bundle, *TRAIN)
    first = torch.load(bundle / "models" / "model.pt", weights_only=True)
    label = document["training"][0]["label"]

    def predicted(_, items, weights, device):
        assert weights == bundle / "models" / "fold_0" / "model.pt" and device is None
        return [{**item, "image": item["image"][0], "label": label, "confidence": {}} for item in items], {"ok": 2}

    monkeypatch.setattr(self_training, "_predicted", predicted)
    capfd.readouterr()
    options = {"max_epochs": 1, "calibrate": False, "device": "cpu", "learning_rate": 0.0}
    assert train(bundle, self_training=True, **options) == 0
    said = capfd.readouterr().out
    assert "2 of 2 unlabelled scans are trained on (2 scans ok)." in said
    # A rate of 0 shows where it began: nothing is better than the weights in use, so these stay.
    second = torch.load(bundle / "models" / "model.pt", weights_only=True)
    assert all(torch.equal(first[name], second[name]) for name in first)
    latest = torch.load(bundle / "models" / "fold_0" / "latest.pt", weights_only=False)
    trained = latest["network"]
    assert all(torch.equal(first[name], trained[name]) for name in first if not name.startswith("shape."))
    monkeypatch.setattr(self_training, "_predicted", lambda *_: pytest.fail("predicted again"))
    assert train(bundle, self_training=True, resume=True, **{**options, "max_epochs": 2}) == 0


def test_a_second_round_is_of_one_fold(with_scans):
    for wrong in ({"fold": "all"}, {"fold": "none"}, {"seeds": 2}, {"launcher": "local"}):
        with pytest.raises(UserError, match="--self_training trains one fold"):
            train(with_scans, self_training=True, **wrong)


def test_a_folder_of_labelled_scans_alone_is_refused(odd, tmp_path):
    with pytest.raises(UserError, match="has no image that is not a case of the data set"):
        create(odd[0], tmp_path / "bundle", unlabelled=odd[0] / "images", **OPTIONS)
    assert not (tmp_path / "bundle").exists()
