"""FeTA biometry: fetal brain T2 MR, 5 measures with two end points each.

``sub-X/anat/*_T2w.nii.gz`` and ``derivatives/biometry/sub-X/anat/*_meas.nii.gz``: a label map in which each of five
values has exactly two voxels. Sanchez et al. 2024 (doi 10.5281/zenodo.11192452), images on synapse.org (syn25649159);
test cases of nnLandmark (Ertl et al. 2026).

Clinicians measured in a re-aligned image; where a ``*_trf.txt`` lies beside the label map, it leads from there to the
image. The ends of a line have no names: they are ordered in the re-aligned space, where heads point the same way.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from auto_config.bundle_scripts.grid.grids import apply_affine
from auto_config.bundle_scripts.images.volumes import open_volume
from auto_config.bundle_scripts.points.landmarks import LandmarkSet
from auto_config.datasets.model.dataset import Problem
from auto_config.errors import UserError
from auto_config.public_datasets.shared.benchmark import (
    BenchmarkCase,
    BenchmarkReading,
    MissingFile,
    SourceImage,
    in_order,
)
from auto_config.public_datasets.shared.files import absence, natural, subfolder
from auto_config.public_datasets.shared.itk_transform import read_transform
from auto_config.public_datasets.shared.lines import Line, LineMeasure, line_landmarks, line_names, ordered_lines

LAYOUT = "sub-X/anat/*_T2w.nii.gz and derivatives/biometry/sub-X/anat/*_meas.nii.gz"
DOWNLOAD = "download FeTA 2.4 from synapse.org (syn25649159) and its biometry from doi.org/10.5281/zenodo.11192452"

MEASURES = (
    LineMeasure("LCC", "length of the corpus callosum"),
    LineMeasure("HV", "height of the vermis"),
    LineMeasure("bBIP", "biparietal diameter of the brain", transverse=True),
    LineMeasure("sBIP", "biparietal diameter of the skull", transverse=True),
    LineMeasure("TCD", "transverse cerebellar diameter", transverse=True),
)
"""The measures of the values 1 to 5."""

TEST = frozenset(f"{number:03d}" for number in (18, 21, 27, 47, 51, 55, 56, 57, 65, 69, 70, 71, 73, 76, 77))
"""The 15 published test subjects."""


def read(folder: Path) -> BenchmarkReading:
    """Read the data set.

    Args:
        folder: It, or a folder above it.

    Returns:
        The cases with measures, called ``sub-X``; a measure that a case lacks is absent.

    Raises:
        UserError: It is none.
    """
    biometry = subfolder(folder, "biometry")
    root = folder if biometry is None else biometry.parent.parent
    subjects = [] if biometry is None else natural(path for path in biometry.glob("sub-*") if path.is_dir())
    if not subjects:
        raise UserError(f"{folder}: holds no FeTA biometry; give the folder with {LAYOUT}")
    images: dict[str, Path] = {}
    measured: dict[str, LandmarkSet] = {}
    to_image: dict[str, np.ndarray] = {}
    problems: list[Problem] = []
    missing: list[MissingFile] = []
    for subject in subjects:
        name = subject.name
        labels = natural((subject / "anat").glob("*_meas.nii.gz"))
        if not labels:
            continue
        found = natural((root / name / "anat").glob("*_T2w.nii.gz"))
        image = found[0] if found else root / name / "anat" / labels[0].name.replace("_meas", "_T2w")
        lacking = [(path, reason) for path in (image, labels[0]) if (reason := absence(path, DOWNLOAD))]
        if lacking:
            missing.append(MissingFile(name, *lacking[0]))
            continue
        try:
            lines, warnings = read_label_map(labels[0])
            to_image[name] = _to_image(labels[0])
        except UserError as error:
            problems.append(Problem("error", str(error), name))
            continue
        problems += [Problem("warning", text, name) for text in warnings]
        images[name], measured[name] = image, line_landmarks(lines, MEASURES)
    notes = [
        "Split of nnLandmark (Ertl et al. 2026): 15 test subjects; its 50 training subjects are those others that have "
        "all five measures, here the rest is there too, with absent landmarks.",
        "Ends are whole voxels of the measured images; the published lengths are not rounded and differ by up to 0.45 "
        "mm.",
    ]
    if unmeasured := [path.name for path in natural(root.glob("sub-*")) if path.name not in measured]:
        notes.append(f"{len(unmeasured)} subjects without a usable label map of measures are left out.")
    if moved := sum(not np.array_equal(matrix, np.eye(4)) for matrix in to_image.values()):
        notes.append(
            f"{moved} subjects were measured in a re-aligned image: their ends were ordered there, and taken to the "
            "image with the transform that lies beside the label map."
        )
    ordered, properties = ordered_lines(measured, MEASURES, notes)
    cases = [
        BenchmarkCase(
            name=name,
            image=SourceImage(images[name]),
            landmarks=LandmarkSet(found.names, apply_affine(to_image[name], found.points), found.status),
            section="test" if name.removeprefix("sub-") in TEST else "training",
        )
        for name, found in ordered.items()
    ]
    return BenchmarkReading(line_names(MEASURES), in_order(cases), properties, tuple(problems), tuple(missing))


def read_label_map(path: Path) -> tuple[dict[str, Line], list[str]]:
    """Read the lines of a label map.

    Args:
        path: Values 1 to 5, two voxels of each.

    Returns:
        Name of the measure to its two ends in RAS mm of the label map, in the order of the array. A value without any
        voxel is absent; one with another number than two is unknown, with a warning.

    Raises:
        UserError: The file cannot be read.
    """
    try:
        volume = open_volume(path)
        values = volume.voxels().squeeze()
    except Exception as error:  # the readers raise whatever they like on a broken file
        raise UserError(f"{path}: cannot be read ({' '.join(str(error).split())[:200]}); download it again") from error
    if values.ndim != 3:
        raise UserError(f"{path}: is no label map of 3 axes but of {values.ndim}; download it again")
    lines: dict[str, Line] = {}
    warnings = []
    for value, measure in enumerate(MEASURES, start=1):
        voxels = np.argwhere(values == value)
        if len(voxels) == 2:
            lines[measure.name] = apply_affine(volume.header.affine, voxels.astype(np.float64))
        else:
            lines[measure.name] = "unknown" if len(voxels) else "absent"
        if len(voxels) not in (0, 2):
            noun = "voxel" if len(voxels) == 1 else "voxels"
            warnings.append(
                f"{path}: value {value} ({measure.name}) has {len(voxels)} {noun}, two were expected; its ends are "
                "taken as unknown"
            )
    return lines, warnings


def _to_image(label_map: Path) -> np.ndarray:
    """(4, 4) from RAS mm of the label map to RAS mm of the image: the transform beside it, or none."""
    found = natural(label_map.parent.glob("*_trf.txt"))
    return read_transform(found[0]) if found else np.eye(4)
