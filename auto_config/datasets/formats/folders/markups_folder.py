"""Folders of images with Slicer ``.mrk.json``, ``.fcsv`` or inline ``.json`` files, one for each image."""

from __future__ import annotations

import json
from pathlib import Path

from auto_config.bundle_scripts.files.text import atomic_write_text
from auto_config.bundle_scripts.points.control_points import PointList
from auto_config.bundle_scripts.points.fcsv_files import write_fcsv
from auto_config.bundle_scripts.points.landmark_files import read_points, write_markups
from auto_config.bundle_scripts.points.landmark_text import read_text
from auto_config.bundle_scripts.points.landmarks import LandmarkFileError, LandmarkSet
from auto_config.datasets.formats.folders.label_map_folder import NAME_FILES
from auto_config.datasets.formats.shared.case_files import RATER_FOLDER, CaseFiles
from auto_config.datasets.formats.shared.json_contents import content_of
from auto_config.datasets.formats.shared.options import ReadOptions
from auto_config.datasets.formats.shared.target import Target


def read_slicer_file(path: Path, image: Path, spatial_dims: int, options: ReadOptions) -> LandmarkSet | PointList:
    """Read a ``.mrk.json``, ``.fcsv`` or inline ``.json``; the image is opened only where points are in its voxels.

    Raises:
        LandmarkFileError: The file is wrong.
        UserError: The image is needed and cannot be read.
    """
    # A Markups file says its system itself.
    system = options.slicer_system if path.name.lower().endswith(".fcsv") else None
    affine = options.header([image]).affine if system == "IJK" or _is_ijk(path) else None
    return read_points(path, spatial_dims=spatial_dims, image_affine=affine, many=options.many, system=system)


def _is_ijk(path: Path) -> bool:
    """Whether an .fcsv is in voxel coordinates, so that the image's header is needed only then."""
    if not path.name.lower().endswith(".fcsv"):
        return False
    try:
        lines = read_text(path).split("\n")
    except LandmarkFileError:
        return False  # the reader says why
    head = [line.lower().replace(" ", "") for line in lines if line.startswith("#")]
    return any(line.strip() in ("#coordinatesystem=ijk", "#coordinatesystem=2") for line in head)


def _any(path: Path) -> bool:  # noqa: ARG001 - the ending says enough
    return True


def _is_inline(path: Path) -> bool:
    return path.name not in NAME_FILES and content_of(path) in (None, "inline", "markups")


def _is_markups(path: Path) -> bool:
    """Whether a ``.json`` holds Slicer Markups."""
    return content_of(path) == "markups"


MARKUPS = CaseFiles((".mrk.json",), read_slicer_file, _any, raters=True)
FCSV = CaseFiles((".fcsv",), read_slicer_file, _any, raters=True)
# Beside images a .json may be anything; one that Slicer saved is known by its content.
INLINE = CaseFiles((".json",), read_slicer_file, _is_inline, is_beside=_is_markups, raters=True)


def write_markups_folder(target: Target) -> None:
    """Write ``landmarks/CASE.mrk.json``, and ``raters/RATER/CASE.mrk.json``."""
    for path, landmarks in _files(target, ".mrk.json"):
        write_markups(path, landmarks)


def write_fcsv_folder(target: Target) -> None:
    """Write ``landmarks/CASE.fcsv``, and ``raters/RATER/CASE.fcsv``."""
    for path, landmarks in _files(target, ".fcsv"):
        write_fcsv(path, landmarks)


def write_inline_folder(target: Target) -> None:
    """Write ``landmarks/CASE.json``, and ``raters/RATER/CASE.json``."""
    for path, landmarks in _files(target, ".json"):
        atomic_write_text(path, json.dumps(landmarks.to_inline(), indent=1, ensure_ascii=False) + "\n")


def _files(target: Target, ending: str) -> list[tuple[Path, LandmarkSet]]:
    files = []
    for case in target.cases:
        stem = target.stem(case)
        files.append((target.file("landmarks", stem + ending), target.landmarks(case)))
        files += [
            (target.file(RATER_FOLDER, target.rater_stem(rater), stem + ending), landmarks)
            for rater, landmarks in case.raters.items()
        ]
    return files
