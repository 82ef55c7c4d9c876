"""Hand X-ray: 910 X-rays of left hands (2D) of the Digital Hand Atlas, 37 landmarks by Payer et al.

``all.csv``: ``id,x1,y1,...,x37,y37`` in pixels, without a header; images ``ID.mha`` with a 3D header of one slice and
a nominal pixel size that means nothing. Payer et al. 2019 (doi 10.1016/j.media.2019.03.007),
github.com/christianpayer/MedicalDataAugmentationTool-HeatmapRegression.

The literature counts errors in mm of a hand whose wrist, landmark 1 to landmark 5, is 50 mm wide. Here the pixels of
each image get the size that makes its wrist 50 mm wide, so errors in mm are those of the literature.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from auto_config.bundle_scripts.points.landmark_text import read_text
from auto_config.bundle_scripts.points.landmarks import PRESENT, LandmarkFileError, LandmarkSet
from auto_config.datasets.model.dataset import Problem
from auto_config.datasets.model.properties import Measure, Properties
from auto_config.errors import UserError
from auto_config.public_datasets.shared.benchmark import (
    BenchmarkCase,
    BenchmarkReading,
    MissingFile,
    SourceImage,
    in_order,
)
from auto_config.public_datasets.shared.files import absence, natural

LAYOUT = "all.csv (id,x1,y1,...,x37,y37) and ID.mha images"
DOWNLOAD = "get the images from the Digital Hand Atlas (ipilab.usc.edu/research/baaweb)"

NAMES = tuple(str(number) for number in range(1, 38))
WRIST = ("1", "5")
WRIST_MM = 50.0
_ENDINGS = (".mha", ".mhd", ".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")


def read(folder: Path) -> BenchmarkReading:
    """Read the data set.

    Args:
        folder: It, or a folder above it.

    Returns:
        The cases, called as their ID, with pixels of ``50 / (wrist width in pixels)`` mm. Folds where the lists of the
        cross-validation are there (``set1``, ``set2``, ``set3`` with ``test.txt``), else no split: none is invented.

    Raises:
        UserError: It is none.
    """
    tables = natural(path for level in range(4) for path in folder.glob("*/" * level + "all.csv"))
    if not tables:
        raise UserError(f"{folder}: holds no hand X-rays; give the folder with {LAYOUT}")
    images: dict[str, list[Path]] = {}
    for path in folder.rglob("*"):
        if path.suffix.lower() in _ENDINGS and not path.name.startswith("."):
            images.setdefault(path.stem, []).append(path)
    folds = _folds(folder)
    cases: list[BenchmarkCase] = []
    problems: list[Problem] = []
    missing: list[MissingFile] = []
    for name, fields in _rows(tables[0]).items():
        # One image of a case, and in the order of the endings where somebody converted it.
        found = sorted(images.get(name, []), key=lambda path: _ENDINGS.index(path.suffix.lower()))
        image = found[0] if found else folder / "images" / f"{name}.mha"
        if reason := absence(image, DOWNLOAD):
            missing.append(MissingFile(name, image, reason))
            continue
        try:
            pixels = _pixels(fields, f"{tables[0]}: case {name}")
            size = pixel_mm(pixels, f"{tables[0]}: case {name}")
        except UserError as error:
            problems.append(Problem("error", str(error), name))
            continue
        landmarks = LandmarkSet(NAMES, pixels * size, np.full(len(NAMES), PRESENT))
        cases.append(BenchmarkCase(name, SourceImage(image, pixel_mm=size), landmarks, fold=folds.get(name)))
    notes = [
        "Lengths are normalised as in the literature: the pixels of each image are 50 / (distance of landmarks 1 and 5 "
        "in pixels) mm large, so that the wrist is 50 mm wide.",
        "The cross-validation of Payer et al. is in 'fold'."
        if folds
        else "The lists of the cross-validation (set1, set2, set3) are not in this folder: no split is marked.",
    ]
    properties = Properties(pairs=(), measures=(Measure("wrist width", "distance", WRIST),), notes=tuple(notes))
    return BenchmarkReading(NAMES, in_order(cases), properties, tuple(problems), tuple(missing), spatial_dims=2)


def pixel_mm(pixels: np.ndarray, where: str) -> float:
    """Size of a pixel that makes the wrist 50 mm wide.

    Args:
        pixels: (37, 2) points in pixels.
        where: Named in the error.

    Raises:
        UserError: The wrist has no width.
    """
    width = float(np.linalg.norm(pixels[NAMES.index(WRIST[0])] - pixels[NAMES.index(WRIST[1])]))
    if width == 0:
        raise UserError(f"{where}: landmarks 1 and 5 are the same point, so the image has no scale; correct the row")
    return WRIST_MM / width


def _rows(table: Path) -> dict[str, list[str]]:
    """Coordinates of each case as they stand in the table.

    Raises:
        UserError: The table cannot be read, has a header, or a case twice.
    """
    try:
        rows = [row for row in csv.reader(read_text(table).split("\n")) if row]
    except (LandmarkFileError, csv.Error) as error:
        raise UserError(f"{table}: cannot be read as a table ({error}); download it again") from error
    found: dict[str, list[str]] = {}
    for number, row in enumerate(rows, start=1):
        name = row[0].strip()
        if name in found:
            raise UserError(f"{table}: line {number}: case {name!r} occurs more than once; keep one of them")
        found[name] = row[1:]
    return found


def _pixels(fields: list[str], where: str) -> np.ndarray:
    """(37, 2) pixels of one row."""
    try:
        numbers = np.array([float(text) for text in fields])
        if numbers.shape != (2 * len(NAMES),) or not np.isfinite(numbers).all():
            raise ValueError(f"{len(fields)} found")
    except ValueError as error:
        raise UserError(f"{where}: needs {2 * len(NAMES)} numbers x1,y1,...,x37,y37 ({error}); correct it") from error
    return numbers.reshape(-1, 2)


def _folds(folder: Path) -> dict[str, int]:
    """The fold in whose test list each case is, where the lists are there.

    Raises:
        UserError: A list cannot be read.
    """
    folds: dict[str, int] = {}
    for level in range(5):
        for path in natural(folder.glob("*/" * level + "set[123]/test.txt")):
            try:
                names = read_text(path).split()
            except LandmarkFileError as error:
                raise UserError(str(error)) from error
            folds |= dict.fromkeys(names, int(path.parent.name[-1]) - 1)
    return folds
