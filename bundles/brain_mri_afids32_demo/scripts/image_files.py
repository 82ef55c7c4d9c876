"""Which files of a folder are images, and what their cases are called."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

IMAGE_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd")
"""Endings of the images of a folder."""

_ALL_SUFFIXES = (*IMAGE_SUFFIXES, ".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")  # what MONAI reads when named


def case_name(image: str | Path) -> str:
    """Name of a case: the image's file name without its ending (``sub.1.nii.gz`` is ``sub.1``)."""
    name = Path(image).name
    ending = next((ending for ending in _ALL_SUFFIXES if name.lower().endswith(ending)), "")
    return name[: len(name) - len(ending)] or name


def listed_case(item: Mapping[str, Any]) -> str:
    """Name of the case of an item of a data list: its ``case``, with ``_`` for ``/``, else that of its first image."""
    if item.get("case"):
        return str(item["case"]).replace("/", "_")
    image = item["image"]
    return case_name(image[0] if isinstance(image, (list, tuple)) else image)


def images_by_case(folder: str | Path) -> dict[str, Path]:
    """The images of a folder by name of their case, sorted by path.

    They lie in the folder itself or, if it holds none, in its folder ``images``; else one level below either of them,
    where the name of the case begins with that of the folder (``sub-01/image.nii.gz`` is ``sub-01_image``), as it does
    in a data set that is read. Hidden files and folders are left out.

    Raises:
        ValueError: no image, or two images of one case.
    """
    source = Path(folder)
    for root, pattern in ((source, "*"), (source / "images", "*"), (source / "images", "*/*"), (source, "*/*")):
        found = sorted(path for path in root.glob(pattern) if _is_image(path, root))
        if found:
            break
    else:
        raise ValueError(
            f"{source}: holds no image ({', '.join(IMAGE_SUFFIXES)}), nor do its folders; give a folder of images"
        )
    images: dict[str, Path] = {}
    for path in found:
        case = case_name("_".join(path.relative_to(root).parts))
        if case in images:
            raise ValueError(f"{path}: has the same name as {images[case]}; rename one of them or move it away")
        images[case] = path
    return images


def _is_image(path: Path, root: Path) -> bool:
    hidden = any(part.startswith(".") for part in path.relative_to(root).parts)
    return not hidden and path.name.lower().endswith(IMAGE_SUFFIXES) and path.is_file()
