"""A folder of images and label maps: ``images/CASE.nii.gz``, ``labels/CASE.nii.gz``, names in a JSON file."""

from __future__ import annotations

from pathlib import Path

from auto_config.bundle_scripts.images.numpy_files import NUMPY_SUFFIXES
from auto_config.bundle_scripts.points.landmarks import LandmarkSet
from auto_config.datasets.formats.shared.case_files import LANDMARK_FOLDERS, CaseFiles, read_case_files
from auto_config.datasets.formats.shared.entries import Reading, find_files
from auto_config.datasets.formats.shared.label_maps import (
    label_names,
    painted,
    read_label_map,
    stated_words,
    status_document,
    write_label_map,
)
from auto_config.datasets.formats.shared.options import ReadOptions
from auto_config.datasets.formats.shared.points import rows_of
from auto_config.datasets.formats.shared.target import Target, all_points
from auto_config.datasets.images import IMAGE_SUFFIXES, image_stem
from auto_config.datasets.json_files import read_json
from auto_config.errors import UserError

_LABEL_MAPS = tuple(end for end in IMAGE_SUFFIXES if end not in NUMPY_SUFFIXES)
"""Endings of label maps; arrays in a folder of landmarks are points."""

NAME_FILES = ("labels.json", "dataset.json")
"""Files that the names of the values are looked for in, beside the folder of the label maps or in it."""


def has_label_maps(source: Path) -> bool:
    """Whether a folder has images in a folder for landmarks."""
    return any(find_files(source / name, _LABEL_MAPS) for name in LANDMARK_FOLDERS if (source / name).is_dir())


def read_label_map_folder(source: Path, options: ReadOptions) -> Reading:
    """Read a folder of images and label maps.

    Args:
        source: The folder.
        options: How to read.

    Raises:
        UserError: No image, several folders of label maps, or a wrong file of names.
    """
    folders = [source, *(source / name for name in LANDMARK_FOLDERS)]
    files = [folder / name for folder in folders for name in NAME_FILES if (folder / name).is_file()]
    names: dict[int, str] | None = None
    stated: dict[str, dict[str, str]] = {}
    for path in files:
        document = read_json(path)
        if path.name == NAME_FILES[0] or (isinstance(document, dict) and "labels" in document):
            names, stated = label_names(document, path), stated_words(document, path)
            break

    def read(path: Path, image: Path, spatial_dims: int, options: ReadOptions) -> LandmarkSet:
        return read_label_map(path, names, spatial_dims, options, stated.get(image_stem(image)))

    kind = CaseFiles(_LABEL_MAPS, read, lambda _: True, beside_images=False)
    reading = read_case_files(source, kind, options)
    return Reading(
        reading.entries,
        reading.problems,
        None if names is None else tuple(names.values()),
        spatial_dims=reading.spatial_dims,
    )


def write_label_map_folder(target: Target) -> None:
    """Write ``labels/CASE.nii.gz`` (``.png`` in 2D), and ``labels.json`` with the names.

    Raises:
        UserError: More landmarks than a label map has values.
    """
    values = {name: number for number, name in enumerate(target.dataset.names, start=1)}
    if len(values) > 65535:
        raise UserError(f"{len(values)} landmarks do not fit a label map, at most 65535 do")
    status: dict[str, dict[str, str]] = {}
    outside: list[str] = []
    merged: list[str] = []
    for case in target.cases:
        header = target.header(case)
        labels, out, same = painted(rows_of(target.landmarks(case)), values, header)
        ending = ".nii.gz" if labels.ndim == 3 else ".png"
        write_label_map(target.file("labels", target.stem(case) + ending), labels, header)
        if words := status_document(target.landmarks(case)):
            status[target.stem(case)] = words
        outside += [f"{case.name}: {name}" for name in out]
        merged += [f"{case.name}: {name}" for name in same]
    if outside:
        target.losses.append(f"{all_points(outside)} outside the image, which a label map cannot hold")
    if merged:
        target.losses.append(f"{all_points(merged)} in the voxel of another landmark")
    target.write_json({"labels": {"background": 0, **values}, "status": status}, NAME_FILES[0])
