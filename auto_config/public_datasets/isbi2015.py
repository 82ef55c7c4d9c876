"""ISBI 2015 cephalograms: 400 lateral X-rays of the head (2D), 19 landmarks by two doctors.

``RawImage/{TrainingData,Test1Data,Test2Data}/NNN.bmp``, 1935 x 2400 pixels of 0.1 mm, and
``AnnotationsByMD/400_{junior,senior}/NNN.txt``: 19 lines ``x,y`` in pixels, then lines with classes, which are no
points. Ground truth is the mean of the two doctors. Wang et al. 2016 (doi 10.1016/j.media.2016.02.004); 150/150/100.
"""

from __future__ import annotations

import filecmp
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from auto_config.bundle_scripts.points.landmark_text import read_text
from auto_config.bundle_scripts.points.landmarks import PRESENT, LandmarkFileError, LandmarkSet
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
)
from auto_config.public_datasets.shared.files import absence, natural, subfolder

LAYOUT = "RawImage/{TrainingData,Test1Data,Test2Data}/NNN.bmp and AnnotationsByMD/400_{junior,senior}/NNN.txt"
DOWNLOAD = "download the challenge's images and AnnotationsByMD (figshare.com/s/37ec464af8e81ae6ebbf)"

NAMES = (
    "sella",
    "nasion",
    "orbitale",
    "porion",
    "subspinale",
    "supramentale",
    "pogonion",
    "menton",
    "gnathion",
    "gonion",
    "lower incisal incision",
    "upper incisal incision",
    "upper lip",
    "lower lip",
    "subnasale",
    "soft tissue pogonion",
    "posterior nasal spine",
    "anterior nasal spine",
    "articulare",
)
DESCRIPTIONS = {
    "sella": "centre of the sella turcica",
    "nasion": "most anterior point of the frontonasal suture",
    "orbitale": "lowest point of the lower margin of the orbit",
    "porion": "highest point of the external auditory meatus",
    "subspinale": "A point: deepest point of the concavity between the anterior nasal spine and the upper incisor",
    "supramentale": "B point: deepest point of the concavity between the lower incisor and the pogonion",
    "pogonion": "most anterior point of the bony chin",
    "menton": "lowest point of the mandibular symphysis",
    "gnathion": "point of the bony chin between pogonion and menton, most anterior and inferior",
    "gonion": "most posterior and inferior point of the angle of the mandible",
    "lower incisal incision": "tip of the crown of the most anterior lower incisor",
    "upper incisal incision": "tip of the crown of the most anterior upper incisor",
    "upper lip": "most anterior point of the upper lip",
    "lower lip": "most anterior point of the lower lip",
    "subnasale": "where the lower border of the nose meets the upper lip",
    "soft tissue pogonion": "most anterior point of the soft tissue of the chin",
    "posterior nasal spine": "tip of the posterior nasal spine of the hard palate",
    "anterior nasal spine": "tip of the anterior nasal spine of the maxilla",
    "articulare": "where the posterior border of the mandible crosses the lower border of the base of the skull",
}
"""What each landmark is, for the atlas of a bundle, as cephalometry defines it."""
PIXEL_MM = 0.1
RATERS = ("junior", "senior")

COPIES = {"038": "283", "144": "173"}
"""Training cases that are the same pictures as test cases, which the doctors marked twice, about 1 mm apart: found in a
copy of the challenge's data."""

_SECTIONS: dict[str, Section] = {"TrainingData": "training", "Test1Data": "test", "Test2Data": "test"}


def read(folder: Path) -> BenchmarkReading:
    """Read the data set.

    Args:
        folder: It, or a folder above it.

    Returns:
        The cases, called as their images (``001``), with both doctors as raters.

    Raises:
        UserError: It is none.
    """
    places = {place: subfolder(folder, place) for place in _SECTIONS}
    doctors = {rater: subfolder(folder, f"400_{rater}") for rater in RATERS}
    listed = natural({path for place in doctors.values() if place is not None for path in place.glob("*.txt")})
    if not listed or not any(places.values()):
        raise UserError(f"{folder}: holds no ISBI 2015 cephalograms; give the folder with {LAYOUT}")
    cases: list[BenchmarkCase] = []
    problems: list[Problem] = []
    missing: list[MissingFile] = []
    for name in dict.fromkeys(path.stem for path in listed):
        images = [
            (path, _SECTIONS[key])
            for key, place in places.items()
            if place is not None and ((path := place / f"{name}.bmp").is_file() or path.is_symlink())
        ]
        image, section = images[0] if images else (folder / "RawImage" / f"{name}.bmp", "training")
        texts = {rater: (place or folder / f"400_{rater}") / f"{name}.txt" for rater, place in doctors.items()}
        lacking = [(path, reason) for path in (image, *texts.values()) if (reason := absence(path, DOWNLOAD))]
        if lacking:
            missing.append(MissingFile(name, *lacking[0]))
            continue
        try:
            raters = {rater: _landmarks(read_pixels(path)) for rater, path in texts.items()}
        except UserError as error:
            problems.append(Problem("error", str(error), name))
            continue
        mean = LandmarkSet(
            NAMES, np.mean([one.points for one in raters.values()], axis=0), np.full(len(NAMES), PRESENT)
        )
        cases.append(BenchmarkCase(name, SourceImage(image, pixel_mm=PIXEL_MM), mean, section, raters=raters))
    notes: tuple[str, ...] = (
        "Ground truth is the mean of the two doctors, who are in 'raters'; pixels are 0.1 mm.",
        "Official split: training 001 to 150; of the test cases 151 to 300 are Test1 and 301 to 400 are Test2. "
        "Thresholds of the challenge: 2, 2.5, 3 and 4 mm.",
    )
    copies = _copies(cases)
    if copies:
        said = ", ".join(f"{name} (test case {COPIES[name]})" for name in copies)
        notes += (f"Training cases that are the same pictures as test cases are left out: {said}.",)
    kept = in_order(case for case in cases if case.name not in copies)
    return BenchmarkReading(
        NAMES,
        kept,
        Properties(pairs=(), descriptions=DESCRIPTIONS, notes=notes),
        tuple(problems),
        tuple(missing),
        spatial_dims=2,
    )


def _copies(cases: Sequence[BenchmarkCase]) -> list[str]:
    """Names of the training cases whose files are those of test cases, byte for byte."""
    files = {case.name: case.image.path for case in cases}
    return [
        one
        for one, other in COPIES.items()
        if one in files and other in files and filecmp.cmp(files[one], files[other], shallow=False)
    ]


def read_pixels(path: Path) -> np.ndarray:
    """Read the points of one doctor.

    Returns:
        (19, 2) pixels, x right and y down; the lines behind the 19th are classes and not read.

    Raises:
        UserError: The first 19 lines are not two numbers each.
    """
    try:
        lines = [line.strip() for line in read_text(path).split("\n") if line.strip()][: len(NAMES)]
    except LandmarkFileError as error:
        raise UserError(str(error)) from error
    try:
        points = np.array([[float(number) for number in line.split(",")] for line in lines])
        if points.shape != (len(NAMES), 2) or not np.isfinite(points).all():
            raise ValueError(f"found numbers of shape {points.shape}")
    except ValueError as error:
        raise UserError(f"{path}: must begin with {len(NAMES)} lines x,y in pixels ({error}); correct it") from error
    return points


def _landmarks(pixels: np.ndarray) -> LandmarkSet:
    return LandmarkSet(NAMES, pixels * PIXEL_MM, np.full(len(NAMES), PRESENT))
