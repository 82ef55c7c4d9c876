"""Arrays in files (``.npy``, ``.npz``) with the spacing or affine that gives them a place; nothing is unpickled.

An array is indexed along the axes of its affine, as an image in memory is: ``[x, y, z]`` or ``[channel, x, y, z]``, and
``[x, y]`` or ``[channel, x, y]`` of a picture, y down.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tokenize import TokenError
from typing import Any, BinaryIO

import numpy as np

from ..files.regular import open_regular
from .header import picture_affine
from .stored_voxels import MOST_HEADER_BYTES, RAW, ZIP, StoredVoxels, opened_zip, read_voxels

NUMPY_SUFFIXES = (".npy", ".npz")
"""Endings of the arrays that can be read."""

SIDECAR_SUFFIX = ".npy.json"
"""Ending of the file that says the spacing or affine of a ``.npy``: ``CASE.npy.json`` beside ``CASE.npy``."""

_PLACE = ("spacing", "affine")
_MEMBER = ".npy"
_MOST_HEADER = 4096
"""Characters of the header of an array; numpy writes some 120."""


@dataclass(frozen=True)
class NumpyHeader:
    """What an array in a file says.

    Args:
        stored: Its numbers, the axis that varies fastest first.
        last_axis_fastest: Whether the axes of `stored` are those of the array in reverse (numpy's usual order).
        channels: Size of its first axis where that holds channels; None for none.
        shape: Its spatial axes.
        affine: (D + 1, D + 1) voxel to world RAS mm; of a picture, x right and y down.
        oriented: Whether it says where its axes lie; a spacing alone does not.
        sized: Whether it says how large a voxel is; only pictures need not.
    """

    stored: StoredVoxels
    last_axis_fastest: bool
    channels: int | None
    shape: tuple[int, ...]
    affine: np.ndarray
    oriented: bool = True
    sized: bool = True


@dataclass(frozen=True)
class _Array:
    stored: StoredVoxels
    shape: tuple[int, ...]
    last_axis_fastest: bool


def sidecar(path: Path) -> Path:
    """The file that says the spacing or affine of an array, which need not be there."""
    return path.with_name(path.name + ".json")


def is_sidecar(path: Path) -> bool:
    """Whether a file says the spacing of an array: it is neither landmarks nor a data list."""
    return path.name.lower().endswith(SIDECAR_SUFFIX)


def read_npy_header(path: Path) -> NumpyHeader:
    """Header of a ``.npy``, its place from the sidecar.

    Raises:
        ValueError: No array of numbers, or a sidecar of another form.
    """
    with open_regular(path) as stream:
        array = _array(path, stream, "")
    beside = sidecar(path)
    place = _of_json(beside) if beside.exists() else {}
    how = f'put {beside.name} beside it with {{"spacing": [x, y, z]}} in mm, or an "affine"'
    return _placed(array, place, how, beside.name)


def read_npz_header(path: Path) -> NumpyHeader:
    """Header of the image in a ``.npz``: its array ``image``, or its only one beside ``spacing`` and ``affine``.

    Raises:
        ValueError: No such archive or no such array, or its ``spacing`` or ``affine`` is of another form.
    """
    with open_regular(path) as stream, opened_zip(stream) as archive:
        sizes = {info.filename: info.file_size for info in archive.infolist()}
        names = [name.removesuffix(_MEMBER) for name in sizes if name.endswith(_MEMBER)]
        others = [name for name in names if name not in _PLACE]
        if "image" not in others and len(others) != 1:
            listed = ", ".join(repr(name[:40]) for name in others[:5]) or "none"
            raise ValueError(f"its image is the array 'image', or the only one; it has {listed}")
        arrays = {}
        for name in ("image" if "image" in others else others[0], *(name for name in _PLACE if name in names)):
            with archive.open(name + _MEMBER) as member:
                arrays[name] = _array(path, member, name + _MEMBER)
                array = arrays[name].stored
                if sizes[name + _MEMBER] != array.skipped + array.count * array.dtype.itemsize:
                    raise ValueError(f"its array {name!r} has another length than its header promises")
    place = {name: _small(arrays[name]) for name in _PLACE if name in arrays}
    image = next(array for name, array in arrays.items() if name not in _PLACE)
    return _placed(image, place, "save it with np.savez(..., image=array, spacing=(x, y, z)) in mm, or affine=", "it")


def _array(path: Path, stream: BinaryIO | Any, member: str) -> _Array:
    """Type, shape and place of the numbers of an array; `stream` stands behind its header afterwards."""
    try:
        version = np.lib.format.read_magic(stream)
        if version != (1, 0):  # numpy reads the header of a later one, of up to 4 GB, before it looks at its length
            raise ValueError(f"its array has the version {version}; that of numbers is 1")
        shape, is_fortran, dtype = np.lib.format.read_array_header_1_0(stream, max_header_size=_MOST_HEADER)
    except (ValueError, SyntaxError, TokenError, RecursionError, MemoryError, EOFError) as error:
        raise ValueError(f"its array has no header of numpy ({' '.join(str(error).split())[:120]})") from error
    if dtype.hasobject or dtype.kind not in "iufb" or dtype.itemsize > 8:
        raise ValueError(f"its array holds {str(dtype)[:60]}; save whole or real numbers of at most 64 bits")
    start = stream.tell()
    sizes = shape if is_fortran else shape[::-1]
    stored = StoredVoxels(
        path, 0 if member else start, ZIP if member else RAW, dtype, sizes or (1,), start if member else 0, member
    )
    return _Array(stored, tuple(int(size) for size in shape), not is_fortran)


def _small(array: _Array) -> np.ndarray:
    """The numbers of a spacing or an affine."""
    if array.stored.count > 16:
        raise ValueError(f"its spacing or affine has the shape {array.shape}; give (D,) or (D + 1, D + 1) numbers")
    values = read_voxels(array.stored, 16)
    return np.asarray((values.T if array.last_axis_fastest else values).reshape(array.shape), dtype=np.float64)


def _of_json(path: Path) -> dict[str, np.ndarray]:
    with open_regular(path) as stream:
        text = stream.read(MOST_HEADER_BYTES + 1)
    if len(text) > MOST_HEADER_BYTES:
        raise ValueError(f"{path.name} beside it is longer than {MOST_HEADER_BYTES} bytes; it holds a spacing alone")
    try:
        document = json.loads(text)
        if not isinstance(document, Mapping) or not set(document) <= set(_PLACE):
            raise ValueError("it is no object with the key spacing or affine, and no other")
        return {name: np.asarray(value, dtype=np.float64) for name, value in document.items()}
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise ValueError(
            f"{path.name} beside it cannot be read ({' '.join(str(error).split())[:120]}); write "
            '{"spacing": [x, y, z]} in mm'
        ) from error


def _placed(array: _Array, place: Mapping[str, np.ndarray], how: str, where: str) -> NumpyHeader:
    """An array with its place in the world."""
    if len(place) > 1:
        raise ValueError(f"{where} has both spacing and affine; keep one of them")
    if not place and len(array.shape) != 2:
        raise ValueError(f"it is an array of shape {_shown(array.shape)} and nothing says its spacing; {how}")
    affine = _affine(array, place, where) if place else picture_affine(None)
    dims = len(affine) - 1
    if len(array.shape) not in (dims, dims + 1):
        raise ValueError(
            f"its array of shape {_shown(array.shape)} does not fit a spacing or affine of {dims} axes; save "
            f"[{', '.join('xyz'[:dims])}] or [channel, {', '.join('xyz'[:dims])}]"
        )
    channels = array.shape[0] if len(array.shape) > dims else None
    oriented = dims == 2 or "affine" in place
    shape = array.shape[-dims:]
    return NumpyHeader(array.stored, array.last_axis_fastest, channels, shape, affine, oriented, bool(place))


def _affine(array: _Array, place: Mapping[str, np.ndarray], where: str) -> np.ndarray:
    if "spacing" in place:
        given = np.atleast_1d(place["spacing"])
        sizes = np.repeat(given, min(len(array.shape), 3)) if given.size == 1 else given
        if given.ndim != 1 or len(sizes) not in (2, 3) or not (np.isfinite(sizes) & (sizes > 0)).all():
            raise ValueError(f"the spacing that {where} has is no 2 or 3 mm above 0, such as (0.5, 0.5, 1)")
        return np.diag([*sizes, 1.0])
    affine = place["affine"]
    if affine.shape not in ((3, 3), (4, 4)) or not np.array_equal(affine[-1], np.eye(len(affine))[-1]):
        raise ValueError(f"the affine that {where} has is no (D + 1, D + 1) voxel to world mm with a last row 0 ... 1")
    if len(affine) == 3 and not (np.array_equal(affine, np.diag(np.diag(affine))) and (np.diag(affine) > 0).all()):
        raise ValueError(
            f"the affine that {where} has moves or turns a picture, which lies as its pixels are; give its spacing"
        )
    return affine


def _shown(shape: tuple[int, ...]) -> str:
    return " x ".join(str(size)[:20] for size in shape[:8]) or "()"
