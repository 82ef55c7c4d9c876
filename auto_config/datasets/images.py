"""Read images and headers exactly as the bundles' MONAI readers do, without importing MONAI.

NIfTI goes through nibabel, NRRD and MetaImage through ITK: what ``LoadImage(reader=["ITKReader", "NibabelReader"],
ensure_channel_first=True)`` gives. A test holds array and affine against it. MONAI alone takes seconds to import.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.spatialimages import HeaderDataError

from auto_config.errors import UserError

NIFTI_SUFFIXES = (".nii.gz", ".nii")
ITK_SUFFIXES = (".nrrd", ".nhdr", ".mha", ".mhd")
IMAGE_SUFFIXES = NIFTI_SUFFIXES + ITK_SUFFIXES
"""Endings of the images that can be read."""


@dataclass(frozen=True)
class Header:
    """What is known of an image without its voxels.

    Args:
        shape: Number of voxels along each spatial axis, in the order of the file's array.
        affine: (D + 1, D + 1) voxel to RAS mm.
        channels: Number of channels.
        dtype: Name of the number type in the file.
        path: The file (the first one, where each channel has its own).
        unit: Unit of length in the header, ``"mm"`` where the format has none; ``"unknown"`` if left open.
        volumes: Size of the fourth axis of a NIfTI, 1 otherwise.
        second_affine: The qform of a NIfTI whose sform is used and that has both; None otherwise.
        oriented: False for a NIfTI with neither sform nor qform.
    """

    shape: tuple[int, ...]
    affine: np.ndarray
    channels: int
    dtype: str
    path: Path
    unit: str = "mm"
    volumes: int = 1
    second_affine: np.ndarray | None = None
    oriented: bool = True

    @property
    def spacing(self) -> tuple[float, ...]:
        """Voxel size along each axis of the array, in mm."""
        return tuple(float(size) for size in np.linalg.norm(self.affine[:-1, :-1], axis=0))


@dataclass(frozen=True)
class Image:
    """An image as the bundle's reader gives it.

    Args:
        array: (C, *spatial) float32, channel first.
        affine: (D + 1, D + 1) voxel to RAS mm.
        path: The file (the first one, where each channel has its own).
        header: Its header.
    """

    array: np.ndarray
    affine: np.ndarray
    path: Path
    header: Header


def image_suffix(path: Path) -> str | None:
    """The ending of an image that can be read (``".nii.gz"``), or None for any other file."""
    name = path.name.lower()
    return next((suffix for suffix in IMAGE_SUFFIXES if name.endswith(suffix) and len(name) > len(suffix)), None)


def image_stem(path: Path) -> str:
    """The file name without the ending of an image."""
    suffix = image_suffix(path)
    return path.name[: -len(suffix)] if suffix else path.name


def read_header(path: Path | Sequence[Path]) -> Header:
    """Read size, affine and type without reading the voxels.

    Args:
        path: The image, or one file for each channel.

    Raises:
        UserError: The file is missing, of another format or unreadable, or the channels do not fit each other.
    """
    paths = [path] if isinstance(path, Path) else list(path)
    headers = [_one_header(one) for one in paths]
    return headers[0] if len(headers) == 1 else _joined(headers)


def read_image(path: Path | Sequence[Path]) -> Image:
    """Read an image with its voxels.

    Args:
        path: The image, or one file for each channel.

    Raises:
        UserError: The file is missing, of another format or unreadable, or the channels do not fit each other.
    """
    paths = [path] if isinstance(path, Path) else list(path)
    images = [_one_image(one) for one in paths]
    if len(images) == 1:
        return images[0]
    header = _joined([image.header for image in images])
    return Image(np.concatenate([image.array for image in images]), header.affine, header.path, header)


def _joined(headers: list[Header]) -> Header:
    """The header of an image whose channels are files."""
    first = headers[0]
    for other in headers[1:]:
        if other.shape != first.shape or not np.allclose(other.affine, first.affine, atol=1e-3):
            raise UserError(
                f"{other.path}: shape {other.shape} or position differs from the first channel {first.path} "
                f"({first.shape}); resample the channels of a case to one grid"
            )
    return Header(
        shape=first.shape,
        affine=first.affine,
        channels=sum(header.channels for header in headers),
        dtype=first.dtype,
        path=first.path,
        unit=first.unit,
        volumes=max(header.volumes for header in headers),
        second_affine=first.second_affine,
        oriented=first.oriented,
    )


def _check_readable(path: Path) -> None:
    if not path.is_file():
        raise UserError(f"{path}: image file not found; check the path")
    if image_suffix(path) is None:
        raise UserError(f"{path}: not an image that can be read; allowed are {', '.join(IMAGE_SUFFIXES)}")


def _unreadable(path: Path, error: Exception) -> UserError:
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    return UserError(f"{path}: image cannot be read ({reason}); replace the file or leave the case out")


def _one_header(path: Path) -> Header:
    _check_readable(path)
    try:
        if image_suffix(path) in NIFTI_SUFFIXES:
            return _nifti_header(nib.load(path), path)
        return _itk_header(path)
    except Exception as error:  # the readers raise whatever they like on a broken file
        raise _unreadable(path, error) from error


def _one_image(path: Path) -> Image:
    _check_readable(path)
    try:
        if image_suffix(path) in NIFTI_SUFFIXES:
            nifti = nib.load(path)
            header = _nifti_header(nifti, path)
            array = np.asanyarray(nifti.dataobj, order="C").astype(np.float32)
            array = array[None] if array.ndim <= 3 else np.moveaxis(array, -1, 0)
        else:
            header = _itk_header(path)
            array = _itk_array(path)
    except Exception as error:  # the readers raise whatever they like on a broken file
        raise _unreadable(path, error) from error
    return Image(array, header.affine, path, header)


def _nifti_header(nifti: Any, path: Path) -> Header:
    shape = tuple(int(size) for size in nifti.shape)
    unit = "mm"
    second_affine = None
    oriented = True
    if isinstance(nifti, nib.Nifti1Pair):  # also NIfTI-2; not the older Analyze
        qform_code, sform_code = int(nifti.header["qform_code"]), int(nifti.header["sform_code"])
        unit = nifti.header.get_xyzt_units()[0]
        if sform_code and qform_code:
            # A qform that cannot be decoded does no harm where the sform is used.
            with contextlib.suppress(HeaderDataError, ValueError):
                second_affine = np.asarray(nifti.get_qform(), dtype=np.float64)
        oriented = bool(sform_code or qform_code)
    return Header(
        shape=shape[:3],
        affine=np.asarray(nifti.affine, dtype=np.float64),
        channels=shape[-1] if len(shape) > 3 else 1,
        dtype=str(nifti.get_data_dtype()),
        path=path,
        unit=unit,
        volumes=int(np.prod(shape[3:], dtype=int)) if len(shape) > 3 else 1,
        second_affine=second_affine,
        oriented=oriented,
    )


def _itk_header(path: Path) -> Header:
    import itk

    image_io = itk.ImageIOFactory.CreateImageIO(str(path), itk.CommonEnums.IOFileMode_ReadMode)
    if image_io is None:
        raise ValueError("no ITK reader knows this file")
    image_io.SetFileName(str(path))
    image_io.ReadImageInformation()
    dims = int(image_io.GetNumberOfDimensions())
    spatial = min(dims, 3)
    directions = np.array([image_io.GetDirection(axis) for axis in range(dims)], dtype=np.float64)
    spacing = np.array([image_io.GetSpacing(axis) for axis in range(dims)], dtype=np.float64)
    affine = np.eye(spatial + 1)
    affine[:-1, :-1] = (directions * spacing[:, None])[:spatial, :spatial].T
    affine[:-1, -1] = [image_io.GetOrigin(axis) for axis in range(spatial)]
    affine[:2] *= -1.0  # ITK's LPS to RAS
    sizes = [int(image_io.GetDimensions(axis)) for axis in range(dims)]
    return Header(
        shape=tuple(sizes[:spatial]),
        affine=affine,
        channels=int(image_io.GetNumberOfComponents()),
        dtype=str(image_io.GetComponentTypeAsString(image_io.GetComponentType())),
        path=path,
        volumes=int(np.prod(sizes[3:], dtype=int)) if dims > 3 else 1,
    )


def _itk_array(path: Path) -> np.ndarray:
    import itk

    image = itk.imread(str(path))
    array = np.asarray(itk.array_view_from_image(image))
    if image.GetNumberOfComponentsPerPixel() == 1:
        array = array[..., None]
    # ITK's array is (z, y, x, channel); a copy, because the view dies with the image.
    return np.array(array.T, dtype=np.float32, order="C")
