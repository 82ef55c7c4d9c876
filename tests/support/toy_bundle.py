"""A bundle whose network needs no training: landmark ``k`` is where the grey value is nearest to ``10 * (k + 1)``."""

import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import torch

from auto_config import bundle_scripts

NAMES = ("tip", "Ä, base")
TOY = """
import torch

from .points.peaks import make_peaks


class ToyNetwork(torch.nn.Module):
    def __init__(self, landmarks):
        super().__init__()
        self.values = torch.nn.Parameter(torch.zeros(landmarks))

    def forward(self, image):
        return -(image - self.values.view(1, -1, 1, 1, 1)) ** 2


class ToyPeaksd:
    def __call__(self, data):
        logits = data["pred"]
        index = torch.unravel_index(logits.flatten(1).argmax(1), logits.shape[1:])
        points = torch.stack(index, 1).float()
        confidence = torch.full((len(points),), CONFIDENCE)
        return {**data, "pred": make_peaks(points, confidence, torch.eye(3).repeat(len(points), 1, 1)).pack()}
"""


def write_toy_bundle(root: Path, *, confidence: float = 0.5, values: tuple[float, ...] | None = (10.0, 20.0)) -> Path:
    """Write the bundle; ``values`` None leaves it untrained."""
    shutil.copytree(
        Path(bundle_scripts.__file__).parent, root / "scripts", ignore=shutil.ignore_patterns("__pycache__")
    )
    (root / "scripts/toy.py").write_text(TOY.replace("CONFIDENCE", str(confidence)))
    (root / "configs").mkdir()
    (root / "models").mkdir()
    landmarks = [
        {"name": name, "slug": f"l{i}", "pair": None, "mean_offset_mm": [float(i), 0.0, 0.0]}
        for i, name in enumerate(NAMES)
    ]
    (root / "configs/landmarks.json").write_text(json.dumps({"landmarks": landmarks, "spatial_dims": 3}))
    (root / "configs/metadata.json").write_text(json.dumps({"name": root.name, "version": "0.1.0"}))
    landmarks_file = "$@bundle_root + '/configs/landmarks.json'"
    config = {
        "imports": ["$import torch"],
        "bundle_root": ".",
        "device": "$torch.device('cpu')",
        "network_def": {"_target_": "scripts.toy.ToyNetwork", "landmarks": len(NAMES)},
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "scripts.images.loader.LoadFilesd", "keys": "image"},
                {"_target_": "Orientationd", "keys": "image", "axcodes": "RAS"},
            ],
        },
        "inferer": {"_target_": "SimpleInferer"},
        "postprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "scripts.toy.ToyPeaksd"},
                {"_target_": "scripts.inference.results.PeaksToWorldd", "keys": "pred", "ref_image": "image"},
                {
                    "_target_": "scripts.inference.results.LandmarkResultd",
                    "keys": "pred",
                    "ref_image": "image",
                    "landmarks": landmarks_file,
                },
                {
                    "_target_": "scripts.inference.results.BallLabelMapd",
                    "keys": "pred",
                    "ref_image": "image",
                    "radius_mm": 1.0,
                },
            ],
        },
    }
    (root / "configs/inference.json").write_text(json.dumps(config))
    if values is not None:
        save_values(root / "models/model.pt", values)
    return root


def save_values(path: Path, values: tuple[float, ...]) -> None:
    """Write the toy network's weights."""
    path.parent.mkdir(exist_ok=True)
    torch.save({"values": torch.tensor(values)}, path)


def write_toy_image(path: Path, voxels, affine=None, shape=(12, 10, 8)) -> np.ndarray:
    """Write an image with landmark ``k`` at ``voxels[k]``; returns the points (L, 3) in RAS mm."""
    affine = np.diag([1.0, 1, 1, 1]) if affine is None else affine
    array = np.zeros(shape, dtype=np.float32)
    for k, voxel in enumerate(voxels):
        array[tuple(voxel)] = 10.0 * (k + 1)
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, affine), path)
    return np.asarray(voxels) @ affine[:3, :3].T + affine[:3, 3]
