"""A folder of images with one landmark file for each of them, whatever the format of these files.

Layouts: ``images/`` beside ``landmarks/`` (or ``labels/``, ``points/``, ``markups/``, ``fiducials/``) with equal file
names, or image and landmark file side by side, in one folder or in a folder for each case. The landmarks of single
raters lie in ``raters/RATER/`` under the same names.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from auto_config.bundle_scripts.images.dicom_files import is_dicom_folder
from auto_config.bundle_scripts.images.files import without_arrays
from auto_config.bundle_scripts.images.numpy_files import NUMPY_SUFFIXES
from auto_config.bundle_scripts.images.pictures import PICTURE_SUFFIXES
from auto_config.bundle_scripts.images.unread_images import UNREAD_SUFFIXES, first_unread, unread_line
from auto_config.bundle_scripts.points.control_points import PointList
from auto_config.bundle_scripts.points.landmarks import LandmarkFileError, LandmarkSet
from auto_config.datasets.formats.shared.case_folders import matched_labels
from auto_config.datasets.formats.shared.entries import (
    Entry,
    Reading,
    absolute,
    case_key,
    case_name,
    find_files,
    joined_channels,
    one_form,
    unique_by_key,
)
from auto_config.datasets.formats.shared.options import ReadOptions
from auto_config.datasets.images import IMAGE_SUFFIXES
from auto_config.datasets.model.dataset import Problem
from auto_config.errors import UserError

IMAGE_FOLDERS = ("images", "image")
LANDMARK_FOLDERS = ("landmarks", "labels", "points", "markups", "fiducials")
RATER_FOLDER = "raters"

Reader = Callable[[Path, Path, int, ReadOptions], LandmarkSet | PointList]
"""A landmark file, its image, number D of coordinates and options to landmarks. Raises UserError, LandmarkFileError."""


@dataclass(frozen=True)
class CaseFiles:
    """One format of landmark files.

    Args:
        endings: Endings of its files, in lower case.
        read: Reads one.
        is_one: Whether a file with the ending is one; asked where no image has its name, so that other files with the
            same ending are passed over, and to detect the format.
        beside_images: Whether the files may also lie beside the images.
        is_beside: Whether a file that lies beside the images is one, where an ending alone may be anything; only asked
            for to detect the format. `is_one`, if None.
        raters: Whether landmarks of single raters are looked for.
    """

    endings: tuple[str, ...]
    read: Reader
    is_one: Callable[[Path], bool]
    beside_images: bool = True
    is_beside: Callable[[Path], bool] | None = None
    raters: bool = False

    def files(self, folder: Path) -> list[Path]:
        """Files below a folder that have the ending."""
        files = find_files(folder, self.endings)
        # ``.mrk.json`` is not ``.json``.
        return [path for path in files if ".mrk.json" in self.endings or not path.name.lower().endswith(".mrk.json")]

    def key(self, path: Path, folder: Path) -> str:
        """What the file has in common with its image."""
        return case_key(path, folder, max((end for end in self.endings if path.name.lower().endswith(end)), key=len))


def image_folder(source: Path) -> Path:
    """The folder that holds the images: ``images/`` in `source` if there is one, else `source`."""
    return next((source / name for name in IMAGE_FOLDERS if (source / name).is_dir()), source)


def find_images(source: Path, folder: Path | None = None) -> tuple[Path, list[Path]]:
    """The folder of the images of a data set, and the images in it.

    Args:
        source: The data set.
        folder: Where to look; ``images/`` in `source` if there is one, else `source`, if None.

    A folder below it with DICOM files is one image, a series. Pictures (PNG and the like) count only where there is no
    volume: beside volumes they are screenshots. Arrays count only where there is no other image. What lies in folders
    of landmarks does not count.
    """
    folder = image_folder(source) if folder is None else folder
    series = find_series(folder)
    inside = set(series)
    found = series + [path for path in find_files(folder, IMAGE_SUFFIXES) if inside.isdisjoint(path.parents)]
    if folder == source:
        other = {*LANDMARK_FOLDERS, RATER_FOLDER}
        found = [path for path in found if path.relative_to(source).parts[0] not in other]
    found = without_arrays(found)
    volumes = [path for path in found if not path.name.lower().endswith(PICTURE_SUFFIXES)]
    return folder, volumes or found


def find_series(folder: Path) -> list[Path]:
    """Folders below `folder` that hold DICOM files, hidden ones left out."""
    folders = [path for path in folder.rglob("*") if path.is_dir()]
    return sorted(
        path
        for path in folders
        if not any(part.startswith(".") for part in path.relative_to(folder).parts) and is_dicom_folder(path)
    )


def landmark_folder(source: Path, kind: CaseFiles) -> Path:
    """The folder that holds the landmark files: one named so, else the folder of the images.

    Raises:
        UserError: Several folders hold such files.
    """
    folders = [source / name for name in LANDMARK_FOLDERS if (source / name).is_dir()]
    filled = [folder for folder in folders if kind.files(folder)]
    if len(filled) > 1:
        listed = " and ".join(f"{folder.name}/" for folder in filled)
        raise UserError(f"{source}: both {listed} hold {kind.endings[0]} files; keep one of them")
    return filled[0] if filled else image_folder(source)


def has_case_files(source: Path, kind: CaseFiles) -> bool:
    """Whether a folder holds landmark files of a format; a handful of them is looked into."""
    folders = [source / name for name in LANDMARK_FOLDERS if (source / name).is_dir()]
    if any(kind.is_one(path) for folder in folders for path in _own(kind, folder, source)[:5]):
        return True
    is_beside = kind.is_beside or kind.is_one
    return kind.beside_images and any(map(is_beside, _own(kind, image_folder(source), source)[:5]))


def _own(kind: CaseFiles, folder: Path, source: Path) -> list[Path]:
    """Landmark files in a folder; those of single raters below it do not count."""
    return [path for path in kind.files(folder) if source / RATER_FOLDER not in path.parents]


def read_images_only(source: Path, options: ReadOptions) -> Reading:
    """Read a folder of images without any points.

    Raises:
        UserError: It holds no image.
    """
    folder, files = find_images(source)
    if not files:
        raise UserError(_no_image(source))
    images, problems = unique_by_key(files, folder, "images")
    channels, lacking = joined_channels(images, None)
    entries = [Entry(case_name(key), tuple(map(absolute, own)), None, str(own[0])) for key, own in channels.items()]
    return Reading(entries, problems + lacking, spatial_dims=options.spatial_dims(files))


def read_case_files(source: Path, kind: CaseFiles, options: ReadOptions) -> Reading:
    """Read a folder of images with landmark files.

    Args:
        source: The folder.
        kind: The format of the landmark files.
        options: How to read.

    Returns:
        The cases; images without landmark file and landmark files without image as warnings, wrong files as errors.

    Raises:
        UserError: No image, or several folders of landmarks.
    """
    images_in, image_files = find_images(source)
    landmarks_in = landmark_folder(source, kind)
    if not image_files:
        raise UserError(_no_image(images_in))
    dims = options.spatial_dims(image_files)
    images, problems = unique_by_key(image_files, images_in, "images")
    ambiguous = {case_key(path, images_in) for path in image_files} - set(images)
    labels, repeated = _by_key(kind, _own(kind, landmarks_in, source), landmarks_in)
    labels = _in_the_form_of(labels, images)
    others = {key for key, path in labels.items() if key not in images and not kind.is_one(path)}
    labels, refused = matched_labels(labels, images, unmeant=frozenset(others | _joined(labels, images)))
    repeated += refused
    channels, lacking = joined_channels(images, set(labels))
    images = {key: own[0] for key, own in channels.items()}
    ambiguous |= {str(problem.case) for problem in lacking}
    problems += repeated + lacking
    raters, unmatched = _raters(source, kind, images, dims, options)
    problems += unmatched
    doubtful = {problem.case for problem in repeated}
    entries: list[Entry] = []
    for key, image in images.items():
        name = case_name(key)
        if key not in labels:
            if name not in doubtful:
                problems.append(_without_landmarks(image, landmarks_in / (key + kind.endings[0]), name))
            continue
        try:
            landmarks = kind.read(labels[key], image, dims, options)
        except (LandmarkFileError, UserError) as error:
            problems.append(Problem("error", str(error), name))
            continue
        entry = Entry(name, channels[key], None, str(labels[key])).with_points(landmarks)
        for rater, found in raters.get(key, {}).items():
            entry = entry.with_points(found, rater)
        entries.append(entry)
    for key, label in labels.items():
        if key not in images and key not in ambiguous and kind.is_one(label):
            problems.append(_unread(images_in, key) or _without_image(label, images_in, key))
    return Reading(entries, problems, spatial_dims=dims)


def _joined(labels: Collection[str], images: Mapping[str, Path]) -> set[str]:
    """Keys of landmark files whose image is in several files, one for each channel."""
    return {key for key in labels if any(f"{key}_{number:04d}" in images for number in range(100))}


def _in_the_form_of(labels: dict[str, Path], images: Collection[str]) -> dict[str, Path]:
    """Landmark files under the key of their image where the two differ in Unicode form only.

    A ZIP file of macOS holds decomposed names (NFD), other systems write composed ones (NFC).
    """
    forms: dict[str, list[str]] = {}
    for key in images:
        forms.setdefault(one_form(key), []).append(key)
    found: dict[str, Path] = {}
    for key, path in labels.items():
        alike = forms.get(one_form(key), [])
        own = key in images or len(alike) != 1 or alike[0] in labels
        found[key if own else alike[0]] = path
    return found


def _by_key(kind: CaseFiles, files: Sequence[Path], folder: Path) -> tuple[dict[str, Path], list[Problem]]:
    """Landmark files by what they have in common with their images; those that share it are an error."""
    found: dict[str, list[Path]] = {}
    for path in files:
        found.setdefault(kind.key(path, folder), []).append(path)
    problems = [
        Problem(
            "error",
            f"{paths[0].parent}: {' and '.join(path.name for path in paths)} are landmarks of one case {key!r}; keep "
            "one of them",
            case_name(key),
        )
        for key, paths in found.items()
        if len(paths) > 1
    ]
    return {key: paths[0] for key, paths in found.items() if len(paths) == 1}, problems


def _raters(
    source: Path, kind: CaseFiles, images: dict[str, Path], dims: int, options: ReadOptions
) -> tuple[dict[str, dict[str, LandmarkSet | PointList]], list[Problem]]:
    """Landmarks of single raters by key of the case and name of the rater."""
    found: dict[str, dict[str, LandmarkSet | PointList]] = {}
    problems: list[Problem] = []
    root = source / RATER_FOLDER
    if not kind.raters or not root.is_dir():
        return found, problems
    for folder in sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")):
        labels, repeated = _by_key(kind, kind.files(folder), folder)
        labels = _in_the_form_of(labels, images)
        problems += repeated
        for key, path in labels.items():
            if key not in images:
                message = f"{path}: no matching image for this rater's landmarks; rename or remove the file"
                problems.append(Problem("warning", message, case_name(key)))
                continue
            try:
                found.setdefault(key, {})[folder.name] = kind.read(path, images[key], dims, options)
            except (LandmarkFileError, UserError) as error:
                problems.append(Problem("error", str(error), case_name(key)))
    return found, problems


def _without_landmarks(image: Path, expected: Path, name: str) -> Problem:
    message = f"{image}: no matching landmark file, expected {expected}; add it, until then the case is left out"
    return Problem("warning", message, name)


def _no_image(folder: Path) -> str:
    return (
        first_unread(find_files(folder, UNREAD_SUFFIXES))
        or f"{folder}: holds no image; allowed are {', '.join(IMAGE_SUFFIXES)}"
    )


def _unread(folder: Path, key: str) -> Problem | None:
    """What to say where the image of a case is there, but in a format that is not read."""
    ends = (*UNREAD_SUFFIXES, *NUMPY_SUFFIXES)
    path = next((path for end in ends if (path := folder / (key + end)).is_file()), None)
    if path is None:
        return None
    said = unread_line(path) or f"{path}: is an array beside images of other formats; save it as they are"
    return Problem("warning", f"{said}; until then the case is left out", case_name(key))


def _without_image(label: Path, folder: Path, key: str) -> Problem:
    message = (
        f"{label}: no matching image in {folder}, expected {Path(key).name} with one of "
        f"{', '.join(IMAGE_SUFFIXES)}; rename or add it, until then the file is left out"
    )
    return Problem("warning", message, case_name(key))
