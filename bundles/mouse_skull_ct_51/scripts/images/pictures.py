"""Pictures in files: PNG, JPEG, BMP and TIFF through Pillow, grey, with their pixel size where the file knows it.

Pixels lie as they are stored: ``array[0, x, y]``, x to the right and y down. Colours become their luminance (ITU-R
601, as Pillow makes it): radiographs are often saved as colours of equal channels.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image as PillowImage
from PIL import UnidentifiedImageError

from ..files.regular import open_regular
from .header import PIXELS, Header, picture_affine
from .stored_voxels import check_sizes

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
"""Endings of the pictures that can be read."""

_FORMATS = ("PNG", "JPEG", "BMP", "DIB", "TIFF")
MOST_PIXELS = 2**28
"""Pixels of a picture that are read at most; Pillow's own limit is lower where a person has not lifted it."""

_TIFF_SUFFIXES = (".tif", ".tiff")
_GREY = ("L", "I", "F", "I;16", "I;16B", "I;16L", "I;16N")
_RESOLUTION, _RESOLUTION_Y, _UNIT, _DESCRIPTION, _SOFTWARE = 282, 283, 296, 270, 305
OWN_SOFTWARE = "landmark-bundles"
"""Software tag of the pictures that we write: their resolution is the size of the pixels, not of a print."""
_MM_PER_UNIT = {2: 25.4, 3: 10.0}
_IMAGEJ_UNITS = {"mm": 1.0, "cm": 10.0, "um": 1e-3, "µm": 1e-3, "micron": 1e-3, "microns": 1e-3, "inch": 25.4, "m": 1e3}
_SCREEN_DPI = (1.0, 72.0, 96.0)
"""Dots per inch that programs write when they do not know any better."""
_ORIENTATION_TAG = 274


def picture_header(path: Path) -> Header:
    """Header of a picture, the pixels left in the file.

    Raises:
        ValueError: No picture, a file with several pages, or a TIFF that is to be shown turned.
        OSError: It cannot be opened.
    """
    with opened_picture(path) as picture:
        return _header(picture, path)


def picture_array(path: Path) -> np.ndarray:
    """Grey values of a picture, (1, x, y) float32, as they are stored: 0 to 255 in 8 bits, 0 to 65535 in 16."""
    with opened_picture(path) as picture:
        _header(picture, path)
        return np.ascontiguousarray(np.asarray(_grey(picture)).T, dtype=np.float32)[None]


@contextmanager
def opened_picture(path: Path) -> Iterator[PillowImage.Image]:
    """A picture with its pixels still in the file, in one of the formats that are meant.

    Pillow knows many more by their content, whatever the name: one of them starts another program (EPS).
    """
    with open_regular(path) as stream:
        try:
            picture = PillowImage.open(stream, formats=_FORMATS)
        except UnidentifiedImageError as error:
            raise ValueError("by its content it is no PNG, JPEG, BMP or TIFF, or it is damaged") from error
        with picture:
            check_sizes(picture.size, MOST_PIXELS)
            yield picture


def _grey(picture: PillowImage.Image) -> PillowImage.Image:
    if picture.mode in _GREY:
        return picture
    if picture.mode in ("LA", "La"):
        return picture.getchannel(0)
    return (picture.convert("RGB") if picture.mode != "1" else picture).convert("L")


def _header(picture: PillowImage.Image, path: Path) -> Header:
    if _has_pages(picture):
        raise ValueError("it has several pages, save each as a file")
    notes = []
    if picture.mode not in (*_GREY, "1", "LA", "La"):
        notes.append("is in colour and read as grey luminance; save it in grey if colours mean nothing")
    if picture.getexif().get(_ORIENTATION_TAG, 1) != 1:
        if picture.format == "TIFF":
            # Pillow turns these, and no others, and mixes up the pixels of one that lies on its side.
            raise ValueError("it is marked to be shown turned (orientation tag); save it upright")
        notes.append(
            "is marked to be shown turned (EXIF), but is read as its pixels are stored; check that the points fit"
        )
    spacing = _tiff_spacing(picture) if path.name.lower().endswith(_TIFF_SUFFIXES) else None
    if spacing is not None and getattr(picture, "tag_v2", {}).get(_SOFTWARE) != OWN_SOFTWARE:
        notes.append(
            f"takes its pixel size of {spacing[0]:.4g} x {spacing[1]:.4g} mm from its resolution tag; give "
            "--pixel_spacing if that is only how it is printed"
        )
    return Header(
        shape=tuple(int(size) for size in picture.size),
        affine=picture_affine(spacing),
        channels=1,
        dtype={"I": "int32", "F": "float32"}.get(picture.mode, "uint16" if "16" in picture.mode else "uint8"),
        path=path,
        unit=PIXELS if spacing is None else "mm",
        notes=tuple(notes),
    )


def _has_pages(picture: PillowImage.Image) -> bool:
    """Whether a second page follows; the others are not counted, a file may chain any number of them."""
    try:
        picture.seek(1)
    except EOFError:
        return False
    return True


def _tiff_spacing(picture: PillowImage.Image) -> tuple[float, float] | None:
    """Pixel size (x, y) in mm from the resolution of a TIFF; None where it has none, or only that of a screen."""
    tags = getattr(picture, "tag_v2", {})
    try:
        across, down = float(tags[_RESOLUTION]), float(tags[_RESOLUTION_Y])
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return None
    if not (0 < across < float("inf") and 0 < down < float("inf")):
        return None
    imagej = re.search(r"^unit=(\S+)", str(tags.get(_DESCRIPTION, "")), flags=re.MULTILINE)
    length = _IMAGEJ_UNITS.get(imagej[1].replace("\\u00B5", "µ")) if imagej else _MM_PER_UNIT.get(tags.get(_UNIT, 2))
    if length is None or (imagej is None and length == _MM_PER_UNIT[2] and across in _SCREEN_DPI):
        return None
    return length / across, length / down
