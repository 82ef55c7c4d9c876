"""A folder of images with one landmark file for each: Slicer ``.mrk.json``, ``.fcsv``, or inline ``.json``.

Layouts: ``images/`` beside ``landmarks/`` (or ``labels/``, ``points/``, ``markups/``, ``fiducials/``) with equal file
names, or image and landmark file side by side, in one folder or in a folder for each case.
"""

from __future__ import annotations

from pathlib import Path

from auto_config.bundle_scripts.landmark_files import read_landmark_file
from auto_config.bundle_scripts.landmarks import LandmarkFileError
from auto_config.datasets.entries import Entry, Reading, case_key, case_name, find_files, unique_by_key
from auto_config.datasets.images import IMAGE_SUFFIXES, read_header
from auto_config.datasets.model import Problem
from auto_config.errors import UserError

IMAGE_FOLDERS = ("images", "image")
LANDMARK_FOLDERS = ("landmarks", "labels", "points", "markups", "fiducials")
LANDMARK_ENDINGS = {"markups": ".mrk.json", "fcsv": ".fcsv", "json": ".json"}
"""Format to the ending of its files."""


def image_folder(source: Path) -> Path:
    """The folder that holds the images: ``images/`` in `source` if there is one, else `source`."""
    return next((source / name for name in IMAGE_FOLDERS if (source / name).is_dir()), source)


def landmark_folder(source: Path, ending: str) -> Path:
    """The folder that holds the landmark files: one named so, else the folder of the images.

    Raises:
        UserError: Several folders hold such files.
    """
    folders = [source / name for name in LANDMARK_FOLDERS if (source / name).is_dir()]
    filled = [folder for folder in folders if _landmark_files(folder, ending)]
    if len(filled) > 1:
        listed = " and ".join(f"{folder.name}/" for folder in filled)
        raise UserError(f"{source}: both {listed} hold {ending} files; keep one of them")
    return filled[0] if filled else image_folder(source)


def _landmark_files(folder: Path, ending: str) -> list[Path]:
    files = find_files(folder, [ending])
    return [path for path in files if not path.name.lower().endswith(".mrk.json")] if ending == ".json" else files


def count_landmark_files(source: Path, format_name: str) -> int:
    """Number of landmark files of a format; ``json`` counts in landmark folders only, where nothing else is meant."""
    ending = LANDMARK_ENDINGS[format_name]
    folders = [source / name for name in LANDMARK_FOLDERS if (source / name).is_dir()]
    if format_name != "json":
        folders.append(image_folder(source))
    return sum(len(_landmark_files(folder, ending)) for folder in folders)


def read_images_only(source: Path) -> Reading:
    """Read a folder of images without any points."""
    folder = image_folder(source)
    images, problems = unique_by_key(find_files(folder, IMAGE_SUFFIXES), folder, "images")
    entries = [Entry(case_name(key), (path,), None, str(path)) for key, path in images.items()]
    return Reading(entries, problems)


def read_markups_folder(source: Path, format_name: str) -> Reading:
    """Read a folder of images with landmark files.

    Args:
        source: The folder.
        format_name: A key of `LANDMARK_ENDINGS`.

    Returns:
        The cases; images without landmark file and landmark files without image as warnings, wrong files as errors.

    Raises:
        UserError: No image, or several folders of landmarks.
    """
    ending = LANDMARK_ENDINGS[format_name]
    images_in, landmarks_in = image_folder(source), landmark_folder(source, ending)
    image_files = find_files(images_in, IMAGE_SUFFIXES)
    if not image_files:
        raise UserError(f"{images_in}: holds no image; allowed are {', '.join(IMAGE_SUFFIXES)}")
    images, problems = unique_by_key(image_files, images_in, "images")
    ambiguous = {case_key(path, images_in) for path in image_files} - set(images)
    labels: dict[str, Path] = {}
    for path in _landmark_files(landmarks_in, ending):
        labels[case_key(path, landmarks_in, ending)] = path

    entries: list[Entry] = []
    for key, image in images.items():
        name = case_name(key)
        if key not in labels:
            message = (
                f"{image}: no matching landmark file, expected {landmarks_in / (key + ending)}; "
                "add it, until then the case is left out"
            )
            problems.append(Problem("warning", message, name))
            continue
        try:
            affine = read_header(image).affine if format_name == "fcsv" and _is_ijk(labels[key]) else None
            landmarks = read_landmark_file(labels[key], image_affine=affine)
        except (LandmarkFileError, UserError) as error:
            problems.append(Problem("error", str(error), name))
            continue
        entries.append(Entry(name, (image,), landmarks, str(labels[key])))
    for key, label in labels.items():
        if key not in images and key not in ambiguous:
            message = (
                f"{label}: no matching image in {images_in}, expected {Path(key).name} with one of "
                f"{', '.join(IMAGE_SUFFIXES)}; rename or add it, until then the file is left out"
            )
            problems.append(Problem("warning", message, case_name(key)))
    return Reading(entries, problems)


def _is_ijk(path: Path) -> bool:
    """Whether an .fcsv is in voxel coordinates, so that the image's header is needed only then."""
    with path.open(encoding="utf-8-sig", errors="replace") as stream:
        head = [line.lower().replace(" ", "") for line in stream if line.startswith("#")]
    return any(line.strip() in ("#coordinatesystem=ijk", "#coordinatesystem=2") for line in head)
