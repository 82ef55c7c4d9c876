"""`predict --runtime onnx`: the same points, files written once, and what is refused."""

import csv

import numpy as np
import pytest
from clear_maxima import clear_weights

from auto_config.commands.predict import predict
from auto_config.errors import UserError
from auto_config.exporting import packages

pytest.importorskip("onnxruntime")
POINTS_MM = 0.01


def points(folder):
    """World coordinates of all rows of a prediction."""
    with (folder / "predictions.csv").open(encoding="utf-8", newline="") as stream:
        return [[float(row[axis]) for axis in ("x_ras_mm", "y_ras_mm", "z_ras_mm")] for row in csv.DictReader(stream)]


@pytest.mark.parametrize("name", ["two_stages", "one_stage"])
def test_the_points_are_those_of_torch_and_files_are_written_once(name, request, cases, tmp_path):
    root = request.getfixturevalue(name)
    images = cases / "images"
    assert predict(root, images, tmp_path / "torch", device="cpu") == 0
    assert predict(root, images, tmp_path / "onnx", runtime="onnx") == 0
    apart = np.linalg.norm(np.subtract(points(tmp_path / "onnx"), points(tmp_path / "torch")), axis=1)
    assert apart.max() <= POINTS_MM
    written = {path: path.stat().st_mtime_ns for path in (root / "cache" / "onnx").iterdir()}
    assert len(written) == 2
    assert predict(root, images / "c0.nii.gz", tmp_path / "again", runtime="onnx") == 0
    assert {path: path.stat().st_mtime_ns for path in (root / "cache" / "onnx").iterdir()} == written


def test_other_weights_are_other_files(two_stages, copy_of, cases, tmp_path):
    root = copy_of(two_stages)
    image = cases / "images" / "c0.nii.gz"
    assert predict(root, image, tmp_path / "before", runtime="onnx") == 0
    before = set((root / "cache" / "onnx").iterdir())
    clear_weights(root, "model.pt", 5)
    assert predict(root, image, tmp_path / "after", runtime="onnx") == 0
    after = set((root / "cache" / "onnx").iterdir())
    assert len(after) == 2
    assert not before & after
    assert predict(root, image, tmp_path / "torch", device="cpu") == 0
    assert np.allclose(points(tmp_path / "after"), points(tmp_path / "torch"), atol=POINTS_MM)
    assert not np.allclose(points(tmp_path / "after"), points(tmp_path / "before"), atol=POINTS_MM)


def test_what_cannot_be_is_refused_before_anything_is_written(two_stages, cases, tmp_path, monkeypatch):
    image = cases / "images" / "c0.nii.gz"
    with pytest.raises(UserError, match="runs on the CPU; omit --device cuda"):
        predict(two_stages, image, tmp_path / "out", runtime="onnx", device="cuda")
    monkeypatch.setattr(packages, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install onnxruntime"):
        predict(two_stages, image, tmp_path / "out", runtime="onnx")
    assert not (tmp_path / "out").exists()


def test_a_bundle_without_stages_is_refused(tmp_path):
    from toy_bundle import write_toy_bundle, write_toy_image

    root = write_toy_bundle(tmp_path / "toy")
    write_toy_image(tmp_path / "a.nii.gz", [(2, 3, 4), (9, 1, 6)])
    with pytest.raises(UserError, match="has no network with stages"):
        predict(root, tmp_path / "a.nii.gz", tmp_path / "out", runtime="onnx")
