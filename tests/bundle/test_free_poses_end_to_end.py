"""Pictures that lie anyhow, the whole way: the plan, a training, a prediction with turned crops, and what is said."""

import csv
import json

import numpy as np
import pytest
from bundle_tools import shrink
from PIL import Image
from upright_networks import anatomy, any_turn

from auto_config.bundle.opened import open_bundle
from auto_config.commands.create import create
from auto_config.commands.predict import predict
from auto_config.commands.train import train

pytestmark = pytest.mark.usefixtures("warm_python")

SIZE, CASES = 64, 8
NAMES = [f"p{i}" for i in range(len(anatomy(2)[0]))]


def fill(folder, turned):
    """A blob for each landmark, of its own height; points in a table."""
    random = np.random.default_rng(0)
    (folder / "images").mkdir(parents=True)
    grid = np.stack(np.meshgrid(np.arange(SIZE), np.arange(SIZE), indexing="ij"), -1)
    rows = [["image", "landmark", "x", "y"]]
    for number in range(CASES):
        points = 1.6 * (anatomy(2)[0] + random.normal(size=(len(NAMES), 2)) * 0.1)
        points = (points @ any_turn(number, 2).T if turned else points) + SIZE / 2
        picture = random.uniform(0, 15, (SIZE, SIZE))
        for height, point in zip(np.linspace(60, 220, len(NAMES)), points, strict=True):
            picture = np.maximum(picture, height * np.exp(-0.5 * ((grid - point) ** 2).sum(-1) / 2))
        Image.fromarray(picture.T.astype(np.uint8)).save(folder / "images" / f"c{number}.png")
        rows += [[f"c{number}.png", name, *point] for name, point in zip(NAMES, points.round(3), strict=True)]
    with (folder / "points.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows(rows)
    return folder


def made(root, turned, **options):
    data = fill(root / "data", turned)
    usual = {"network": "tiny", "pixel_spacing": [1.0], "folds": 2, "test_fraction": 0.0, "workers": 1}
    assert create(data, root / "bundle", **usual, **options) == 0
    shrink(root / "bundle")
    assert train(root / "bundle", max_epochs=1, iterations_per_epoch=2, val_interval=1, calibrate=False) == 0
    return root


def decisions(root):
    return json.loads((root / "bundle/configs/plan.json").read_text())["decisions"]


def test_turned_pictures_are_planned_trained_and_predicted_freely(tmp_path):
    root = made(tmp_path, turned=True, patch_size=[16, 16])
    assert decisions(root)["pose"]["value"] == {"kind": "free", "limit_deg": 180.0, "turned_crops": True}
    assert [stage["name"] for stage in decisions(root)["stages"]["value"]] == ["coarse", "fine"]
    coarse = decisions(root)["stages"]["value"][0]
    assert coarse["patch_size"][0] == coarse["patch_size"][1]
    assert predict(root / "bundle", root / "data/images", root / "out", device="cpu") == 0
    run = json.loads((root / "out/run.json").read_text())
    assert run["turned_deg"] == {}
    opened = open_bundle(root / "bundle", device="cpu")
    found = opened.heatmaps(opened.preprocess(root / "data/images/c0.png"))
    assert found.turn is not None
    assert np.linalg.det(found.turn) == pytest.approx(1.0)


def test_pictures_that_lie_alike_are_planned_as_before(tmp_path):
    root = made(tmp_path, turned=False)
    assert decisions(root)["pose"]["value"]["kind"] == "upright"
    assert [stage["name"] for stage in decisions(root)["stages"]["value"]] == ["fine"]
    assert predict(root / "bundle", root / "data/images/c0.png", root / "out", device="cpu") == 0
