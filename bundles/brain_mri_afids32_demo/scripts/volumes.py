"""Volumes in files: NIfTI through nibabel, NRRD and MetaImage through ITK, as MONAI's readers give them."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.spatialimages import HeaderDataError

from .image_header import LARGEST_MM, Header

NIFTI_SUFFIXES = (".nii.gz", ".nii")
ITK_SUFFIXES = (".nrrd", ".nhdr", ".mha", ".mhd")
VOLUME_SUFFIXES = NIFTI_SUFFIXES + ITK_SUFFIXES
"""Endings of files that hold volumes (or one slice, which is read as a picture)."""

_ITK_AXES = (2, 3, 4)
_NRRD_SUFFIXES = (".nrrd", ".nhdr")
_NRRD_FIELD = 500
"""Characters of a field in the header of an NRRD; those of a real one have at most two hundred."""
_FREE_TEXT = (b"#", b"content:")


def nifti_header(path: Path) -> Header:
    """Header of a NIfTI file."""
    return _nifti_header(nib.load(path), path)


def nifti_array(path: Path) -> np.ndarray:
    """Voxels of a NIfTI file, (C, *size) float32; a fourth axis holds channels."""
    array = np.asanyarray(nib.load(path).dataobj, order="C").astype(np.float32)
    return array[None] if array.ndim <= 3 else np.moveaxis(array, -1, 0)


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
                qform = np.asarray(nifti.get_qform(), dtype=np.float64)
                second_affine = qform if (np.abs(qform) <= LARGEST_MM).all() else None
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


def itk_header(path: Path) -> Header:
    """Header of a file that ITK reads, its LPS turned to RAS."""
    import itk

    _refuse_long_fields(path)
    image_io = itk.ImageIOFactory.CreateImageIO(str(path), itk.CommonEnums.IOFileMode_ReadMode)
    if image_io is None:
        raise ValueError("no ITK reader knows this file")
    image_io.SetFileName(str(path))
    image_io.ReadImageInformation()
    dims = int(image_io.GetNumberOfDimensions())
    if dims not in _ITK_AXES:
        # ITK would load all of its modules, for a minute, to find a reader that it does not have.
        raise ValueError(f"it has {dims} axes, an image has 2 or 3")
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


def _refuse_long_fields(path: Path) -> None:
    """Refuse an NRRD whose header has a field of many characters.

    ITK's reader puts a field that it does not understand into a message of fixed length, and a longer one ends the
    whole process. Comments, ``content`` and pairs of key and value (``:=``) may be of any length.

    Raises:
        ValueError: There is such a line.
    """
    if not path.name.lower().endswith(_NRRD_SUFFIXES):
        return
    with path.open("rb") as stream:
        number = 0
        while line := stream.readline():
            number += 1
            if not line.strip():
                return  # the header ends, voxels begin
            free = line.startswith(_FREE_TEXT) or line.partition(b":")[2].startswith(b"=")
            if len(line) > _NRRD_FIELD and not free:
                raise ValueError(f"line {number} of its header has {len(line)} characters and is no field of an NRRD")


def itk_array(path: Path) -> np.ndarray:
    """Voxels of a file that ITK reads, (C, *size) float32."""
    import itk

    image = itk.imread(str(path))
    array = np.asarray(itk.array_view_from_image(image))
    if image.GetNumberOfComponentsPerPixel() == 1:
        array = array[..., None]
    # ITK's array is (z, y, x, channel); a copy, because the view dies with the image.
    return np.array(array.T, dtype=np.float32, order="C")
