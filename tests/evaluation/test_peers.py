"""`benchmarks/peers`: one grid for all images, predictions that `evaluate` reads, and landmarker where it is there."""

import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from auto_config.api.arrays import ArrayImage
from auto_config.api.data import read_dataset, write_cases
from auto_config.errors import UserError
from auto_config.evaluation.predictions import read_predictions

PEERS = Path(__file__).parents[2] / "benchmarks" / "peers"
OWN = ("peer_arguments", "peer_grid", "peer_files", "landmarker_package", "landmarker_training", "deeplabcut_package")


@pytest.fixture
def part(monkeypatch):
    """Import a module of the folder by its name, as the scripts there do."""
    monkeypatch.setattr(sys, "path", [str(PEERS), *sys.path])
    yield importlib.import_module
    for name in OWN:
        sys.modules.pop(name, None)


def affine(axes, spacing, origin):
    """(4, 4) whose voxel axis j goes along world axis `axes[j]`, backwards where it is written as -axis - 1."""
    made = np.eye(4)
    made[:3, :3] = 0
    for j, axis in enumerate(axes):
        made[axis if axis >= 0 else -axis - 1, j] = spacing[j] if axis >= 0 else -spacing[j]
    made[:3, 3] = origin
    return made


def test_points_go_to_the_grid_and_back(part):
    grid = part("peer_grid").PeerGrid(0.3, (64, 96, 32))
    center = np.array([5.0, -70.0, 1000.0])
    points = np.random.default_rng(0).normal(center, 10, (7, 3))
    np.testing.assert_allclose(grid.world(grid.voxels(points, center), center), points, atol=1e-9)
    np.testing.assert_allclose(grid.voxels(center, center), [31.5, 47.5, 15.5])
    np.testing.assert_allclose(grid.voxels(center + [0.3, 0, 0], center), [32.5, 47.5, 15.5])
    assert np.isnan(grid.voxels(np.full((1, 3), np.nan), center)).all()


def test_the_grid_holds_every_image(part):
    lying = ((40, 20, 60), affine((2, 0, -2), (1.0, 2.0, 1.5), (3, 4, 5)))  # z 40, x 40, y 90 mm
    grid = part("peer_grid").peer_grid([lying, ((10, 10, 50), np.eye(4))], 96)
    assert grid.spacing == pytest.approx(90 / 96)
    assert grid.shape == (64, 96, 64)  # 42.7, 96 and 53.3 voxels
    with pytest.raises(UserError, match="multiple of 32"):
        part("peer_grid").peer_grid([lying], 100)


def test_an_image_lies_in_its_place_on_the_grid(part):
    """An image whose values are the world's coordinates has them at the places of the grid, whichever way it lies."""
    shape, where = (30, 24, 40), affine((1, -3, -1), (0.5, 1.0, 0.5), (30, -12, 8))
    voxels = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"))
    world = np.einsum("ij,j...->i...", where[:3, :3], voxels) + where[:3, 3][:, None, None, None]
    grid = part("peer_grid").peer_grid([(shape, where)], 64, multiple=4)
    center = world.reshape(3, -1).mean(1)
    found = grid.sampled(world, where)
    at = np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), -1)
    expected = np.moveaxis(grid.world(at, center), -1, 0)
    # Not beyond the image, and not where smoothing meets its border.
    inner = tuple(slice(n // 4, -n // 4) for n in grid.shape)
    np.testing.assert_allclose(found[(..., *inner)], expected[(..., *inner)], atol=1e-3)


def cohort(folder, count=6):
    """Cases of two landmarks, the second absent in the last one; points are 2 and -2 mm off the middle, moved a bit."""
    rng, cases = np.random.default_rng(1), {}
    for n in range(count):
        image = ArrayImage(
            rng.normal(size=(1, 16, 16, 16)).astype(np.float32), affine=affine((0, 1, 2), (1, 1, 1), (n, 0, 0))
        )
        middle = np.array([n + 7.5, 7.5, 7.5])
        second = None if n == count - 1 else (middle - 2 + n / 10).tolist()
        cases[f"case{n}"] = (image, {"A": (middle + 2).tolist(), "B": second})
    return write_cases(folder, cases)


def test_predictions_are_those_that_evaluate_reads(part, tmp_path, capfd):
    files = part("peer_files")
    dataset = cohort(tmp_path / "scans")
    (tmp_path / "test.txt").write_text("case1\ncase5\n", encoding="utf-8")
    split = files.split_cases(dataset, tmp_path / "test.txt")
    assert [case.name for case in split.test] == ["case1", "case5"]
    assert sorted(case.name for case in split.known) == ["case0", "case2", "case3", "case4"]
    assert split.training and split.validation
    points = {
        name: np.array([[n + 9.5, 9.5, 9.5 + 3], [n + 5.6, 5.6, 5.6]]) for n, name in ((1, "case1"), (5, "case5"))
    }
    folder = tmp_path / "predictions"
    files.write_predictions(folder, dataset, split, points, {"case1": 0.5, "case5": 1.5}, package=("peer", "1"))
    read = read_predictions(folder)
    np.testing.assert_allclose(read.points, [points["case1"], points["case5"]])
    assert read.bundle == "peer 1" and read.seconds == {"case1": 0.5, "case5": 1.5}
    np.testing.assert_allclose(read.mean_shape, [[2, 2, 2], [-2 + 0.9 / 4] * 3], atol=1e-6)
    metrics = files.evaluated(folder, tmp_path / "scans", None)
    # A is 3 mm off in both; B is where it is in case1, and absent in case5.
    assert metrics["mre_mm"]["mean"] == pytest.approx(2) and metrics["mre_mm"]["n"] == 3
    assert metrics["mean_shape_baseline"] is not None
    assert capfd.readouterr().out == ""
    with pytest.raises(UserError, match="was not evaluated"):
        files.evaluated(tmp_path / "nothing", tmp_path / "scans", None)


def test_a_split_needs_cases_of_each_kind(part, tmp_path):
    with pytest.raises(UserError, match="0 to test on"):
        part("peer_files").split_cases(cohort(tmp_path), None)


@pytest.mark.parametrize("name", ["landmarker_package", "deeplabcut_package"])
def test_a_missing_package_is_one_line(part, name, capsys, monkeypatch, tmp_path):
    script = part(name)
    monkeypatch.setattr(script, "find_spec", lambda name: None)
    assert script.main([str(tmp_path), str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err == f"{script.MISSING}\n" and not (tmp_path / "out").exists()


def test_masks_and_decoder_of_the_package_agree_with_the_image(part):
    """A bright voxel and the mask of its point stay together, also where the image is turned, and are decoded there."""
    pytest.importorskip("landmarker")
    import torch
    from monai.data import MetaTensor

    training = part("landmarker_training")
    image = torch.zeros(1, 40, 40, 40)
    image[0, 18, 21, 20] = 1
    image = torch.nn.functional.avg_pool3d(image[None], 5, 1, 2)[0]
    recipe = training.Recipe((8,) * 5, 0.0, 1e-3, 1, 0.1, augment=True, seed=0)
    training.set_determinism(0)
    turned = training.transforms(recipe, 3).transforms[-1:]
    points = torch.tensor([[[18.0, 21.0, 20.0]]])
    data = training.NearestMasks(
        [MetaTensor(image, affine=torch.eye(4))], points, spatial_dims=3, transform=training.Compose(turned)
    )
    for _ in range(5):
        item = data[0]
        mask = training.heatmap_to_coord(item["mask"][None], spatial_dims=3)[0, 0].double()
        assert float((mask - item["landmark"][0]).abs().max()) <= 0.5 + 1e-4
        weights = item["image"][0] / item["image"].sum()
        middle = torch.stack(
            [(weights * axis).sum() for axis in torch.meshgrid(*[torch.arange(40.0)] * 3, indexing="ij")]
        )
        assert float((middle - item["landmark"][0]).abs().max()) < 0.2


def test_pictures_and_points_in_the_form_of_coco(part, tmp_path):
    for name in ("a", "b"):
        (tmp_path / "scans" / "images").mkdir(parents=True, exist_ok=True)
        Image.new("L", (30, 20)).save(tmp_path / "scans" / "images" / f"{name}.png")
    rows = ["image,landmark,x,y", "a.png,A,3,4", "a.png,B,10.5,7", "b.png,A,1,2"]
    (tmp_path / "scans" / "landmarks.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    dataset = read_dataset(tmp_path / "scans", pixel_spacing=0.05, missing="unknown")
    part("deeplabcut_package").write_coco(tmp_path / "project", "train", dataset.cases, dataset.names)
    found = json.loads((tmp_path / "project" / "annotations" / "train.json").read_text(encoding="utf-8"))
    assert [(one["file_name"], one["width"], one["height"]) for one in found["images"]] == [
        ("a.png", 30, 20),
        ("b.png", 30, 20),
    ]
    assert found["categories"][0]["keypoints"] == ["A", "B"]
    np.testing.assert_allclose(found["annotations"][0]["keypoints"], [3, 4, 2, 10.5, 7, 2], atol=1e-9)
    # B is unknown in b: not seen, and nowhere.
    np.testing.assert_allclose(found["annotations"][1]["keypoints"], [1, 2, 2, 0, 0, 0], atol=1e-9)
    assert (tmp_path / "project" / "images" / "b.png").is_file()


def test_no_batch_is_given_that_would_end_too_late(part, monkeypatch):
    script, now = part("deeplabcut_package"), [0.0]
    monkeypatch.setattr(script.time, "perf_counter", lambda: now[0])
    loader, seen = script.TimedLoader([1, 2, 3], end=25.0), []
    with pytest.raises(script.OutOfTimeError):
        for _ in range(3):
            for batch in loader:
                now[0] += 6.0
                seen.append(batch)
    # Four steps of 6 end at 24; a fifth would end at 30.
    assert seen == [1, 2, 3, 1] and loader.steps == 4 and len(loader) == 3


@pytest.mark.slow
def test_the_package_trains_and_is_evaluated(part, tmp_path, capfd):
    pytest.importorskip("landmarker")
    cohort(tmp_path / "scans")
    (tmp_path / "test.txt").write_text("case1\n", encoding="utf-8")
    options = ["--minutes", "0.1", "--edge", "64", "--decoder_channels", "8,8,8,8,8", "--batch", "1", "--dropout", "0"]
    given = [str(tmp_path / "scans"), str(tmp_path / "out"), "--test", str(tmp_path / "test.txt"), *options]
    assert part("landmarker_package").main(given) == 0
    said = json.loads(capfd.readouterr().out)
    assert said["grid"] == {"spacing": 0.25, "shape": [64, 64, 64]} and said["course"]["steps"] >= 1
    assert set(said["decoders"]) == {"local_soft_argmax", "argmax", "weighted_spatial_mean"}
    assert (tmp_path / "out" / "predictions" / "metrics.json").is_file() and (tmp_path / "out" / "model.pt").is_file()
    assert part("landmarker_package").main(given) == 2
    assert "is there" in capfd.readouterr().err


@pytest.mark.parametrize("script", ["landmarker_package", "deeplabcut_package"])
def test_a_size_that_is_no_number_is_said_in_one_line(part, script, capsys):
    with pytest.raises(SystemExit, match="2"):
        part(script).main(["scans", "out", "--pixel_spacing", "small"])
    assert capsys.readouterr().err.splitlines()[-1].endswith("invalid numbers value: 'small'")
