"""A bundle that finds any number of one landmark and one of another, without training."""

import json
from pathlib import Path

import torch
from app_tools import BALL_RADIUS_MM, write_fixed_bundle

MANY_NAMES = ("nasion", "suture")
MIN_DISTANCE_MM = 5.0
MOST = 6
# Shares of the image's extent along R, A and S; the balls of the first two sutures touch.
NASION = ((0.23, 0.74, 0.81),)
SUTURES = ((0.31, 0.42, 0.57), (0.50, 0.44, 0.57), (0.71, 0.66, 0.36))

SEVERAL = """
import torch


class SeveralPoints(torch.nn.Module):
    def __init__(self, landmarks, most):
        super().__init__()
        self.points = torch.nn.Parameter(torch.zeros(landmarks, most, 3))

    flipped = False
    shape = None

    def views(self):
        return [self]

    def forward(self, images):
        return {name: {"logits": self.logits(image)} for name, image in images.items()}

    def logits(self, image):
        size = image.shape[2:]
        axes = [torch.arange(n, dtype=torch.float32, device=image.device) for n in size]
        voxels = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1)
        peaks = self.points * (torch.tensor(size, device=image.device) - 1)
        distances = (voxels[None, None] - peaks[:, :, None, None, None]).square().sum(-1)
        return (2.0 - 0.5 * distances.nan_to_num(200.0)).amax(1)[None]
"""


def write_many_bundle(root: Path, sutures=SUTURES, nasion=NASION) -> Path:
    """Write a bundle that finds ``nasion`` once and ``suture`` at each of some shares of the image."""
    write_fixed_bundle(root, None, MANY_NAMES, ball_radius_mm=BALL_RADIUS_MM)
    (root / "scripts/several.py").write_text(SEVERAL)
    landmarks = _edited(root / "configs/landmarks.json")
    landmarks["landmarks"][1] |= {"instances": "many", "most_instances": MOST, "min_distance_mm": MIN_DISTANCE_MM}
    (root / "configs/landmarks.json").write_text(json.dumps(landmarks))
    inference = _edited(root / "configs/inference.json")
    inference["network_def"] = {"_target_": "scripts.several.SeveralPoints", "landmarks": 2, "most": MOST}
    inference["instances"] = {
        "_target_": "scripts.points.instances.read_instances",
        "landmarks": "@landmarks",
        "models": "$@bundle_root + '/models'",
    }
    inference["decoder"] = {
        "_target_": "scripts.methods.instances.InstanceDecoder",
        "decoder": {"_target_": "scripts.methods.decoders.ArgmaxDecoder"},
        "instances": "@instances",
        "spacing": [1.0, 1.0, 1.0],
        "reach_mm": 6.0,
    }
    for step in inference["postprocessing"]["transforms"]:
        if step["_target_"].endswith("LandmarkResultd"):
            step["instances"] = "@instances"
    (root / "configs/inference.json").write_text(json.dumps(inference))
    save_several(root / "models/model.pt", nasion, sutures)
    return root


def save_several(path: Path, *landmarks) -> None:
    """Write the weights; rows that nothing is at are NaN."""
    rows = torch.full((len(landmarks), MOST, 3), torch.nan)
    for row, points in zip(rows, landmarks, strict=True):
        row[: len(points)] = torch.tensor(points).reshape(-1, 3)
    torch.save({"points": rows}, path.with_suffix(".tmp"))
    path.with_suffix(".tmp").replace(path)


def _edited(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))
