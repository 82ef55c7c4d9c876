"""Many small cases read by their headers: `inspect --headers_only`, and a loop of nibabel and json without checks."""

from __future__ import annotations

import contextlib
import io
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from auto_config.commands.inspect import inspect
from costing.measuring import Work

_EDGE, _LANDMARKS = 8, 10


def make_cases(folder: Path, count: int) -> Path:
    """So many volumes of 8^3 voxels, all with the same grey values, and points of their own.

    Args:
        folder: to write.
        count: of cases.
    """
    rng = np.random.default_rng(0)
    for name in ("images", "landmarks"):
        (folder / name).mkdir(parents=True)
    image = nib.Nifti1Image(rng.integers(0, 1000, (_EDGE,) * 3, dtype=np.int16), np.eye(4)).to_bytes()
    shape = rng.uniform(0.2, 0.8, (_LANDMARKS, 3)) * _EDGE
    for number in range(count):
        (folder / "images" / f"case_{number:05d}.nii").write_bytes(image)
        points = shape + rng.normal(0, 0.2, shape.shape)
        control = [
            {"label": f"point {place}", "position": [-float(x), -float(y), float(z)], "positionStatus": "defined"}
            for place, (x, y, z) in enumerate(points)
        ]
        markups = [{"type": "Fiducial", "coordinateSystem": "LPS", "controlPoints": control}]
        (folder / "landmarks" / f"case_{number:05d}.mrk.json").write_text(
            json.dumps({"markups": markups}), encoding="utf-8"
        )
    return folder


def first(folder: Path, count: int, target: Path) -> Path:
    """The first cases of a folder in another one, without a copy of their files."""
    for name in ("images", "landmarks"):
        (target / name).mkdir(parents=True)
        for path in sorted((folder / name).iterdir())[:count]:
            os.link(path, target / name / path.name)
    return target


def _folder(options: dict[str, Any]) -> Path:
    """The cases that `options` name, or so many new ones."""
    if "folder" in options:
        return first(Path(options["folder"]), options["cases"], Path(tempfile.mkdtemp(dir=options["folder"])) / "cases")
    return make_cases(Path(tempfile.mkdtemp()) / "cases", options["cases"])


def ours(options: dict[str, Any]) -> Work:
    """Every check that needs no voxels, on one core."""
    folder = _folder(options)

    def work() -> None:
        with contextlib.redirect_stdout(io.StringIO()):
            inspect(folder, headers_only=True, workers=1)

    return work


def usual(options: dict[str, Any]) -> Work:
    """Shapes and affines by nibabel, points by json; nothing is compared."""
    folder = _folder(options)

    def work() -> list[Any]:
        found = []
        for image in sorted((folder / "images").iterdir()):
            header = nib.load(image)
            label = folder / "landmarks" / f"{image.name.removesuffix('.nii')}.mrk.json"
            control = json.loads(label.read_text(encoding="utf-8"))["markups"][0]["controlPoints"]
            found.append((header.shape, header.affine, np.array([one["position"] for one in control])))
        return found

    return work
