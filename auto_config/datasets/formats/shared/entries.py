"""What a format module gives: one entry for each case, as its files say it."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from auto_config.bundle_scripts.images.numpy_files import is_sidecar
from auto_config.bundle_scripts.points.control_points import PointList
from auto_config.bundle_scripts.points.landmarks import LandmarkSet
from auto_config.datasets.formats.shared.tables import System
from auto_config.datasets.images import image_stem
from auto_config.datasets.model.dataset import Problem
from auto_config.datasets.model.properties import Properties


@dataclass(frozen=True)
class Entry:
    """A case before its landmarks are brought into the order of the data set.

    Args:
        name: Name of the case.
        image: Absolute paths of its image: one file, or one for each channel.
        landmarks: Landmarks as the source has them, or None where it has none.
        label: What holds the landmarks, as messages name it.
        split: ``"training"`` or ``"test"``.
        fold: Fold, if the source says so.
        group: Group, if the source says so.
        raters: Landmarks as single raters set them, by the rater's name.
        unnamed: Control points of Slicer files, whose names are chosen over all files (`point_names`): by the rater's
            name, and those of the case itself under None. Only a reader's entries have some.
    """

    name: str
    image: tuple[Path, ...]
    landmarks: LandmarkSet | None
    label: str
    split: str = "training"
    fold: int | None = None
    group: str | None = None
    raters: Mapping[str, LandmarkSet] = field(default_factory=dict)
    unnamed: Mapping[str | None, PointList] = field(default_factory=dict)

    def with_points(self, read: LandmarkSet | PointList, rater: str | None = None) -> Entry:
        """The entry with what a file of its landmarks, or of those of a rater, holds."""
        if isinstance(read, PointList):
            return replace(self, unnamed={**self.unnamed, rater: read})
        if rater is None:
            return replace(self, landmarks=read)
        return replace(self, raters={**self.raters, rater: read})


@dataclass(frozen=True)
class Reading:
    """What a format module found.

    Args:
        entries: The cases whose image and landmarks could be read, or that have an image only.
        problems: Everything that was wrong or left out.
        names: Landmark names and their order, if the source declares them.
        properties: What the source itself declares about the landmarks; None where only a ``landmarks.json`` beside it
            can.
        spatial_dims: Number D of coordinates of a point, 2 or 3.
        pixel_spacing: Pixel size (x, y) in mm of pictures, if the source itself declares it.
        written: What the numbers in the source are; None for what is usual for the format.
    """

    entries: list[Entry]
    problems: list[Problem] = field(default_factory=list)
    names: tuple[str, ...] | None = None
    properties: Properties | None = None
    spatial_dims: int = 3
    pixel_spacing: tuple[float, float] | None = None
    written: frozenset[System] | None = None


def absolute(path: Path) -> Path:
    """The absolute path without ``..``; links are kept, because the name of a linked file is the name that counts."""
    return Path(os.path.abspath(path))  # noqa: PTH100 - Path.resolve would follow links


def one_form(text: str) -> str:
    """A name in the Unicode form in which names are compared (NFC); files of macOS have the other one (NFD)."""
    return unicodedata.normalize("NFC", text)


def below(folder: Path, value: str) -> Path:
    """The path that a file names, in the Unicode form in which it is there; as written if it is in none."""
    forms = (value, one_form(value), unicodedata.normalize("NFD", value))
    try:
        return next((path for form in forms if (path := folder / form).exists()), folder / value)
    except OSError:  # a name that is too long for a file
        return folder / value


def natural_key(text: str) -> list[tuple[int, int, str]]:
    """Sorting key that puts ``case2`` before ``case10``."""
    keys = [
        # By the number of digits and then by the digits: `int` refuses numbers of thousands of digits.
        (1, len(part.lstrip("0")), part.lstrip("0")) if part.isdecimal() else (0, 0, part.casefold())
        for part in re.split(r"(\d+)", text)
    ]
    return [*keys, (0, 0, text)]


def find_files(folder: Path, endings: Sequence[str]) -> list[Path]:
    """Files below `folder` with one of the (lower-case) endings, in natural order, hidden ones left out.

    Files that say the spacing of an array are none.
    """
    found = [
        path
        for path in folder.rglob("*")
        if path.name.lower().endswith(tuple(endings))
        and not is_sidecar(path)
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and path.is_file()
    ]
    return sorted(found, key=lambda path: natural_key(path.relative_to(folder).as_posix()))


def case_key(path: Path, folder: Path, ending: str | None = None) -> str:
    """Path below `folder` without the ending: equal for an image and its landmark file."""
    relative = path.relative_to(folder)
    name = image_stem(relative) if ending is None else relative.name[: -len(ending)]
    return (relative.parent / name).as_posix()


def case_name(key: str) -> str:
    """Name of a case that can be a file name: folders are joined by underscores."""
    return key.replace("/", "_")


_CHANNEL = re.compile(r"(.+)_(\d{4})", re.DOTALL)


def joined_channels(
    images: Mapping[str, Path], labelled: Collection[str] | None
) -> tuple[dict[str, tuple[Path, ...]], list[Problem]]:
    """Put the files of the channels of a case together: ``CASE_0000``, ``CASE_0001``, ..., as nnU-Net names them.

    Args:
        images: Images by `case_key`.
        labelled: Keys of cases that have landmarks: files are joined where ``CASE`` has some and they have none. None
            where there are no landmarks: then all files must be named so, and a case have several.

    Returns:
        The files of each case, and an error for each case that lacks a channel.
    """
    matches = {key: part for key in images if (part := _CHANNEL.fullmatch(key))}
    own = {one_form(case): case for case in (labelled or [part[1] for part in matches.values()])}
    parts = {key: (own.get(one_form(part[1]), part[1]), part[2]) for key, part in matches.items()}
    if labelled is None:
        several = {part[0] for part in parts.values() if int(part[1]) > 0}
        joined = set(parts) if len(parts) == len(images) and several else set()
    else:
        joined = {key for key, part in parts.items() if part[0] in labelled and key not in labelled}
    files: dict[str, tuple[Path, ...]] = {key: (path,) for key, path in images.items() if key not in joined}
    channels: dict[str, dict[int, Path]] = {}
    for key in sorted(joined):
        channels.setdefault(parts[key][0], {})[int(parts[key][1])] = images[key]
    problems = []
    for case, found in channels.items():
        if sorted(found) != list(range(len(found))):
            lacking = next(number for number in range(len(found)) if number not in found)
            one = next(iter(found.values()))
            message = f"{one}: case {case!r} has no channel _{lacking:04d}, but _{max(found):04d}; add the file"
            problems.append(Problem("error", message, case_name(case)))
            continue
        files[case] = tuple(found[number] for number in sorted(found))
    return files, problems


def unique_by_key(paths: Iterable[Path], folder: Path, what: str) -> tuple[dict[str, Path], list[Problem]]:
    """Index images by `case_key`; those that share one are left out, with an error."""
    index: dict[str, list[Path]] = {}
    for path in paths:
        index.setdefault(case_key(path, folder), []).append(path)
    problems = [
        Problem(
            "error",
            f"{found[0].parent}: {' and '.join(path.name for path in found)} are {what} of one case {key!r}; "
            "keep one of them",
            case_name(key),
        )
        for key, found in index.items()
        if len(found) > 1
    ]
    return {key: found[0] for key, found in index.items() if len(found) == 1}, problems
