"""MML: dental CT with 14 landmarks of the mandibular molars, many of them absent.

``{train,val,test}/ID_volume.nrrd``, ``ID_label.npy`` (14 x 3 array indices i, j, k) and ``ID_spacing.npy`` (3, mm). He
et al., "Toward Robust Landmark Detection with Anchor Ball Regression Model on CT Volumes"
(github.com/ithet1007/mmld_code), 458/100/100; its complete subset (all 14 present) is 283/56/60.

The spacing in the NRRD header is not to be trusted, so images are written anew with that of ``ID_spacing.npy``; the
directions of the axes are the header's, and so the points fit in any case.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from auto_config.bundle_scripts.grid.grids import apply_affine
from auto_config.bundle_scripts.points.landmarks import ABSENT, PRESENT, LandmarkSet
from auto_config.datasets.images import read_header
from auto_config.datasets.model.dataset import Problem
from auto_config.datasets.model.properties import Properties
from auto_config.errors import UserError
from auto_config.public_datasets.shared.benchmark import (
    BenchmarkCase,
    BenchmarkReading,
    MissingFile,
    Section,
    SourceImage,
    in_order,
    unique_names,
)
from auto_config.public_datasets.shared.files import absence, natural, subfolder
from auto_config.wording import counted

LAYOUT = "train/, val/ and test/ with ID_volume.nrrd, ID_label.npy and ID_spacing.npy"
DOWNLOAD = "download mmld_dataset as github.com/ithet1007/mmld_code says"

NAMES = tuple(f"molar {number}" for number in range(1, 15))
"""The rows of ``ID_label.npy``; the authors give no names."""

_SECTIONS: dict[str, Section] = {"train": "training", "val": "validation", "test": "test"}
_FAR_BELOW = -100.0


def read(folder: Path, *, complete: bool = False) -> BenchmarkReading:
    """Read the data set.

    Args:
        folder: It, or a folder above it.
        complete: Only the cases with all 14 landmarks, the subset 283/56/60 that most figures are of.

    Returns:
        The cases, called as their ID (``SPLIT_ID`` where two splits have it).

    Raises:
        UserError: It is none.
    """
    train = subfolder(folder, "train")
    root = folder if train is None else train.parent
    volumes = {
        (split, label.name.removesuffix("_label.npy")): label.with_name(
            label.name.replace("_label.npy", "_volume.nrrd")
        )
        for split in _SECTIONS
        for label in natural((root / split).glob("*_label.npy"))
    }
    volumes |= {
        (split, volume.name.removesuffix("_volume.nrrd")): volume
        for split in _SECTIONS
        for volume in natural((root / split).glob("*_volume.nrrd"))
    }
    if not volumes:
        raise UserError(f"{folder}: holds no MML; give the folder with {LAYOUT}")
    cases: list[BenchmarkCase] = []
    problems: list[Problem] = []
    missing: list[MissingFile] = []
    incomplete = 0
    for key, name in unique_names(volumes).items():
        found = _case(volumes[key], name, _SECTIONS[key[0]])
        if isinstance(found, MissingFile):
            missing.append(found)
        elif isinstance(found, Problem):
            problems.append(found)
        elif complete and not found.landmarks.present.all():
            incomplete += 1
        else:
            cases.append(found)
    notes = [
        "Voxel size is that of ID_spacing.npy; the header of the NRRD files is unreliable and was replaced.",
        "The authors number the landmarks and give no names or sides; left-right pairs are not declared.",
        "Training images are whole heads, those of validation and test are cropped around the jaw: resizing whole "
        "images fails here, patches do not.",
    ]
    notes += [f"Complete subset: left out are {counted(incomplete, 'case')} with absent landmarks."] if complete else []
    return BenchmarkReading(NAMES, in_order(cases), Properties(notes=tuple(notes)), tuple(problems), tuple(missing))


def _case(volume: Path, name: str, section: Section) -> BenchmarkCase | MissingFile | Problem:
    stem = volume.name.removesuffix("_volume.nrrd")
    label, spacing = (volume.with_name(f"{stem}_{what}.npy") for what in ("label", "spacing"))
    for path in (volume, label, spacing):
        if reason := absence(path, DOWNLOAD):
            return MissingFile(name, path, reason)
    try:
        affine = rescaled(read_header(volume).affine, _numbers(spacing, (3,)))
        landmarks = landmarks_of(_numbers(label, (len(NAMES), 3)), affine)
    except UserError as error:
        return Problem("error", str(error), name)
    return BenchmarkCase(name, SourceImage(volume, affine), landmarks, section)


def landmarks_of(rows: np.ndarray, affine: np.ndarray) -> LandmarkSet:
    """The landmarks of a label.

    Args:
        rows: (14, 3) array indices. A row is absent where a number is not finite, their mean is below -100, or all
            three are 0 or -1: copies of the data set mark it in all of these ways.
        affine: (4, 4) voxel to RAS mm.
    """
    absent = ~np.isfinite(rows).all(axis=1)
    known = np.where(np.isfinite(rows), rows, 0.0)
    absent |= (known.mean(axis=1) < _FAR_BELOW) | (known == 0).all(axis=1) | (known == -1).all(axis=1)
    points = np.where(absent[:, None], np.nan, apply_affine(affine, known))
    return LandmarkSet(NAMES, points, np.where(absent, ABSENT, PRESENT))


def rescaled(affine: np.ndarray, spacing: np.ndarray) -> np.ndarray:
    """An affine with the same axes and origin and other voxel sizes.

    Args:
        affine: (4, 4) voxel to RAS mm.
        spacing: (3,) mm along the axes of the array.

    Raises:
        UserError: A spacing that is not positive.
    """
    if not (np.isfinite(spacing).all() and (spacing > 0).all()):
        raise UserError(f"voxel size {spacing.tolist()} is not three positive numbers of mm; correct the file")
    result = np.array(affine, dtype=np.float64)
    length = np.linalg.norm(result[:3, :3], axis=0)
    # An axis without a direction is told by nothing but its place.
    directions = np.where(length > 0, result[:3, :3] / np.where(length > 0, length, 1.0), np.diag([-1.0, -1.0, 1.0]))
    result[:3, :3] = directions * spacing
    return result


def _numbers(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """The numbers of a ``.npy`` file as float64; objects (pickles) in it are not loaded.

    Raises:
        UserError: It cannot be read or has another shape.
    """
    try:
        numbers = np.asarray(np.load(path, allow_pickle=False), dtype=np.float64)
    except (OSError, ValueError, EOFError, TypeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{path}: cannot be read as numbers ({reason}); download the file again") from error
    if numbers.shape != shape:
        raise UserError(f"{path}: has the shape {numbers.shape}, expected {shape}; download the file again")
    return numbers
