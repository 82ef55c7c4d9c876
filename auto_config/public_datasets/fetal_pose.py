"""Fetal pose: fetal ultrasound volumes with 22 landmarks, a private data set.

``volumes/CASE.nii.gz`` and ``landmark_anno/CASE_landmark.json`` ``{"spacing": number or three, "landmarks": {name: [i,
j, k]}}``. Header sizes of the voxels are wrong or missing: images are written anew with the size that the annotation
says; axes keep the directions of the header where it has any.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from auto_config.bundle_scripts.grid.grids import apply_affine
from auto_config.bundle_scripts.points.landmarks import PRESENT, UNKNOWN, LandmarkSet, name_problem
from auto_config.datasets.formats.shared.points import json_point
from auto_config.datasets.images import read_header
from auto_config.datasets.json_files import read_json
from auto_config.datasets.model.dataset import Problem
from auto_config.datasets.model.properties import Properties
from auto_config.errors import UserError
from auto_config.public_datasets.mml import rescaled
from auto_config.public_datasets.shared.benchmark import (
    BenchmarkCase,
    BenchmarkReading,
    MissingFile,
    SourceImage,
    in_order,
)
from auto_config.public_datasets.shared.files import absence, natural, subfolder

LAYOUT = "volumes/CASE.nii.gz and landmark_anno/CASE_landmark.json"
DOWNLOAD = "ask its owners, it is not public"

_ENDING = "_landmark.json"


def read(folder: Path) -> BenchmarkReading:
    """Read the data set.

    Args:
        folder: It, or a folder above it.

    Returns:
        The cases, called as their volumes, all of them training: no list of the 200 test cases was published.

    Raises:
        UserError: It is none.
    """
    annotations = subfolder(folder, "landmark_anno")
    files = [] if annotations is None else natural(annotations.glob(f"*{_ENDING}"))
    if annotations is None or not files:
        raise UserError(f"{folder}: holds no fetal pose data; give the folder with {LAYOUT}")
    found: dict[str, tuple[SourceImage, dict[str, list[float] | None]]] = {}
    problems: list[Problem] = []
    missing: list[MissingFile] = []
    for path in files:
        name = path.name.removesuffix(_ENDING)
        image = annotations.parent / "volumes" / f"{name}.nii.gz"
        lacking = [(one, reason) for one in (image, path) if (reason := absence(one, DOWNLOAD))]
        if lacking:
            missing.append(MissingFile(name, *lacking[0]))
            continue
        try:
            spacing, voxels = read_annotation(path)
            found[name] = SourceImage(image, rescaled(read_header(image).affine, spacing)), voxels
        except UserError as error:
            problems.append(Problem("error", str(error), name))
    names = tuple(dict.fromkeys(landmark for _, voxels in found.values() for landmark in voxels))
    if problem := next(filter(None, map(name_problem, names)), None):
        raise UserError(f"{annotations}: {problem}")
    cases = [BenchmarkCase(name, source, _landmarks(voxels, names, source)) for name, (source, voxels) in found.items()]
    notes = (
        "Voxel size is that of the annotation; the header of the volumes is wrong or empty and was replaced.",
        "No list of cases was published for the split 800/200: none is marked as test.",
    )
    return BenchmarkReading(names, in_order(cases), Properties(notes=notes), tuple(problems), tuple(missing))


def read_annotation(path: Path) -> tuple[np.ndarray, dict[str, list[float] | None]]:
    """Read one annotation.

    Returns:
        Voxel size (3,) in mm, and the landmarks as voxel indices in the order of the array, None where unknown.

    Raises:
        UserError: Something in it is wrong.
    """
    document = read_json(path)
    if not isinstance(document, dict) or not isinstance(document.get("landmarks"), dict):
        raise UserError(f"{path}: needs 'spacing' and an object 'landmarks'; correct it")
    given: Any = document.get("spacing")
    numbers = given if isinstance(given, list) else [given] * 3
    spacing = json_point(numbers[:3] * (3 if len(numbers) == 1 else 1), 3, f"{path}: 'spacing'")
    voxels = {
        name: None if value is None else json_point(value, 3, f"{path}: landmark {name!r}")
        for name, value in document["landmarks"].items()
    }
    return np.array(spacing), voxels


def _landmarks(voxels: dict[str, list[float] | None], names: tuple[str, ...], image: SourceImage) -> LandmarkSet:
    """World points of a case; a name that its file lacks is unknown."""
    indices = np.array([voxels.get(name) or [np.nan] * 3 for name in names], dtype=np.float64).reshape(-1, 3)
    known = np.isfinite(indices).all(axis=1)
    assert image.affine is not None  # set by `read`
    return LandmarkSet(names, apply_affine(image.affine, indices), np.where(known, PRESENT, UNKNOWN))
