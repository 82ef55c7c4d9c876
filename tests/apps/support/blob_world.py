"""Small images with blobs, their true points, a bundle that can learn them in seconds, and the forms of labels."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from blobs import HEAD, TEMPLATE, draw, landmark_set, write_blobs
from bundle_tools import edit, shrink
from monai.bundle import ConfigParser

from auto_config.bundle_scripts.grid.label_map import draw_balls
from auto_config.bundle_scripts.points.landmark_files import write_markups
from auto_config.commands.create import create

NAMES = HEAD
TO_LPS = np.array([-1.0, -1.0, 1.0])


@dataclass
class BlobWorld:
    """What a test of annotation needs.

    Attributes:
        bundles: folder with the untrained bundle ``head``.
        studies: folder with images.
        truth: true points (L, 3) RAS mm by id of the image.
        labels: folder for the files that clients send.
    """

    bundles: Path
    studies: Path
    truth: dict[str, np.ndarray]
    labels: Path

    @property
    def root(self) -> Path:
        return self.bundles / "head"

    def fiducials(self, image: str, points=None) -> Path:
        """A point list, as the module for Slicer sends it."""
        path = self.labels / f"{image}.mrk.json"
        write_markups(path, landmark_set(NAMES, self.truth[image] if points is None else points))
        return path

    def boxes(self, image: str) -> Path:
        """ROI boxes, as Slicer's stock plugin sends them."""
        boxes = [
            {
                "type": "ROI",
                "name": f"Detection ROI - {number}",
                "coordinateSystem": "LPS",
                "coordinateUnits": "mm",
                "center": (point * TO_LPS).tolist(),
                "size": [5.0, 5.0, 5.0],
                "controlPoints": [{"id": "1", "label": name, "position": (point * TO_LPS).tolist()}],
            }
            for number, (name, point) in enumerate(zip(NAMES, self.truth[image], strict=True), start=1)
        ]
        path = self.labels / f"{image}.json"
        path.write_text(json.dumps({"markups": boxes}))
        return path

    def label_map(self, image: str) -> Path:
        """A map of balls on the grid of the image, as the stock plugins and OHIF send it."""
        grid = nib.load(self.studies / f"{image}.nii.gz")
        balls = draw_balls(self.truth[image], grid.shape, grid.affine, 4.0)
        path = self.labels / f"{image}.nii.gz"
        nib.save(nib.Nifti1Image(balls, grid.affine), path)
        return path


def make_blob_world(folder: Path, images: int = 3) -> BlobWorld:
    """Make images in several orientations and a bundle from others, which are then removed."""
    write_blobs(folder / "source", cases=4)
    root = folder / "bundles" / "head"
    assert (
        create(folder / "source", root, network="tiny", stages=1, patch_size=[16, 16, 16], workers=1, few_labels=False)
        == 0
    )
    shutil.rmtree(folder / "source")
    shrink(root)
    edit(root / "configs" / "train.json", lambda config: config.update(learning_rate=0.003, iterations_per_epoch=4))
    rng = np.random.default_rng(3)
    world = BlobWorld(folder / "bundles", folder / "studies", {}, folder / "sent")
    world.studies.mkdir()
    world.labels.mkdir()
    for number in range(images):
        kind = ("plain", "lps", "pir")[number % 3]
        points = TEMPLATE * rng.uniform(0.95, 1.05) + rng.normal(0, 0.7, TEMPLATE.shape)
        nib.save(draw(points, kind, rng), world.studies / f"{kind}{number}.nii.gz")
        world.truth[f"{kind}{number}"] = points
    return world


def untrained_weights(root: Path) -> None:
    """Write weights of chance, with which the bundle can be used."""
    config = (root / "configs" / "inference.json").read_text(encoding="utf-8")
    here = json.loads(config.replace('"scripts.', '"auto_config.bundle_scripts.'))
    network = ConfigParser({"network_def": here["network_def"]}).get_parsed_content("network_def")
    (root / "models").mkdir(exist_ok=True)
    torch.save(network.state_dict(), root / "models" / "model.pt")


def mean_error(found: dict, truth: np.ndarray) -> float:
    """MRE in mm of the landmarks of an answer, by name; an absent one counts 50 mm."""
    errors = [
        np.linalg.norm(np.array(found[name]["world"]) - point) if found[name]["present"] else 50.0
        for name, point in zip(NAMES, truth, strict=True)
    ]
    return float(np.mean(errors))
