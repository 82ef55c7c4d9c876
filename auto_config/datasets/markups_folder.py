"""Folders of images with Slicer ``.mrk.json``, ``.fcsv`` or inline ``.json`` files, one for each image."""

from __future__ import annotations

import json
from pathlib import Path

from auto_config.bundle_scripts.control_points import PointList
from auto_config.bundle_scripts.landmark_files import atomic_write_text, read_points, write_fcsv, write_markups
from auto_config.bundle_scripts.landmarks import LandmarkSet
from auto_config.datasets.case_files import RATER_FOLDER, CaseFiles
from auto_config.datasets.label_map_folder import NAME_FILES
from auto_config.datasets.labelme import is_labelme
from auto_config.datasets.options import ReadOptions
from auto_config.datasets.points import read_json
from auto_config.datasets.target import Target
from auto_config.errors import UserError


def _read(path: Path, image: Path, spatial_dims: int, options: ReadOptions) -> LandmarkSet | PointList:
    affine = options.header([image]).affine if _is_ijk(path) else None
    return read_points(path, spatial_dims=spatial_dims, image_affine=affine, many=options.many)


def _is_ijk(path: Path) -> bool:
    """Whether an .fcsv is in voxel coordinates, so that the image's header is needed only then."""
    if not path.name.lower().endswith(".fcsv"):
        return False
    try:
        with path.open(encoding="utf-8-sig", errors="replace") as stream:
            head = [line.lower().replace(" ", "") for line in stream if line.startswith("#")]
    except OSError:
        return False  # the reader says why
    return any(line.strip() in ("#coordinatesystem=ijk", "#coordinatesystem=2") for line in head)


def _any(path: Path) -> bool:  # noqa: ARG001 - the ending says enough
    return True


def _is_inline(path: Path) -> bool:
    return not is_labelme(path) and path.name not in NAME_FILES


def _is_markups(path: Path) -> bool:
    """Whether a ``.json`` holds Slicer Markups."""
    try:
        document = read_json(path)
    except UserError:
        return False
    return isinstance(document, dict) and isinstance(document.get("markups"), list)


MARKUPS = CaseFiles((".mrk.json",), _read, _any, raters=True)
FCSV = CaseFiles((".fcsv",), _read, _any, raters=True)
# Beside images a .json may be anything; one that Slicer saved is known by its content.
INLINE = CaseFiles((".json",), _read, _is_inline, is_beside=_is_markups, raters=True)


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
