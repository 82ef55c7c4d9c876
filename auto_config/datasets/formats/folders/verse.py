"""Centroids of vertebrae as VerSe has them: ``*_ctd.json`` for each CT, in voxels of a given orientation.

``[{"direction": ["L", "P", "S"]}, {"label": 20, "X": 1.0, "Y": 2.0, "Z": 3.0}]``: the axes of the image turned into
that orientation (letters of nibabel: where an axis points to), the centre of the first voxel at 0. Labels 1 to 28 are
called as VerSe does (C1 ... T12, L1 ... L6, Sacrum, Cocc, T13), others by their number. In any folder,
``sub-verse000_seg-subreg_ctd.json`` belongs to ``sub-verse000_ct.nii.gz``, ``verse004_ctd.json`` to
``verse004.nii.gz``; masks are passed over.
"""

from __future__ import annotations

import math
import re
from pathlib import Path

import nibabel as nib
import numpy as np

from auto_config.bundle_scripts.points.landmarks import LandmarkSet
from auto_config.datasets.formats.shared.entries import Entry, Reading, absolute, find_files
from auto_config.datasets.formats.shared.json_contents import content_of
from auto_config.datasets.formats.shared.options import ReadOptions, voxel_to_world
from auto_config.datasets.formats.shared.points import Value, json_point, landmark_set
from auto_config.datasets.images import IMAGE_SUFFIXES, Header, image_stem
from auto_config.datasets.json_files import read_json, shown
from auto_config.datasets.model.dataset import Problem
from auto_config.errors import UserError

_ENDING = "_ctd.json"
_SEGMENTATION = re.compile(r"_seg(-[a-z]+)?", re.IGNORECASE)
_MODALITIES = ("", "_ct", "_T1w", "_T2w")
_NAMES = (
    *(f"C{number}" for number in range(1, 8)),
    *(f"T{number}" for number in range(1, 13)),
    *(f"L{number}" for number in range(1, 7)),
    *("Sacrum", "Cocc", "T13"),
)


def is_verse(source: Path) -> bool:
    """Whether a folder has files of centroids."""
    return any(content_of(path) == "verse" for path in find_files(source, [_ENDING])[:5])


def read_verse(source: Path, options: ReadOptions) -> Reading:
    """Read a folder of images and centroids.

    Raises:
        UserError: It has no such files.
    """
    files = find_files(source, [_ENDING])
    if not files:
        raise UserError(f"{source}: has no files *{_ENDING}; give the folder that holds images and centroids")
    images: dict[str, list[Path]] = {}
    for path in find_files(source, IMAGE_SUFFIXES):
        images.setdefault(image_stem(path), []).append(path)
    reading = Reading([], [])
    for path in files:
        stem = path.name[: -len(_ENDING)]
        base = stem[: match.start()] if (match := _last(stem)) else stem
        found = [image for ending in _MODALITIES for image in images.get(base + ending, [])]
        case = image_stem(found[0]) if found else base
        if len(found) > 1:
            listed = " and ".join(str(image.relative_to(source)) for image in found)
            reading.problems.append(Problem("error", f"{path}: fits several images, {listed}; keep one", case))
            continue
        if not found:
            message = (
                f"{path}: no image {base}_ct.nii.gz or {base}.nii.gz below {source}; add it, until then it is left out"
            )
            reading.problems.append(Problem("warning", message, case))
            continue
        try:
            landmarks = _read(path, options.header([found[0]]), options)
        except UserError as error:
            reading.problems.append(Problem("error", str(error), case))
            continue
        reading.entries.append(Entry(case, (absolute(found[0]),), landmarks, str(path)))
    return reading


def _last(stem: str) -> re.Match[str] | None:
    """The part of a stem, at its end, that says of which segmentation the centroids are."""
    return next((part for part in _SEGMENTATION.finditer(stem) if part.end() == len(stem)), None)


def _read(path: Path, header: Header, options: ReadOptions) -> LandmarkSet:
    document = read_json(path)
    if not isinstance(document, list) or not all(isinstance(item, dict) for item in document):
        raise UserError(f"{path}: is no list of objects; give VerSe's centroids")
    directions = [item["direction"] for item in document if "direction" in item]
    if len(directions) != 1 or not _is_orientation(directions[0]):
        raise UserError(f"{path}: its direction is {shown(directions)}; give one such as ['L', 'P', 'S']")
    if len(header.shape) != 3:
        raise UserError(f"{path}: has centroids in voxels, the image {header.path.name} is no volume; give volumes")
    rows: list[tuple[str, Value]] = []
    for number, item in enumerate(document, start=1):
        if "direction" in item:
            continue
        where = f"{path}: item {number}"
        label = item.get("label")
        if isinstance(label, bool) or not isinstance(label, int) or label < 0 or label > 10**6:
            raise UserError(f"{where}: its label is {shown(label)}; give the number of the vertebra")
        name = _NAMES[label - 1] if 1 <= label <= len(_NAMES) else str(label)
        values = [item.get(axis) for axis in "XYZ"]
        if any(isinstance(value, float) and math.isnan(value) for value in values):
            rows.append((name, "unknown"))
            continue
        voxel = _in_array(np.array(json_point(values, 3, where)), directions[0], header)
        rows.append((name, voxel_to_world(header, voxel[None])[0].tolist()))
    return landmark_set(rows, spatial_dims=3, many=options.many, where=str(path))


def _is_orientation(given: object) -> bool:
    """Whether it has one letter of each of the pairs L R, P A and I S."""
    axes = {"R": 0, "L": 0, "A": 1, "P": 1, "S": 2, "I": 2}
    return (
        isinstance(given, list)
        and all(isinstance(letter, str) for letter in given)
        and sorted(axes.get(letter, -1) for letter in given) == [0, 1, 2]
    )


def _in_array(voxel: np.ndarray, direction: list[str], header: Header) -> np.ndarray:
    """A voxel of the image turned into an orientation, as a voxel of the image as it is stored; both (3,)."""
    turn = nib.orientations.ornt_transform(
        nib.orientations.axcodes2ornt(tuple(direction)), nib.orientations.io_orientation(header.affine)
    )
    out = np.empty(3)
    for axis, (target, flip) in enumerate(turn):
        size = header.shape[int(target)]
        out[int(target)] = voxel[axis] if flip > 0 else size - 1 - voxel[axis]
    return out
