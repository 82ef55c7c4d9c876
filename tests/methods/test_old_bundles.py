"""A bundle written before methods had a seam predicts, gives heatmaps and trains with its own scripts."""

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from steps import points_of, two_steps

from auto_config.bundle.opened import open_bundle
from auto_config.bundle_scripts.points.instances import read_instances
from auto_config.prediction.densities import densities

ARCHIVE = Path(__file__).with_name("old_bundle.zip")


@pytest.fixture
def old(tmp_path):
    with zipfile.ZipFile(ARCHIVE) as archive:
        archive.extractall(tmp_path)
    return tmp_path


def test_the_archive_is_small():
    assert ARCHIVE.stat().st_size < 300_000


def test_it_predicts_the_points_that_its_own_version_did(old):
    found = points_of(old / "bundle", old / "data/images/c0.nii.gz")
    np.testing.assert_allclose(found, json.loads((old / "points.json").read_text()), atol=2e-3)


def test_its_heatmaps_are_densities_and_two_of_its_networks_are_one(old):
    root = old / "bundle"
    opened = open_bundle(root, device="cpu", weights=[root / "models/model.pt"] * 2)
    data = opened.preprocess(old / "data/images/c0.nii.gz")
    found = opened.heatmaps(data)
    density = densities(opened, found, read_instances(root / "configs/landmarks.json"), np.full(3, 2.0))
    assert density.shape == found.output["logits"].shape
    np.testing.assert_allclose(density.sum(axis=(1, 2, 3)), 1, atol=1e-4)
    # Two equal networks find what one finds.
    alone = open_bundle(root, device="cpu").heatmaps(data).peaks.points
    np.testing.assert_allclose(found.peaks.points, alone, atol=1e-3)
    assert opened.decoder.single().decode(found.output).points.shape == (4, 3)


def test_it_trains_from_the_same_start_to_the_same_weights(old):
    root = old / "bundle"
    before = torch.load(root / "models/model.pt", weights_only=True)
    path = root / "configs/train.json"
    config = json.loads(path.read_text())
    config["dataset_dir"] = str(old / "data/images")
    path.write_text(json.dumps(config))
    after = two_steps(root)
    assert before.keys() == after.keys()
    for name, value in after.items():
        torch.testing.assert_close(value.nan_to_num(), before[name].nan_to_num(), rtol=2e-4, atol=2e-5)
