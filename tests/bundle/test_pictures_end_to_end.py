"""The whole way in 2D with two channels: create, train, predict, evaluate, and MONAI's own command; in mm from PNGs."""

import csv
import json
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from bundle_tools import failures_of_zoo_test
from PIL import Image

from auto_config.commands.create import create
from auto_config.commands.evaluate import evaluate
from auto_config.commands.package import package
from auto_config.commands.predict import predict
from auto_config.commands.train import train

pytestmark = pytest.mark.usefixtures("warm_python")

SIZE, CASES, MM = (64, 48), 6, 0.5
BASE = np.array([[20.0, 16.0], [44.0, 30.0]])  # pixels


def fill(folder):
    """Blobs on pictures: landmark ``a`` in the first channel, ``b`` in the second; points in pixels in a table."""
    rng = np.random.default_rng(0)
    (folder / "images").mkdir(parents=True)
    rows = [["image", "image_2", "landmark", "x", "y"]]
    grid = np.stack(np.meshgrid(np.arange(SIZE[0]), np.arange(SIZE[1]), indexing="ij"), -1)
    for number in range(CASES):
        points = BASE + rng.uniform(-3, 3, (2, 2))
        names = [f"images/case{number}_{channel:04d}.png" for channel in range(2)]
        for name, point in zip(names, points, strict=True):
            blob = 200 * np.exp(-0.5 * ((grid - point) ** 2).sum(-1) / 4) + rng.uniform(0, 20, SIZE)
            Image.fromarray(blob.T.astype(np.uint8)).save(folder / name)
        rows += [[*names, name, *point] for name, point in zip("ab", points.round(3), strict=True)]
    with (folder / "points.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows(rows)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Data set and trained bundle."""
    root = tmp_path_factory.mktemp("pictures")
    fill(root / "data")
    options = {"channels": ["front", "side"], "pixel_spacing": [MM], "folds": 2, "test_fraction": 0.0, "workers": 1}
    assert (
        create(
            root / "data", root / "bundle", network="tiny", stages=2, patch_size=[16, 16], few_labels=False, **options
        )
        == 0
    )
    assert train(root / "bundle", max_epochs=1, iterations_per_epoch=3, val_interval=1, calibrate=False) == 0
    return root


def table(folder):
    with (folder / "predictions.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_predictions_are_in_pixels_and_in_mm(made):
    out = made / "out"
    assert predict(made / "bundle", made / "data/images", out, device="cpu", labelmap=True, fcsv=True, json=True) == 0
    rows = table(out)
    assert list(rows[0])[:6] == ["case", "landmark", "x_px", "y_px", "x_mm", "y_mm"]
    assert {row["case"] for row in rows} == {f"case{number}" for number in range(CASES)}
    for row in rows:
        assert float(row["x_mm"]) == pytest.approx(MM * float(row["x_px"]), abs=1e-5)
        assert float(row["y_mm"]) == pytest.approx(MM * float(row["y_px"]), abs=1e-5)
    assert {path.name for path in out.glob("case0.*")} == {
        "case0.mrk.json",
        "case0.fcsv",
        "case0.json",
        "case0.labels.nii.gz",
    }
    assert evaluate(out, made / "data", pixel_spacing=[MM]) == 0
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["unit"] == "mm"
    assert metrics["cases"]["evaluated"] == CASES
    # An image of one case: the other channel lies beside it.
    one = made / "one"
    assert predict(made / "bundle", made / "data/images/case3_0000.png", one, device="cpu") == 0
    assert [row for row in rows if row["case"] == "case3"] == table(one)


def test_monais_own_command_gives_the_same_points(made):
    bundle, out = made / "bundle", made / "monai"
    command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", str(bundle / "configs/inference.json")]
    command += ["--bundle_root", str(bundle), "--dataset_dir", str(made / "data/images"), "--output_dir", str(out)]
    subprocess.run([*command, "--device", "$torch.device('cpu')"], check=True, capture_output=True)
    assert predict(bundle, made / "data/images", made / "again", device="cpu") == 0
    for found, expected in zip(table(out), table(made / "again"), strict=True):
        assert (found["case"], found["landmark"]) == (expected["case"], expected["landmark"])
        for key in ("x_px", "y_px", "x_mm", "y_mm"):
            assert float(found[key]) == pytest.approx(float(expected[key]), abs=1e-3)


def test_the_bundle_remembers_unit_and_channels(made):
    configs = made / "bundle/configs"
    assert json.loads((configs / "landmarks.json").read_text())["unit"] == "mm"
    assert json.loads((configs / "inference.json").read_text())["pixel_spacing"] == [MM, MM]
    metadata = json.loads((configs / "metadata.json").read_text())
    assert metadata["network_data_format"]["inputs"]["image"]["channel_def"] == {"0": "front", "1": "side"}
    datalist = json.loads((made / "bundle/data/datalist.json").read_text())
    assert datalist["pixel_spacing"] == [MM, MM]
    assert all(len(item["image"]) == 2 for item in datalist["training"])


def test_the_test_of_the_zoo_makes_pictures(made, tmp_path):
    assert package(made / "bundle", tmp_path / "bundle.zip") == 0
    with zipfile.ZipFile(tmp_path / "bundle.zip") as archive:
        archive.extractall(tmp_path)
    assert failures_of_zoo_test(tmp_path / "test_bundle.py", tmp_path / "bundle") == set()
