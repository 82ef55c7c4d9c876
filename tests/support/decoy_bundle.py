"""A bundle whose network needs no training, and cases that it fails: some landmarks have a place that looks better.

Each landmark is a ball of a grey value of its own; a decoy is a second ball whose grey value fits a little better. The
shape model in the weights is empty, so that only corrections can tell the decoys.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from analytic_blobs import inline, plan_of

from auto_config import bundle_scripts
from auto_config.bundle import configs

LANDMARKS = 12
NAMES = tuple(f"p{i}" for i in range(LANDMARKS))
STEP = 0.45 / LANDMARKS
VALUES = 1.0 - STEP * np.arange(LANDMARKS)
SLOPE, WORSE = 0.004, 0.006  # grey value lost in a voxel from the centre, and at the true place
RADIUS = 3
NETWORK = """
import torch

from .points.shape import ShapeModel


class Decoys(torch.nn.Module):
    flipped = False

    def __init__(self, landmarks, dims, step):
        super().__init__()
        self.values = torch.nn.Parameter(torch.zeros(landmarks))
        self.step, self.shape, self.calls = step, ShapeModel(landmarks, dims), []

    def views(self):
        return [self]

    def forward(self, images):
        self.calls += [(name, len(image)) for name, image in images.items()]
        return {name: {"logits": self.logits(image)} for name, image in images.items()}

    def logits(self, image):
        values = self.values.view(1, -1, *[1] * (image.ndim - 2))
        return 10 - 50 * ((image - values) / self.step) ** 2
"""


@dataclass(frozen=True)
class World:
    """Shapes of one anatomy in ``dims`` dimensions; images of ``size`` voxels of 1 mm."""

    dims: int

    @property
    def size(self) -> int:
        return 48 if self.dims == 3 else 80

    def sites(self, seed: int) -> np.ndarray:
        """Voxels 10 apart, in a random order."""
        steps = np.arange(8, self.size - 7, 10)
        grid = np.stack(np.meshgrid(*[steps] * self.dims, indexing="ij"), -1).reshape(-1, self.dims)
        return np.random.default_rng(seed).permutation(grid)

    def mean(self) -> np.ndarray:
        return self.sites(0)[:LANDMARKS].astype(float)

    def shapes(self, count: int) -> np.ndarray:
        rng = np.random.default_rng(1)
        return self.mean() + rng.normal(scale=0.4, size=(count, LANDMARKS, self.dims))


def write_decoy_bundle(root: Path, dims: int = 3, stages: int = 2, members: int = 1, cases: int = 12) -> Path:
    """Write the bundle with the labels of `cases` training cases."""
    world = World(dims)
    plan = plan_of(dims=dims, landmarks=LANDMARKS, stages=stages, patch_size=(16,) * dims)
    shutil.copytree(
        Path(bundle_scripts.__file__).parent, root / "scripts", ignore=shutil.ignore_patterns("__pycache__")
    )
    (root / "scripts/decoys.py").write_text(NETWORK)
    for folder in ("configs", "models", "data"):
        (root / folder).mkdir()
    items = [{"name": name, "slug": name, "pair": None, "mean_offset_mm": None} for name in NAMES]
    config = configs.inference_config(plan, LANDMARKS)
    config["network_def"] = {"_target_": "scripts.decoys.Decoys", "landmarks": LANDMARKS, "dims": dims, "step": STEP}
    config["device"] = "$torch.device('cpu')"
    if dims == 2:
        config["pixel_spacing"] = [1.0, 1.0]
    shapes = world.shapes(cases)
    training = [{"image": f"{i}.nii.gz", "label": inline(NAMES, shape)} for i, shape in enumerate(shapes)]
    contents = {
        "configs/landmarks": {"spatial_dims": dims, "landmarks": items},
        "configs/metadata": {"name": root.name, "version": "0.1.0", "description": "Finds balls."},
        "configs/inference": config,
        "data/datalist": {"dataset_dir": ".", "training": training},
    }
    for name, content in contents.items():
        (root / f"{name}.json").write_text(json.dumps(content))
    state = {
        "values": torch.tensor(VALUES, dtype=torch.float32),
        "shape.mean": torch.zeros((LANDMARKS, dims), dtype=torch.float64),
        "shape.spread": torch.zeros(LANDMARKS, dtype=torch.float64),
        "shape.cases": torch.zeros(LANDMARKS, dtype=torch.int64),
    }
    torch.save(state, root / "models/model.pt")
    if members > 1:
        for i in range(members):
            torch.save(state, root / f"models/member_{i}.pt")
        files = [f"member_{i}.pt" for i in range(members)]
        (root / "models/ensemble.json").write_text(json.dumps({"files": files}))
    return root


def write_failed_case(path: Path, dims: int = 3, failed: tuple[int, ...] = (1, 4, 7, 9), affine=None) -> np.ndarray:
    """Write an image in which the landmarks of these numbers have decoys; the true points (L, D) in world mm."""
    world = World(dims)
    true, others = world.sites(0)[:LANDMARKS], world.sites(0)[LANDMARKS:]
    image = np.zeros((world.size,) * dims)
    grid = np.stack(np.meshgrid(*[np.arange(world.size)] * dims, indexing="ij"), -1)

    def ball(centre, value):
        far = np.linalg.norm(grid - centre, axis=-1)
        image[far <= RADIUS] = value - SLOPE * far[far <= RADIUS]

    for i, centre in enumerate(true):
        ball(centre, VALUES[i] - (WORSE if i in failed else 0))
    for i, centre in zip(failed, others[::-1], strict=False):
        ball(centre, VALUES[i])
    affine = np.eye(dims + 1) if affine is None else affine
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = np.eye(4)
    whole[:dims, :dims], whole[:dims, 3] = affine[:dims, :dims], affine[:dims, -1]
    nib.save(nib.Nifti1Image(image.astype(np.float32), whole), path)
    return true @ affine[:dims, :dims].T + affine[:dims, -1]
