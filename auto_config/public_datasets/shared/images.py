"""Images of a benchmark in the converted data set: linked, copied, or written anew where their header is wrong."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import nibabel as nib
import numpy as np
from PIL import Image as PillowImage

from auto_config.bundle_scripts.images.pictures import OWN_SOFTWARE, opened_picture
from auto_config.bundle_scripts.images.volumes import open_volume
from auto_config.datasets.formats.shared.entries import absolute
from auto_config.errors import UserError
from auto_config.public_datasets.shared.benchmark import SourceImage

Transfer = Literal["link", "copy"]

_NIFTI = (".nii.gz", ".nii")
_ITK = (".nrrd", ".nhdr", ".mha", ".mhd")
_CM_IN_MM = 10.0
_TIFF_CENTIMETRES = 3
_TIFF_X, _TIFF_Y, _TIFF_UNIT, _TIFF_SOFTWARE = 282, 283, 296, 305


@dataclass(frozen=True)
class ImageTask:
    """One image to bring over.

    Args:
        source: The image of the benchmark.
        target: Where it is written, with the ending of `target_name`.
        transfer: Whether an image whose header is right is linked or copied.
    """

    source: SourceImage
    target: Path
    transfer: Transfer


def target_name(case: str, source: SourceImage) -> str:
    """File name of a case's image: the case and the ending of the source, or of the format that is written anew."""
    if source.affine is not None:
        return f"{case}.nii.gz"
    if source.pixel_mm is not None:
        return f"{case}.tif"
    name = source.path.name.lower()
    ending = next((ending for ending in (*_NIFTI, *_ITK) if name.endswith(ending)), source.path.suffix)
    return case + ending


def transfer_image(task: ImageTask) -> str | None:
    """Bring one image over.

    Returns:
        None, or why it could not be done, in one line.
    """
    source = task.source
    try:
        if source.affine is not None:
            write_volume(task.target, volume_array(source.path), source.affine)
        elif source.pixel_mm is not None:
            write_picture(task.target, picture_array(source.path), source.pixel_mm)
        elif task.transfer == "copy":
            shutil.copyfile(source.path, task.target)
        else:
            _link(source.path, task.target)
    except UserError as error:
        return str(error)
    except Exception as error:  # the readers raise whatever they like on a broken file
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        return f"{source.path}: image cannot be brought over ({reason}); replace the file"
    return None


def _link(source: Path, target: Path) -> None:
    """Link to the file as it was named, so that a link of git-annex is followed when it is read.

    Raises:
        UserError: The system makes no links.
    """
    try:
        target.symlink_to(absolute(source))
    except (OSError, NotImplementedError) as error:
        raise UserError(f"{target}: cannot be made as a link ({error}); copy the images: --images copy") from error


def volume_array(path: Path) -> np.ndarray:
    """Voxels of a volume in the order of the file's axes, in a number type that NIfTI has."""
    channels = open_volume(path).voxels()
    array = channels[0]
    if len(channels) > 1 or array.ndim != 3:
        raise UserError(f"{path}: has {array.ndim + (len(channels) > 1)} axes, a volume has 3; replace the file")
    if array.dtype == bool:
        return array.astype(np.uint8)
    # 64-bit numbers are read by few programs; no scanner needs them.
    return array.astype(np.float32) if array.dtype.itemsize > 4 else array


def write_volume(path: Path, array: np.ndarray, affine: np.ndarray) -> None:
    """Write a NIfTI file.

    Args:
        path: Where to, ending in ``.nii.gz``.
        array: Voxels, three axes.
        affine: (4, 4) voxel to RAS mm.
    """
    image = nib.Nifti1Image(array, affine)
    image.header.set_xyzt_units("mm")
    nib.save(image, path)


def picture_array(path: Path) -> np.ndarray:
    """Grey values of a picture, (rows, columns): 8 or 16 bits without sign, or float32.

    A MetaImage may have a third axis of one slice. Colours become their luminance.

    Raises:
        UserError: It is no picture.
    """
    if path.name.lower().endswith(_ITK):
        array = open_volume(path).voxels()[0].T
        if array.ndim == 3 and array.shape[0] == 1:
            array = array[0]
    else:
        with opened_picture(path) as picture:
            grey = (
                picture if picture.mode in ("L", "F", "I") or picture.mode.startswith("I;16") else picture.convert("L")
            )
            array = np.asarray(grey)
    if array.ndim != 2:
        raise UserError(f"{path}: has {array.ndim} axes, a picture has 2; replace the file")
    if array.dtype in (np.uint8, np.uint16):
        return array
    whole = np.issubdtype(array.dtype, np.integer) or bool((array == np.round(array)).all())
    if whole and array.min() >= 0 and array.max() <= np.iinfo(np.uint16).max:
        return array.astype(np.uint8 if array.max() <= np.iinfo(np.uint8).max else np.uint16)
    return array.astype(np.float32)


def write_picture(path: Path, array: np.ndarray, pixel_mm: float) -> None:
    """Write a grey TIFF that knows the size of its pixels.

    Args:
        path: Where to, ending in ``.tif``.
        array: (rows, columns) as `picture_array` gives it.
        pixel_mm: Size of a pixel, both ways.
    """
    per_centimetre = _CM_IN_MM / pixel_mm
    size = {_TIFF_X: per_centimetre, _TIFF_Y: per_centimetre, _TIFF_UNIT: _TIFF_CENTIMETRES}
    tags = {**size, _TIFF_SOFTWARE: OWN_SOFTWARE}
    PillowImage.fromarray(array).save(path, format="TIFF", compression="tiff_adobe_deflate", tiffinfo=tags)
