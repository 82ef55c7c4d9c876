"""One reader for each format, and no other: what data sets, bundles, predictions and pictures of reports read with.

No MONAI and no torch here: they take seconds to import, and a data set is inspected without them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from ..files.regular import open_regular
from .dicom_files import DICOM_SUFFIXES, file_array, file_header, is_dicom_folder, series_array, series_header
from .header import LARGEST_MM, PIXELS, Header, Image, ImageFileError, picture_affine
from .pictures import PICTURE_SUFFIXES, picture_array, picture_header
from .stored_voxels import MOST_VOXELS
from .unread_images import unread_line
from .volumes import VOLUME_SUFFIXES, is_volume, open_volume

IMAGE_SUFFIXES = (*VOLUME_SUFFIXES, *PICTURE_SUFFIXES, *DICOM_SUFFIXES)
"""Endings of the images that can be read; a DICOM series is a folder."""


def _volume_header(path: Path) -> Header:
    return open_volume(path).header


def _volume_array(path: Path) -> np.ndarray:
    return open_volume(path).array()


_READERS: tuple[tuple[tuple[str, ...], Callable[[Path], Header], Callable[[Path], np.ndarray]], ...] = (
    (VOLUME_SUFFIXES, _volume_header, _volume_array),
    (PICTURE_SUFFIXES, picture_header, picture_array),
    (DICOM_SUFFIXES, file_header, file_array),
)
_SAME_PLACE_MM = 1e-3
_SINGULAR_VOLUME = 1e-6
"""Smallest volume of the box that unit vectors along the axes span."""
_ITK_PLACE = re.compile(r"^\S+\.[ch]xx:\d+:\s*(itk::ERROR: )?(\w+\(\w+\): )?")
_Read = TypeVar("_Read")


def image_suffix(path: Path) -> str | None:
    """The ending of an image that can be read (``".nii.gz"``), or None for any other file."""
    name = path.name.lower()
    return next((suffix for suffix in IMAGE_SUFFIXES if name.endswith(suffix) and len(name) > len(suffix)), None)


_LFS_POINTER = b"version https://git-lfs"


def read_header(path: Path | Sequence[Path], pixel_spacing: Sequence[float] | None = None) -> Header:
    """Read size, affine and type without the voxels.

    Args:
        path: The image (a file, or the folder of a DICOM series), or one for each channel.
        pixel_spacing: Pixel size (x, y) in mm of a picture; None for what its file says. Volumes keep their own.

    Raises:
        ImageFileError: The file is missing, of another format or unreadable, or the channels do not fit each other.
    """
    headers = [_sliced(_header(one), pixel_spacing) for one in _listed(path)]
    return headers[0] if len(headers) == 1 else _joined(headers)


def read_image(path: Path | Sequence[Path], pixel_spacing: Sequence[float] | None = None) -> Image:
    """Read an image with its voxels; arguments and errors as `read_header`."""
    arrays, headers = [], []
    for one in _listed(path):
        header = _header(one)
        array = _guarded(one, _reader(one)[1])
        headers.append(_sliced(header, pixel_spacing))
        # A volume of a single slice lies in the plane that its other axes span.
        arrays.append(array.reshape(len(array), *headers[-1].shape) if headers[-1].volumes == 1 else array)
    header = headers[0] if len(headers) == 1 else _joined(headers)
    return Image(arrays[0] if len(arrays) == 1 else np.concatenate(arrays), header.affine, header.path, header)


def check_image(path: Path, most_voxels: int = MOST_VOXELS) -> None:
    """Raise as `read_image` for a file that cannot be read whole; of a volume, one block at a time is in memory.

    Args:
        path: The image.
        most_voxels: Numbers that an image may have, of all its channels together.

    Raises:
        ImageFileError: As `read_image`, or there are more voxels.
    """
    header = read_header(path)
    count = max(header.channels, header.volumes) * int(np.prod(header.shape, dtype=object))
    if count > most_voxels:
        raise ImageFileError(f"{path}: has {count} voxels, {most_voxels} are allowed; crop or resample it")
    if path.is_file() and is_volume(path):
        _guarded(path, lambda one: open_volume(one, most_voxels).check_content(most_voxels))
    else:
        read_image(path)


def _listed(path: Path | Sequence[Path]) -> list[Path]:
    return [path] if isinstance(path, Path) else list(path)


def _reader(path: Path) -> tuple[Callable[[Path], Header], Callable[[Path], np.ndarray]]:
    if path.is_dir():
        if not is_dicom_folder(path):
            raise ImageFileError(f"{path}: a folder without DICOM files is no image; give a file or a DICOM series")
        return series_header, series_array
    if not path.is_file():
        raise ImageFileError(f"{path}: image file not found; check the path")
    suffix = image_suffix(path)
    if suffix is None:
        allowed = f"{path}: not an image that can be read; allowed are {', '.join(IMAGE_SUFFIXES)}"
        raise ImageFileError(unread_line(path) or allowed)
    return next((header, array) for suffixes, header, array in _READERS if suffix in suffixes)


def _header(path: Path) -> Header:
    header = _guarded(path, _reader(path)[0])
    furthest = np.abs(header.affine[np.isfinite(header.affine)]).max(initial=0.0)
    if furthest > LARGEST_MM:
        raise ImageFileError(
            f"{path}: its header has a length of {furthest:.3g} mm; repair the header or leave the case out"
        )
    if reason := no_place(header.affine):
        raise ImageFileError(f"{path}: {reason}; repair the header or leave the case out")
    return header


def no_place(affine: np.ndarray) -> str | None:
    """Why an affine (D + 1, D + 1) gives voxels no place, or None where it does."""
    if not np.isfinite(affine).all():
        return "affine has values that are not finite"
    lengths = np.linalg.norm(affine[:-1, :-1], axis=0)
    if (lengths == 0).any() or abs(np.linalg.det(affine[:-1, :-1] / lengths)) < _SINGULAR_VOLUME:
        return f"affine is singular (spacing {np.round(lengths, 6).tolist()}), no point can be placed"
    return None


def reason_of(error: Exception) -> str:
    """What a reader says of a broken file, in one line; ITK says first where in its own sources it failed."""
    text = _ITK_PLACE.sub("", " ".join(str(error).split()))
    return text[:200] or type(error).__name__


def _guarded(path: Path, read: Callable[[Path], _Read]) -> _Read:
    try:
        return read(path)
    except ImageFileError:
        raise
    except Exception as error:  # the readers raise whatever they like on a broken file
        if is_lfs_pointer(path):
            raise ImageFileError(f"{path}: is a Git LFS pointer without content; get it with `git lfs pull`") from error
        raise ImageFileError(
            f"{path}: image cannot be read ({reason_of(error)}); replace the file or leave the case out"
        ) from error


def is_lfs_pointer(path: Path) -> bool:
    """Whether a file is what a clone without Git LFS has in place of an image."""
    try:
        with open_regular(path) as stream:
            return stream.read(len(_LFS_POINTER)) == _LFS_POINTER
    except (OSError, ValueError):  # a folder of DICOM files, a pipe
        return False


def _sliced(header: Header, pixel_spacing: Sequence[float] | None) -> Header:
    """A volume with a single slice as a picture, and a picture with the pixel size that was given."""
    if len(header.shape) == 3 and header.shape.count(1) == 1 and header.volumes == 1:
        kept = [axis for axis, size in enumerate(header.shape) if size != 1]
        spacing = (header.spacing[kept[0]], header.spacing[kept[1]])
        shape = tuple(header.shape[axis] for axis in kept)
        header = replace(header, shape=shape, affine=picture_affine(spacing), second_affine=None, oriented=True)
    elif len(header.shape) == 2 and header.path.name.lower().endswith(VOLUME_SUFFIXES):
        header = replace(header, affine=picture_affine((header.spacing[0], header.spacing[1])))
    if pixel_spacing is None or len(header.shape) != 2:
        return header
    x, y = pixel_spacing
    # What a note says of the file's own pixel size is settled.
    notes = tuple(note for note in header.notes if "--pixel_spacing" not in note)
    return replace(header, affine=picture_affine((float(x), float(y))), unit="mm", notes=notes)


def _joined(headers: Sequence[Header]) -> Header:
    """The header of an image whose channels are files; they must lie on one grid."""
    first = headers[0]
    for other in headers[1:]:
        if difference := _difference(other, first):
            raise ImageFileError(
                f"{other.path}: {difference} differs from the first channel {first.path}; resample the channels of a "
                "case to one grid"
            )
    return replace(
        first,
        channels=sum(header.channels for header in headers),
        volumes=max(header.volumes for header in headers),
        notes=tuple(dict.fromkeys(note for header in headers for note in header.notes)),
    )


def _difference(other: Header, first: Header) -> str | None:
    """In what two channels differ, with both values; None where they lie on one grid."""
    if other.shape != first.shape:
        return f"shape {_box(other.shape)} (not {_box(first.shape)})"
    if np.allclose(other.affine, first.affine, atol=_SAME_PLACE_MM):
        return None
    if not np.allclose(other.spacing, first.spacing, atol=_SAME_PLACE_MM):
        return f"voxel size {_box(other.spacing)} mm (not {_box(first.spacing)})"
    corners = np.array(np.meshgrid(*[(0, size - 1) for size in first.shape])).reshape(len(first.shape), -1)
    moved = (other.affine - first.affine) @ np.vstack([corners, np.ones(corners.shape[1])])
    return f"position (by up to {np.linalg.norm(moved[:-1], axis=0).max():.3g} mm)"


def _box(sizes: Sequence[float]) -> str:
    return " x ".join(f"{size:.4g}" for size in sizes)


__all__ = [
    "IMAGE_SUFFIXES",
    "PIXELS",
    "Header",
    "Image",
    "ImageFileError",
    "check_image",
    "image_suffix",
    "is_lfs_pointer",
    "read_header",
    "read_image",
]
