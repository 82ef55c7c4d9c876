"""What is said of a case that lies turned: its degrees, and nothing where nobody can tell."""

import json

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from upright_networks import anatomy

from auto_config.bundle_scripts.inference.prediction_files import PredictionFolder
from auto_config.bundle_scripts.inference.turned_cases import TurnedCased
from auto_config.bundle_scripts.points.peaks import make_peaks
from auto_config.bundle_scripts.points.pose.rotations import plane_rotation


def landmarks_file(folder, offsets):
    items = [{"name": str(i), "mean_offset_mm": None if o is None else list(o)} for i, o in enumerate(offsets)]
    path = folder / "landmarks.json"
    path.write_text(json.dumps({"landmarks": items, "spatial_dims": 2}), encoding="utf-8")
    return path


def said(step, points, affine=None):
    rows = make_peaks(torch.from_numpy(points), torch.ones(len(points)), torch.eye(2).repeat(len(points), 1, 1)).pack()
    image = MetaTensor(torch.zeros(1, 8, 8), affine=np.eye(4) if affine is None else affine)
    return step({"pred": rows, "image": image, "result": {"landmarks": []}})["result"].get("turned_deg")


@pytest.mark.parametrize(("degrees", "expected"), [(0, None), (44, None), (46, 46.0), (-120, 120.0), (180, 180.0)])
def test_turns_beyond_the_limit_are_told(tmp_path, degrees, expected):
    step = TurnedCased(landmarks=landmarks_file(tmp_path, anatomy(2)[0]), limit_deg=45.0)
    turn = plane_rotation(np.radians(degrees))
    found = said(step, 1.2 * anatomy(2)[0] @ turn.T + 30.0)
    assert found is None if expected is None else found == pytest.approx(expected, abs=0.11)
    # A turned file: the turn is that on the grid, which the network sees.
    affine = np.eye(4)
    affine[:2, :2] = turn
    assert said(step, 1.2 * anatomy(2)[0] @ turn.T + 30.0, affine) is None


def test_points_unlike_the_mean_points_and_unknown_ones_say_nothing(tmp_path):
    step = TurnedCased(landmarks=landmarks_file(tmp_path, anatomy(2)[0]), limit_deg=45.0)
    assert said(step, np.random.default_rng(0).uniform(0, 20, (13, 2))) is None
    nobody = TurnedCased(landmarks=landmarks_file(tmp_path, [None] * 13), limit_deg=45.0)
    assert said(nobody, -anatomy(2)[0]) is None


def test_run_json_lists_turned_cases(tmp_path):
    (tmp_path / "bundle/configs").mkdir(parents=True)
    landmarks_file(tmp_path / "bundle/configs", anatomy(2)[0])
    (tmp_path / "bundle/configs/metadata.json").write_text("{}")
    folder = PredictionFolder(tmp_path / "out", tmp_path / "bundle")
    for name, more in (("a", {}), ("b", {"turned_deg": 92.1})):
        item = {"name": "0", "world": [1.0, 2.0], "voxel": [1.0, 2.0], "confidence": 0.5, "present": 1}
        items = [{**item, "radius_mm": None, "replaced": False}]
        folder.write(name, {"landmarks": items, **more}, image_center=np.zeros(2), seconds=0.1)
    folder.finish(options={})
    assert json.loads((tmp_path / "out/run.json").read_text())["turned_deg"] == {"b": 92.1}
