"""LFC: fetal cerebellum T2 MR, 6 measures drawn as Slicer's line markups.

``{train,valid,test}/ID.nii.gz`` and ``{train,valid,test}_label/ID/*.mrk.json``, a line of two control points for each
of BBD, CBD, TCD, FOD, HDV and ADV. Gong et al. 2025 (doi 10.1109/JBHI.2025.3559702, github.com/lhaof/LFC), 120/60/120.

A file is matched by its name: a missing one shifts no other. The ends of a line have no names: they are ordered by
anatomy over the cohort.
"""

from __future__ import annotations

import re
from pathlib import Path

from auto_config.bundle_scripts.points.landmarks import LandmarkFileError, LandmarkSet
from auto_config.datasets.model.dataset import Problem
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
from auto_config.public_datasets.shared.line_markup import read_line
from auto_config.public_datasets.shared.lines import Line, LineMeasure, line_landmarks, line_names, ordered_lines

LAYOUT = "train/ID.nii.gz with train_label/ID/*.mrk.json, and the same for valid and test"
DOWNLOAD = "download it as github.com/lhaof/LFC says"

MEASURES = (
    LineMeasure("BBD", "biparietal diameter of the skull (bone)", transverse=True),
    LineMeasure("CBD", "biparietal diameter of the brain (cerebral)", transverse=True),
    LineMeasure("TCD", "transverse cerebellar diameter", transverse=True),
    LineMeasure("FOD", "fronto-occipital diameter"),
    LineMeasure("HDV", "height of the vermis"),
    LineMeasure("ADV", "anteroposterior diameter of the vermis"),
)

_SECTIONS: dict[str, Section] = {"train": "training", "valid": "validation", "val": "validation", "test": "test"}


def read(folder: Path) -> BenchmarkReading:
    """Read the data set.

    Args:
        folder: It, or a folder above it.

    Returns:
        The cases, called as their ID (``SPLIT_ID`` where two splits have it). A measure without a file is unknown.

    Raises:
        UserError: It is none.
    """
    train = subfolder(folder, "train_label")
    root = folder if train is None else train.parent
    labels = {
        (split, place.name): place
        for split in _SECTIONS
        for place in natural((root / f"{split}_label").glob("*"))
        if place.is_dir()
    }
    if not labels:
        raise UserError(f"{folder}: holds no LFC; give the folder with {LAYOUT}")
    images: dict[str, Path] = {}
    sections: dict[str, Section] = {}
    drawn: dict[str, LandmarkSet] = {}
    problems: list[Problem] = []
    missing: list[MissingFile] = []
    for (split, number), name in unique_names(labels).items():
        image = root / split / f"{number}.nii.gz"
        if not image.exists() and image.with_suffix("").exists():
            image = image.with_suffix("")
        files = natural(labels[split, number].glob("*.mrk.json"))
        lacking = [(path, reason) for path in (image, *files) if (reason := absence(path, DOWNLOAD))]
        if lacking:
            missing.append(MissingFile(name, *lacking[0]))
            continue
        try:
            lines, warnings = _lines(files, labels[split, number])
        except UserError as error:
            problems.append(Problem("error", str(error), name))
            continue
        problems += [Problem("warning", text, name) for text in warnings]
        images[name], sections[name], drawn[name] = image, _SECTIONS[split], line_landmarks(lines, MEASURES)
    notes = [
        "Published split 120/60/120; the figures of nnLandmark (Ertl et al. 2026) are of the 60 validation cases, "
        "those of the authors of the 120 test cases and of the six ends of TCD, HDV and ADV alone.",
    ]
    ordered, properties = ordered_lines(drawn, MEASURES, notes)
    cases = [BenchmarkCase(name, SourceImage(images[name]), ordered[name], sections[name]) for name in ordered]
    return BenchmarkReading(line_names(MEASURES), in_order(cases), properties, tuple(problems), tuple(missing))


def measure_of(path: Path) -> str | None:
    """The measure that a file's name says: one of the six short names as a word of it (``12_TCD.mrk.json``)."""
    words = set(re.findall(r"[A-Z]+", path.name.upper().removesuffix(".MRK.JSON")))
    found = [measure.name for measure in MEASURES if measure.name in words]
    return found[0] if len(found) == 1 else None


def _lines(files: list[Path], place: Path) -> tuple[dict[str, Line], list[str]]:
    """The lines of a case and warnings of what cannot be used."""
    lines: dict[str, Line] = {}
    warnings = []
    for path in files:
        measure = measure_of(path)
        if measure is None:
            allowed = ", ".join(one.name for one in MEASURES)
            warnings.append(f"{path}: its name says none of {allowed}; rename it, until then it is left out")
        elif measure in lines:
            raise UserError(f"{path}: a second line of {measure} in {place}; keep one of them")
        else:
            try:
                lines[measure] = read_line(path)
            except LandmarkFileError as error:
                lines[measure] = "unknown"
                warnings.append(f"{error}; its ends are taken as unknown")
    if lacking := [one.name for one in MEASURES if one.name not in lines]:
        warnings.append(f"{place}: has no line of {', '.join(lacking)}; their ends are taken as unknown")
    return lines, warnings
