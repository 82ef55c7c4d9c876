"""`train --jitter out_of_fold`: the errors of an earlier coarse stage on unseen cases place the crops of a training."""

import json

import numpy as np
import pytest
import torch
from bundle_tools import edit

from auto_config.bundle.opened import open_bundle
from auto_config.bundle_scripts.points.landmarks import PRESENT, LandmarkSet
from auto_config.commands.train import train
from auto_config.errors import UserError

TRAIN = ("run", "training", "--config_file", "configs/train.json", "--train#trainer#max_epochs", 1)


def test_errors_of_unseen_cases_are_measured_and_used(two_stage_bundle, copy_of, server, capfd):
    bundle = copy_of(two_stage_bundle)
    server.monai(bundle, *TRAIN)
    opened = open_bundle(bundle, device="cpu", plausibility=True)
    datalist = json.loads((bundle / "data" / "datalist.json").read_text())
    expected = []
    for item in (item for item in datalist["training"] if item["fold"] == 0):
        label = LandmarkSet.from_inline(item["label"], opened.names)
        data = opened.preprocess(f"{datalist['dataset_dir']}/{item['image']}")
        with torch.inference_mode():
            points = opened.inferer.coarse_points(data["image"].as_tensor(), opened.network)
        world = (points @ data["image"].affine[:3, :3].numpy().T) + data["image"].affine[:3, 3].numpy()
        expected += np.linalg.norm(world - label.points, axis=1)[label.status == PRESENT].tolist()
    assert train(bundle, jitter="out_of_fold", overwrite=True, max_epochs=1, calibrate=False, device="cpu") == 0
    kept = bundle / "models" / "fold_0" / "coarse_errors.json"
    measured = json.loads(kept.read_text())
    np.testing.assert_allclose(measured["lengths"], sorted(expected), atol=1e-3)
    assert measured["cases"] == sum(item["fold"] == 0 for item in datalist["training"])
    assert "coarse_errors.json" in capfd.readouterr().out
    # What a training with --jitter is given to go on is not measured again: its weights are new.
    edit(kept, lambda document: document.update(lengths=[0.25]))
    assert train(bundle, jitter="out_of_fold", resume=True, max_epochs=2, calibrate=False, device="cpu") == 0
    assert json.loads(kept.read_text())["lengths"] == [0.25]


def test_a_training_fails_in_one_line_over_errors_that_it_cannot_read(two_stage_bundle, copy_of, capfd):
    bundle = copy_of(two_stage_bundle)
    assert train(bundle, coarse_errors=str(bundle / "nowhere.json"), max_epochs=1, calibrate=False, device="cpu") == 2
    said = capfd.readouterr().err.strip().splitlines()
    assert said[0].startswith("error: ") and "nowhere.json: cannot be read as errors of a coarse stage" in said[0]


def test_where_there_are_no_crops_or_no_weights_it_says_so(two_stage_bundle, one_stage_bundle, copy_of):
    with pytest.raises(UserError, match="has one stage"):
        train(one_stage_bundle, jitter="out_of_fold")
    with pytest.raises(UserError, match="fold 0 is not trained, so its coarse stage has no errors yet"):
        train(two_stage_bundle, jitter="out_of_fold")
    earlier = copy_of(two_stage_bundle)
    edit(earlier / "configs" / "train.json", lambda config: config.pop("coarse_errors"))
    with pytest.raises(UserError, match="knows no --jitter, because an earlier version made it"):
        train(earlier, jitter="out_of_fold")
