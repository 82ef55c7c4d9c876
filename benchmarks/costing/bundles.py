"""Small data sets, and bundles of them whose networks have random weights: what a timing needs."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from monai.bundle import ConfigParser
from PIL import Image

from auto_config.commands.create import create


def _write_points(path: Path, points: np.ndarray) -> None:
    """World points ``(L, 3)`` (RAS mm) as Slicer Markups."""
    control = [
        {"label": f"point {number}", "position": [-float(x), -float(y), float(z)], "positionStatus": "defined"}
        for number, (x, y, z) in enumerate(points)
    ]
    markups = [{"type": "Fiducial", "coordinateSystem": "LPS", "controlPoints": control}]
    path.write_text(json.dumps({"markups": markups}), encoding="utf-8")


def volumes(folder: Path, cases: int, size: list[int], landmarks: int) -> Path:
    """NIfTI volumes of noise, with points."""
    rng = np.random.default_rng(0)
    for name in ("images", "landmarks"):
        (folder / name).mkdir(parents=True)
    shape = rng.uniform(0.2, 0.8, (landmarks, 3)) * size
    for number in range(cases):
        voxels = rng.integers(0, 1000, size, dtype=np.int16)
        nib.save(nib.Nifti1Image(voxels, np.eye(4)), folder / "images" / f"case_{number:03d}.nii.gz")
        _write_points(folder / "landmarks" / f"case_{number:03d}.mrk.json", shape + rng.normal(0, 1, shape.shape))
    return folder


def pictures(folder: Path, cases: int, size: list[int], landmarks: int) -> Path:
    """PNG pictures of noise, with points; a pixel is 0.1 mm."""
    rng = np.random.default_rng(0)
    for name in ("images", "landmarks"):
        (folder / name).mkdir(parents=True)
    shape = rng.uniform(0.2, 0.8, (landmarks, 2)) * size
    for number in range(cases):
        grey = rng.integers(0, 255, size[::-1], dtype=np.uint8)
        Image.fromarray(grey).save(folder / "images" / f"case_{number:03d}.png")
        # x and y of a picture are those of LPS.
        points = np.column_stack([(shape + rng.normal(0, 2, shape.shape)) * [-0.1, -0.1], np.zeros(landmarks)])
        _write_points(folder / "landmarks" / f"case_{number:03d}.mrk.json", points)
    return folder


def bundle_of(source: Path, target: Path, **options: object) -> Path:
    """A bundle of a data set, planned as `auto_config create` does.

    Raises:
        RuntimeError: it cannot be made.
    """
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        status = create(source, target, **options)  # type: ignore[arg-type]
    if status:
        raise RuntimeError(said.getvalue())
    return target


def parsed(bundle: Path, name: str) -> ConfigParser:
    """A config of a bundle, with this package in the place of its scripts."""
    text = (bundle / "configs" / name).read_text(encoding="utf-8")
    config = json.loads(text.replace('"scripts.', '"auto_config.bundle_scripts.'))
    parser = ConfigParser({**config, "bundle_root": str(bundle)})
    parser.parse()
    return parser


def with_random_weights(bundle: Path) -> Path:
    """The bundle, with weights that learnt nothing."""
    torch.manual_seed(0)
    network = parsed(bundle, "inference.json").get_parsed_content("network_def")
    (bundle / "models").mkdir(exist_ok=True)
    torch.save(network.state_dict(), bundle / "models" / "model.pt")
    return bundle
