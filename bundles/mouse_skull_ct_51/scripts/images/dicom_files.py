"""DICOM through ITK's GDCM: a folder as one series, sorted by position, or a single file as a picture.

The grid of a series comes from the positions of its slices, not from their thickness, so that a gantry tilt stays in
the affine (as shear, which resampling takes out) and a missing slice is an error and not a shorter patient.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..files.regular import check_regular
from .header import PIXELS, Header, ImageFileError, picture_affine
from .itk_files import itk_array, itk_header, opened
from .stored_voxels import check_sizes

DICOM_SUFFIXES = (".dcm", ".dicom", ".ima")
"""Endings of single DICOM files; those of a series in a folder may have any or none."""

_INDEX = "DICOMDIR"  # the index of a disc; the standard gives it this name
_SCOUTS = 3
"""A series of at most so many files beside a volume is a scout, also called localizer or topogram."""

_MAGIC_AT, _MAGIC = 128, b"DICM"
_POSITION, _ORIENTATION, _SPACING = "0020|0032", "0020|0037", "0028|0030"
_DETECTOR_SPACING, _PHOTOMETRIC, _ROWS, _COLUMNS = "0018|1164", "0028|0004", "0028|0010", "0028|0011"
_TAGS = (_POSITION, _ORIENTATION, _SPACING, _DETECTOR_SPACING, _PHOTOMETRIC, _ROWS, _COLUMNS)
_UNEVEN = 0.1
"""Slices may be off an even row of positions by this share of their distance."""
_LUMINANCE = np.array([0.299, 0.587, 0.114], dtype=np.float32)


def is_dicom_file(path: Path) -> bool:
    """Whether a file says that it is DICOM."""
    try:
        with path.open("rb") as stream:
            return stream.read(_MAGIC_AT + len(_MAGIC))[_MAGIC_AT:] == _MAGIC
    except OSError:
        return False


def is_dicom_folder(folder: Path) -> bool:
    """Whether a folder holds a DICOM file that may be an image; the first one found is enough."""
    return folder.is_dir() and any(
        not path.name.startswith(".") and path.name.upper() != _INDEX and path.is_file() and is_dicom_file(path)
        for path in folder.iterdir()
    )


@dataclass(frozen=True)
class _Series:
    """Files of a series in order of position, and its grid."""

    files: tuple[str, ...]
    header: Header


def series_header(folder: Path) -> Header:
    """Header of the one series in a folder.

    Raises:
        ImageFileError: No or several series, slices without position, at one position or missing.
    """
    return _series(folder).header


def series_array(folder: Path) -> np.ndarray:
    """Voxels of the one series in a folder, (1, x, y, slices) float32, rescaled as each slice says.

    A single file is what `file_array` makes of it.

    Raises:
        ImageFileError: As `series_header`.
    """
    import itk

    files = _series(folder).files
    if len(files) == 1:
        return file_array(Path(files[0]))
    slices = [np.asarray(itk.imread(file, itk.F, imageio=opened(Path(file)))).reshape(-1) for file in files]
    rows, columns = _size(_tags(files[0]), Path(files[0]))
    return np.ascontiguousarray(np.stack(slices).reshape(len(files), rows, columns).T[None])


def _series(folder: Path) -> _Series:
    import itk

    for path in folder.iterdir():
        if not path.is_dir():
            check_regular(path)  # GDCM opens every file of the folder, and waits for a pipe
    itk.Object.SetGlobalWarningDisplay(False)  # what is wrong with a file is said by our own errors
    names = itk.GDCMSeriesFileNames.New()
    names.SetUseSeriesDetails(True)  # also apart: slices of other size or direction, such as a localizer
    names.SetDirectory(str(folder))
    found = {uid: tuple(names.GetFileNames(uid)) for uid in names.GetSeriesUIDs()}
    if not found:
        raise ImageFileError(f"{folder}: holds no DICOM series; give the folder with the slices")
    found, notes = _without_scouts(found)
    if len(found) > 1:
        sizes = ", ".join(f"{len(files)} files such as {Path(files[0]).name}" for files in list(found.values())[:4])
        raise ImageFileError(
            f"{folder}: holds {len(found)} DICOM series ({sizes}); put each into a folder of its own and give that"
        )
    files = next(iter(found.values()))
    if len(files) == 1:
        return _Series(files, file_header(Path(files[0])))
    tags = [_tags(file) for file in files]
    orientation = _numbers(tags[0], _ORIENTATION, 6)
    spacing = _numbers(tags[0], _SPACING, 2)
    positions = [_numbers(one, _POSITION, 3) for one in tags]
    if orientation is None or spacing is None or any(position is None for position in positions):
        raise ImageFileError(
            f"{folder}: its slices have no position, direction or pixel spacing; convert the series to NIfTI with a "
            "program that knows its scanner"
        )
    across, down = orientation[:3], orientation[3:]
    places = np.array(positions)
    order = np.argsort(places @ np.cross(across, down), kind="stable")
    places, files = places[order], tuple(files[index] for index in order)
    step = _step(places, files, folder)
    rows, columns = _size(tags[0], folder)
    check_sizes((columns, rows, len(files)))
    affine = np.eye(4)
    # DICOM's pixel spacing is that of the rows first, which is the step down.
    affine[:3, :3] = np.stack([across * spacing[1], down * spacing[0], step], axis=1)
    affine[:3, 3] = places[0]
    affine[:2] *= -1.0  # LPS to RAS
    dtype = itk_header(Path(files[0])).dtype
    header = Header((columns, rows, len(files)), affine, 1, dtype, folder, notes=notes)
    return _Series(files, header)


def _without_scouts(found: dict[str, tuple[str, ...]]) -> tuple[dict[str, tuple[str, ...]], tuple[str, ...]]:
    """The one volume of a folder without the few images that its slices were planned on, and a note that names them.

    All series, if another one has more than `_SCOUTS` files, or together they have a third of the volume's or more.
    """
    largest = max(found, key=lambda uid: len(found[uid]))
    others = [file for uid, files in found.items() if uid != largest for file in files]
    small = all(len(files) <= _SCOUTS for uid, files in found.items() if uid != largest)
    if not others or not small or 3 * len(others) >= len(found[largest]):
        return found, ()
    listed = ", ".join(sorted(Path(file).name for file in others)[:4])
    note = f"its scout images beside the volume ({listed}) are passed over, {len(others)} in number"
    return {largest: found[largest]}, (note,)


def _step(places: np.ndarray, files: Sequence[str], folder: Path) -> np.ndarray:
    """The vector (3,) in mm from slice to slice; raises where the slices are no even row."""
    gaps = np.diff(places, axis=0)
    lengths = np.linalg.norm(gaps, axis=1)
    middle = int(np.argsort(lengths, kind="stable")[(len(lengths) - 1) // 2])  # of two, the shorter: gaps only grow
    usual = float(lengths[middle])
    if lengths.min() <= _UNEVEN * usual or usual == 0:
        here = int(lengths.argmin())
        raise ImageFileError(
            f"{folder}: {Path(files[here]).name} and {Path(files[here + 1]).name} lie at one position; it holds "
            "several phases, echoes or copies, put each into a folder of its own"
        )
    step: np.ndarray = (places[-1] - places[0]) / (len(places) - 1)
    off = np.linalg.norm(gaps - gaps[middle], axis=1)
    if off.max() > _UNEVEN * usual:
        here = int(off.argmax())
        between = f"{Path(files[here]).name} and {Path(files[here + 1]).name}"
        raise ImageFileError(
            f"{folder}: {between} are {lengths[here]:.4g} mm apart, the other slices {usual:.4g} mm: slices are "
            "missing or unevenly spaced; complete the series, or resample it to even slices"
        )
    return step


def file_header(path: Path) -> Header:
    """Header of a single file: a picture, or a volume where the file has several frames with a grid.

    The pixel size of a picture is that of the patient where it is calibrated (PixelSpacing), else that at the detector.
    """
    header = itk_header(path)
    if len(header.shape) > 2 and header.shape[2] > 1:
        return header
    tags = _tags(path)
    notes: tuple[str, ...] = ()
    spacing = _numbers(tags, _SPACING, 2)
    if spacing is None:
        spacing = _numbers(tags, _DETECTOR_SPACING, 2)
        if spacing is not None:
            notes = (
                "has its pixel size at the detector only (ImagerPixelSpacing), not corrected for magnification; give "
                "--pixel_spacing if you know better",
            )
    if tags.get(_PHOTOMETRIC) == "MONOCHROME1":
        notes += ("is stored with white as its lowest value (MONOCHROME1); it is read inverted, as it is shown",)
    if header.channels > 1:
        notes += ("is in colour and read as grey luminance; save it in grey if colours mean nothing",)
    return Header(
        shape=header.shape[:2],
        affine=picture_affine(None if spacing is None else (float(spacing[1]), float(spacing[0]))),
        channels=1,
        dtype=header.dtype,
        path=path,
        unit=PIXELS if spacing is None else "mm",
        notes=notes,
    )


def file_array(path: Path) -> np.ndarray:
    """Grey values of a single file, (1, x, y) float32, or (1, x, y, frames) of several frames.

    GDCM inverts MONOCHROME1 within the range of its stored bits, so that bright is high in every file.
    """
    array = itk_array(path)
    if array.ndim == 4 and array.shape[3] > 1:
        return array
    array = array.reshape(array.shape[:3])
    if len(array) == len(_LUMINANCE):
        array = np.tensordot(_LUMINANCE, array, axes=1)[None]
    return np.ascontiguousarray(array, dtype=np.float32)


def _tags(file: str | Path) -> dict[str, str]:
    """The tags of a file as text."""
    image_io = opened(Path(file))  # its dictionary dies with it
    dictionary: Any = image_io.GetMetaDataDictionary()
    return {tag: str(dictionary[tag]).strip(" \0") for tag in _TAGS if dictionary.HasKey(tag)}


def _size(tags: dict[str, str], where: Path) -> tuple[int, int]:
    try:
        return int(tags[_ROWS]), int(tags[_COLUMNS])
    except (KeyError, ValueError) as error:
        raise ImageFileError(f"{where}: a slice has no rows and columns; replace the file") from error


def _numbers(tags: dict[str, str], tag: str, count: int) -> np.ndarray | None:
    """The numbers of a tag; None where it is missing, empty or has another number of them."""
    try:
        values = np.array([float(part) for part in tags.get(tag, "").split("\\")])
    except ValueError:
        return None
    return values if values.shape == (count,) and np.isfinite(values).all() else None
