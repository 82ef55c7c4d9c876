"""Made data, and a bundle that is planned for it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from costing.bundles import bundle_of
from monai.bundle import ConfigParser

from auto_config.bundle import opened
from auto_config.bundle_scripts.points.landmark_files import write_markups
from auto_config.bundle_scripts.points.landmarks import LandmarkSet
from on_gpu.card import Card

LANDMARKS = 16


def volumes(folder: Path, edge: int, cases: int) -> Path:
    """Volumes of noise with a blob for each landmark, not compressed: reading them is to take no time."""
    random = np.random.default_rng(0)
    names = tuple(f"p{number}" for number in range(LANDMARKS))
    (folder / "images").mkdir(parents=True)
    (folder / "landmarks").mkdir()
    axes = np.arange(edge, dtype=np.float32)
    base = random.uniform(0.15, 0.85, (LANDMARKS, 3)) * edge
    for case in range(cases):
        points = base + random.normal(0, 1.0, base.shape)
        image = 3 * random.standard_normal((edge,) * 3, dtype=np.float32)
        for height, point in zip(np.linspace(60, 200, LANDMARKS), points, strict=True):
            # Beyond 18 voxels nothing is left of it.
            box = tuple(slice(max(0, int(place) - 18), int(place) + 19) for place in point)
            x, y, z = (np.exp(-((axes[near] - place) ** 2) / 18) for near, place in zip(box, point, strict=True))
            image[box] += (height * x[:, None, None] * y[:, None] * z).astype(np.float32)
        nib.save(nib.Nifti1Image(image, np.eye(4)), folder / "images" / f"c{case}.nii")
        write_markups(
            folder / "landmarks" / f"c{case}.mrk.json", LandmarkSet(names, points, np.ones(LANDMARKS, dtype=np.int8))
        )
    return folder


def first_image(data: Path) -> Path:
    """An image of a data set.

    Raises:
        FileNotFoundError: there is none.
    """
    kinds = (".nii.gz", ".nii", ".nrrd", ".mha", ".png")
    for path in sorted(data.rglob("*")):
        if path.name.endswith(kinds):
            return path
    raise FileNotFoundError(f"{data}: has no image that ends in {', '.join(kinds)}")


class Made:
    """A bundle that is planned for a data set, with first weights.

    Args:
        card: what it runs on.
        data: the data set.
        root: folder to write.
        quick: with narrow networks, and samples made in this process.
        options: of `create`.
    """

    def __init__(self, card: Card, data: Path, root: Path, *, quick: bool, **options: Any) -> None:
        # Another process imports torch first, which takes longer than these files.
        beside = {"folds": 2, "test_fraction": 0.0, "workers": 1, "few_labels": False}
        bundle_of(data, root, **beside, **options)
        self.card, self.root, self.quick, self.data = card, root, quick, data
        if quick:
            for name in ("train.json", "inference.json"):
                _rewrite(root / "configs" / name, _narrowed)
        self.plan = json.loads((root / "configs" / "plan.json").read_text(encoding="utf-8"))["decisions"]
        self.keep(opened.untrained_network(root))

    def decided(self, name: str) -> Any:
        """The value of a decision of the plan."""
        return self.plan[name]["value"]

    def keep(self, network: torch.nn.Module) -> None:
        """Write weights, for a prediction."""
        (self.root / "models").mkdir(exist_ok=True)
        torch.save({name: x.cpu() for name, x in network.state_dict().items()}, self.root / "models" / "model.pt")

    def training(self) -> ConfigParser:
        """The parts of a training in this process, of which a step is measured: no reports, validations and files."""
        package = opened._import_scripts(self.root / "scripts")
        config = json.loads((self.root / "configs" / "train.json").read_text(encoding="utf-8"))
        config.update(bundle_root=str(self.root), device=f"$torch.device('{self.card.device}')")
        config.update(iterations_per_epoch=100_000, num_workers=0 if self.quick else 8)
        config["train"]["handlers"] = []
        config["train"]["trainer"]["train_handlers"] = "$list(@train#handlers) + [@schedule, @shape_fit]"
        config["schedule"]["val_interval"] = None
        return ConfigParser(opened._with_package(config, package))


def _rewrite(path: Path, change: Any) -> None:
    config = json.loads(path.read_text(encoding="utf-8"))
    for stage in config["network_def"]["stages"].values():
        change(stage)
    path.write_text(json.dumps(config), encoding="utf-8")


def _narrowed(network: Any) -> None:
    """Take features and blocks from the JSON of a network."""
    if "filters" in network:
        network["filters"] = [4 + 2 * level for level in range(len(network["filters"]))]
    if "blocks" in network:
        network["blocks"] = [1] * len(network["blocks"])
