"""Labelled data: read from files, or written from arrays in memory."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from auto_config.api.arrays import ArrayImage
from auto_config.bundle_scripts.points.landmark_files import write_markups
from auto_config.bundle_scripts.points.landmarks import ABSENT, PRESENT, LandmarkSet
from auto_config.choices import Coordinates, Missing, NameField
from auto_config.datasets import Dataset, Problem
from auto_config.datasets import read_dataset as read_with_problems
from auto_config.errors import UserError
from auto_config.wording import counted


class DataWarning(UserWarning):
    """Something in the data should be looked at; `auto_config inspect` has all of it."""


def read_dataset(
    source: str | Path,
    *,
    format: str | None = None,
    missing: Missing = "unknown",
    landmarks: Sequence[str] | None = None,
    coordinates: Coordinates | None = None,
    pixel_spacing: float | Sequence[float] | None = None,
    missing_value: str | float | None = None,
    names: NameField | None = None,
) -> Dataset:
    """Read a data set of any supported format.

    Args:
        source: A folder, a cohort table or a JSON file.
        format: Its format, as ``auto_config inspect --format`` takes it; detected if None.
        missing: What a name that one case's file lacks means: ``"unknown"`` or ``"absent"``.
        landmarks: Names to keep, in this order; all if None.
        coordinates: What the numbers of a table or an old ``.fcsv`` are, if it does not say it: ``"ras"``, ``"lps"``,
            ``"voxel"``, ``"pixel"`` or, of pictures, ``"mm"``.
        pixel_spacing: Size of a pixel of pictures in mm, one number or x and y; None for what their files say.
        missing_value: Coordinates that mark a missing point, taken as `missing` says: ``"0"``, ``"-1,-1"``, several as
            ``"0/-1"``; ``"none"`` if all points are real.
        names: What points of Slicer's files are called by: ``"labels"``, ``"descriptions"`` or their ``"order"`` in the
            file; chosen for all files at once if None.

    Returns:
        The data set; points in world mm (RAS in 3D; x right and y down in 2D).

    Raises:
        UserError: The source cannot be read, or files of cases are wrong.
    """
    dataset, problems = read_with_problems(
        source,
        format=format,
        missing=missing,
        landmarks=landmarks,
        coordinates=coordinates,
        pixel_spacing=pixel_spacing,
        missing_value=missing_value,
        names=names,
    )
    refuse_errors(problems)
    return dataset


def refuse_errors(problems: list[Problem]) -> None:
    """Warn of warnings; raise the first error and say how many there are.

    Raises:
        UserError: There is an error.
    """
    errors = [problem.message for problem in problems if problem.severity == "error"]
    if errors:
        others = "" if len(errors) == 1 else f" (and {counted(len(errors) - 1, 'other error')}: auto_config inspect)"
        raise UserError(f"{errors[0]}{others}")
    for problem in problems:
        warnings.warn(problem.message, DataWarning, stacklevel=3)


def write_cases(
    folder: str | Path, cases: Mapping[str, tuple[ArrayImage, Mapping[str, Any]]], *, overwrite: bool = False
) -> Dataset:
    """Write volumes and points in memory as files, which is what bundles are made of and train from.

    Args:
        folder: Folder for ``images/CASE.nii.gz`` and ``landmarks/CASE.mrk.json``.
        cases: By the name of the case, its image of one channel and its points: world mm by the name of the landmark,
            None for one that is absent. A name that a case lacks is unknown there.
        overwrite: Replace files of the same cases.

    Returns:
        The data set as it is read from there.

    Raises:
        UserError: A case cannot be written, or exists.
    """
    root = Path(folder)
    for name, (image, points) in cases.items():
        if Path(name).name != name or name.startswith("."):
            raise UserError(f"case {name!r} cannot be the name of a file; give it another name")
        found = image.image()
        if len(found.array) != 1 or found.array.ndim != 4:
            raise UserError(f"case {name!r}: only volumes of one channel are written; save others yourself")
        places = root / "images" / f"{name}.nii.gz", root / "landmarks" / f"{name}.mrk.json"
        if not overwrite and (there := [str(path) for path in places if path.exists()]):
            raise UserError(f"{there[0]}: exists; give overwrite=True to replace it, or another folder")
        for path in places:
            path.parent.mkdir(parents=True, exist_ok=True)
        temporary = places[0].with_name(f".{places[0].name}")
        nib.save(nib.Nifti1Image(found.array[0], found.affine), temporary)
        temporary.replace(places[0])
        write_markups(places[1], _landmarks(name, points))
    return read_dataset(root)


def _landmarks(case: str, points: Mapping[str, Any]) -> LandmarkSet:
    rows = [np.full(3, np.nan) if at is None else np.asarray(at, dtype=np.float64) for at in points.values()]
    for landmark, row, at in zip(points, rows, points.values(), strict=True):
        if row.shape != (3,) or (at is not None and not np.isfinite(row).all()):
            raise UserError(f"case {case!r}: landmark {landmark!r} is {at!r}; give x, y, z in mm, or None if absent")
    status = [ABSENT if at is None else PRESENT for at in points.values()]
    return LandmarkSet(tuple(points), np.array(rows).reshape(-1, 3), np.array(status, dtype=np.int8))
