"""DICOM and pictures through ITK, by the reader of their format alone.

ITK chooses a reader by looking into the file, so that a file of any name may be HDF5, whose voxels may be another file
of the machine, or a text header that names one. Here it never chooses.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..files.regular import check_regular
from .header import Header
from .stored_voxels import check_sizes

_PICTURES = ("PNGImageIO", "JPEGImageIO", "BMPImageIO", "TIFFImageIO")
_DICOM = "GDCMImageIO"
_AXES = (2, 3, 4)
_UNCOMPRESSED = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2")
_SYNTAX = "0002|0010"
MOST_PIXELS = 2**29
"""Numbers of a DICOM file or a picture that are read at most: their libraries decode in one piece."""


def itk_header(path: Path) -> Header:
    """Header of a DICOM file or a picture as ITK sees it, its LPS turned to RAS.

    Raises:
        ValueError: It is another file, or promises more than it can hold.
    """
    image_io = opened(path)
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


def itk_array(path: Path) -> np.ndarray:
    """Voxels of a DICOM file or a picture, (C, *size) float32; errors as `itk_header`."""
    import itk

    image = itk.imread(str(path), imageio=opened(path))
    array = np.asarray(itk.array_view_from_image(image))
    if image.GetNumberOfComponentsPerPixel() == 1:
        array = array[..., None]
    # ITK's array is (z, y, x, channel); a copy, because the view dies with the image.
    return np.array(array.T, dtype=np.float32, order="C")


def opened(path: Path) -> Any:
    """ITK's reader of a file, with its header read and weighed.

    Raises:
        ValueError: No reader of a picture or of DICOM knows the file, or its header promises more than it can hold.
    """
    import itk

    check_regular(path)
    for name in (_DICOM, *_PICTURES):
        image_io = getattr(itk, name).New()
        if image_io.CanReadFile(str(path)):
            break
    else:
        raise ValueError("it is no DICOM file and no picture")
    image_io.SetFileName(str(path))
    image_io.ReadImageInformation()
    dims = int(image_io.GetNumberOfDimensions())
    if dims not in _AXES:
        raise ValueError(f"it has {dims} axes, an image has 2 or 3")
    sizes = tuple(int(image_io.GetDimensions(axis)) for axis in range(dims))
    check_sizes((int(image_io.GetNumberOfComponents()), *sizes), MOST_PIXELS)
    if name == _DICOM:
        _check_held(image_io, path, sizes)
    return image_io


def _check_held(image_io: Any, path: Path, sizes: tuple[int, ...]) -> None:
    """Refuse uncompressed DICOM whose pixels cannot be in the file."""
    dictionary = image_io.GetMetaDataDictionary()
    syntax = str(dictionary[_SYNTAX]).strip(" \0") if dictionary.HasKey(_SYNTAX) else ""
    needed = int(np.prod(sizes, dtype=object)) * int(image_io.GetNumberOfComponents())
    if syntax in _UNCOMPRESSED and needed > path.stat().st_size:
        shown = " x ".join(map(str, sizes))
        raise ValueError(f"its header promises {shown} pixels, but the file has {path.stat().st_size} bytes")
