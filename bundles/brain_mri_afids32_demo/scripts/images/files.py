"""Which files of a folder are images, and what their cases are called."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .dicom_files import DICOM_SUFFIXES, is_dicom_folder
from .numpy_files import NUMPY_SUFFIXES
from .pictures import PICTURE_SUFFIXES
from .reading import IMAGE_SUFFIXES
from .unread_images import first_unread

_CHANNEL = re.compile(r"(.+)_(\d{4})")
"""A file for each channel of a case, as nnU-Net names them: ``CASE_0000.nii.gz``, ``CASE_0001.nii.gz``."""


def case_name(image: str | Path) -> str:
    """Name of a case: the image's file name without its ending (``sub.1.nii.gz`` is ``sub.1``)."""
    name = Path(image).name
    ending = next((ending for ending in IMAGE_SUFFIXES if name.lower().endswith(ending)), "")
    return name[: len(name) - len(ending)] or name


def image_names(image: Sequence[str | Path]) -> tuple[str, ...]:
    """What `images_by_case` may call an image of these files: its first file, or ``CASE`` of ``CASE_0000``, ...."""
    first = case_name(image[0])
    part = _CHANNEL.fullmatch(first)
    return (first, part[1]) if part and len(image) > 1 else (first,)


def listed_case(item: Mapping[str, Any]) -> str:
    """Name of the case of an item of a data list: its ``case``, with ``_`` for ``/``, else that of its first image."""
    if item.get("case"):
        return str(item["case"]).replace("/", "_")
    image = item["image"]
    return case_name(image[0] if isinstance(image, (list, tuple)) else image)


def images_by_case(
    folder: str | Path, *, spatial_dims: int | None = None, channels: int = 1
) -> dict[str, tuple[Path, ...]]:
    """The images of a folder by name of their case, sorted by path.

    They lie in the folder itself or, if it holds none, in its folder ``images``; else one level below either of them,
    where the name of the case begins with that of the folder (``sub-01/image.nii.gz`` is ``sub-01_image``), as it does
    in a data set that is read. Hidden files and folders are left out, pictures beside volumes, which are screenshots,
    and arrays beside other images, which may be anything. A folder with DICOM slices is one image; so is `folder`
    itself, unless pictures are wanted.

    Args:
        folder: where to look.
        spatial_dims: 2 takes DICOM files in `folder` as a picture each, 3 leaves pictures out; None takes what is
            there.
        channels: more than one takes ``CASE_0000``, ``CASE_0001``, ... as the channels of one case, where the files
            are named so.

    Returns:
        Files of each case: one, or one for each channel.

    Raises:
        ValueError: no image, two images of one case, or a channel that is missing.
    """
    source = Path(folder)
    for root, pattern in ((source, "*"), (source / "images", "*"), (source / "images", "*/*"), (source, "*/*")):
        found = _chosen([path for path in sorted(root.glob(pattern)) if _is_image(path, root)], spatial_dims)
        if spatial_dims != 2 and all(path.name.lower().endswith(DICOM_SUFFIXES) for path in found):
            if root == source and pattern == "*" and is_dicom_folder(source):
                return {source.resolve().name: (source,)}
            found = [path for path in found if path.is_dir() or len(found) == 1] or found
        if found:
            break
    else:
        if unread := first_unread([*source.glob("*"), *source.glob("*/*")]):
            raise ValueError(unread)
        raise ValueError(
            f"{source}: holds no image ({', '.join(IMAGE_SUFFIXES)}), nor do its folders; give a folder of images"
        )
    images: dict[str, Path] = {}
    for path in found:
        case = case_name("_".join(path.relative_to(root).parts))
        if case in images:
            raise ValueError(f"{path}: has the same name as {images[case]}; rename one of them or move it away")
        images[case] = path
    return grouped_channels(images, channels)


def grouped_channels(images: Mapping[str, Path], channels: int) -> dict[str, tuple[Path, ...]]:
    """Put ``CASE_0000``, ``CASE_0001``, ... together where an image has several channels and all files are named so.

    Args:
        images: files by name of their case.
        channels: number of channels of an image.

    Raises:
        ValueError: a channel of a case is missing.
    """
    parts = {name: _CHANNEL.fullmatch(name) for name in images}
    if channels == 1 or not all(parts.values()):
        return {name: (path,) for name, path in images.items()}
    cases: dict[str, dict[int, Path]] = {}
    for name, part in parts.items():
        assert part is not None
        cases.setdefault(part[1], {})[int(part[2])] = images[name]
    for case, files in cases.items():
        if sorted(files) != list(range(channels)):
            one = next(iter(files.values()))
            numbers = ", ".join(f"_{number:04d}" for number in sorted(files))
            raise ValueError(
                f"{one}: case '{case}' has the channels {numbers}; needed are _0000 to _{channels - 1:04d}, a file each"
            )
    return {case: tuple(files[number] for number in range(channels)) for case, files in cases.items()}


def without_arrays(paths: list[Path]) -> list[Path]:
    """Without arrays (.npy, .npz) where other images are there: those beside images are points, masks or features."""
    return [path for path in paths if not path.name.lower().endswith(NUMPY_SUFFIXES)] or paths


def _chosen(paths: list[Path], spatial_dims: int | None) -> list[Path]:
    """Without arrays beside other images, and without pictures where volumes are wanted or lie beside them."""
    paths = without_arrays(paths)
    volumes = [path for path in paths if not path.name.lower().endswith(PICTURE_SUFFIXES)]
    return paths if spatial_dims == 2 or not (volumes or spatial_dims == 3) else volumes


def _is_image(path: Path, root: Path) -> bool:
    if any(part.startswith(".") for part in path.relative_to(root).parts):
        return False
    return path.name.lower().endswith(IMAGE_SUFFIXES) if path.is_file() else is_dicom_folder(path)
