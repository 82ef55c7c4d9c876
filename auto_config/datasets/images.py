"""Read images and headers exactly as the bundles do: `auto_config.bundle_scripts.images.reading`, with our errors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from auto_config.bundle_scripts.images import reading as image_reading
from auto_config.bundle_scripts.images.dicom_files import is_dicom_folder
from auto_config.bundle_scripts.images.header import Header, Image, ImageFileError
from auto_config.bundle_scripts.images.reading import IMAGE_SUFFIXES, image_suffix
from auto_config.errors import UserError

__all__ = [
    "IMAGE_SUFFIXES",
    "Header",
    "Image",
    "image_stem",
    "image_suffix",
    "is_image",
    "read_header",
    "read_image",
]


def is_image(path: Path) -> bool:
    """Whether a path is an image that can be read: a file with such an ending, or the folder of a DICOM series."""
    return image_suffix(path) is not None if path.is_file() else is_dicom_folder(path)


def image_stem(path: Path) -> str:
    """The file name without the ending of an image."""
    suffix = image_suffix(path)
    return path.name[: -len(suffix)] if suffix else path.name


def read_header(path: Path | Sequence[Path], pixel_spacing: Sequence[float] | None = None) -> Header:
    """Read size, affine and type without reading the voxels.

    Args:
        path: The image (a file, or the folder of a DICOM series), or one for each channel.
        pixel_spacing: Pixel size (x, y) in mm of a picture; None for what its file says.

    Raises:
        UserError: The file is missing, of another format or unreadable, or the channels do not fit each other.
    """
    try:
        return image_reading.read_header(path, pixel_spacing)
    except ImageFileError as error:
        raise UserError(str(error)) from error


def read_image(path: Path | Sequence[Path], pixel_spacing: Sequence[float] | None = None) -> Image:
    """Read an image with its voxels, channel first; arguments and errors as `read_header`."""
    try:
        return image_reading.read_image(path, pixel_spacing)
    except ImageFileError as error:
        raise UserError(str(error)) from error
