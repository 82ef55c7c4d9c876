"""Headers of MetaImage files (.mha, .mhd), the few forms that are read, with what ITK's MetaImageIO makes of them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..files.regular import open_regular
from .header_lines import OtherFileError, beside, next_line, numbers, shown, whole_numbers
from .stored_voxels import GZIP, RAW, TEXT, StoredVoxels

_TYPES = {
    "MET_CHAR": "i1", "MET_ASCII_CHAR": "i1", "MET_UCHAR": "u1", "MET_SHORT": "i2", "MET_USHORT": "u2", "MET_INT": "i4",
    "MET_UINT": "u4", "MET_LONG": "i4", "MET_ULONG": "u4", "MET_LONG_LONG": "i8", "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4", "MET_DOUBLE": "f8",
}  # fmt: skip
_SAME = {
    "BinaryDataByteOrderMSB": "ElementByteOrderMSB", "Rotation": "TransformMatrix", "Orientation": "TransformMatrix",
    "Position": "Offset", "Origin": "Offset",
}  # fmt: skip
_LINE = re.compile(r"\s*([^=:]{1,200}?)\s*[=:](.*)")
_LOCAL = ("local", "LOCAL", "Local")


@dataclass(frozen=True)
class MetaImageHeader:
    """What a MetaImage says.

    Args:
        stored: Its voxels; of several channels, these are the first axis.
        channels: Numbers for each voxel.
        affine: (D + 1, D + 1) voxel to world RAS mm, D at most 3.
        oriented: Whether it says where its axes or its first voxel lie in the world.
    """

    stored: StoredVoxels
    channels: int
    affine: np.ndarray
    oriented: bool = True


def read_metaimage_header(path: Path, *, detached: bool = False) -> MetaImageHeader:
    """Read the header.

    Args:
        path: The file.
        detached: Whether the voxels may be in a file beside it, which it names.

    Raises:
        ValueError: It has another form, or names its voxels and must not.
    """
    fields, end = _fields(path)
    if fields["ElementDataFile"] not in _LOCAL and not detached:
        raise OtherFileError("it has its voxels in another file; give one file that holds everything")
    for needed in ("NDims", "DimSize", "ElementType"):
        if needed not in fields:
            raise ValueError(f"its header has no field {needed!r}")
    if fields.get("ObjectType", "Image") != "Image":
        raise ValueError(f"it is the MetaIO object {shown(fields['ObjectType'])} and no image")
    dims, *_ = (*whole_numbers(fields["NDims"], "NDims"), 0)
    sizes = whole_numbers(fields["DimSize"], "DimSize")
    if dims not in (2, 3, 4):
        raise ValueError(f"it has {dims} axes, an image has 2 or 3")
    if len(sizes) != dims:
        raise ValueError(f"its header has {len(sizes)} sizes for {dims} axes")
    channels, *_ = (*whole_numbers(fields.get("ElementNumberOfChannels", "1"), "ElementNumberOfChannels"), 0)
    if not channels >= 1:
        raise ValueError(f"it has {channels} numbers for each voxel")
    stored = _stored(fields, path, end, (channels, *sizes) if channels > 1 else sizes)
    oriented = not fields.keys().isdisjoint(("Offset", "TransformMatrix"))
    return MetaImageHeader(stored, channels, _affine(fields, dims), oriented)


def _fields(path: Path) -> tuple[dict[str, str], int]:
    """Fields up to ElementDataFile, which ends a header, and the byte behind it; others are of no effect."""
    fields: dict[str, str] = {}
    with open_regular(path) as stream:
        number = 0
        while (line := next_line(stream, number := number + 1)) is not None:
            if not line.strip():
                continue
            parts = _LINE.fullmatch(line)
            if parts is None:
                raise ValueError(f"line {number} of its header, {shown(line)}, is no field of a MetaImage")
            name, value = _SAME.get(parts[1], parts[1]), parts[2]
            if name in fields:
                raise ValueError(f"its header has the field {name!r} twice")
            fields[name] = value.strip()
            if name == "ElementDataFile":
                return fields, stream.tell()
    raise ValueError("its header has no field 'ElementDataFile'")


def _stored(fields: Mapping[str, str], path: Path, end: int, sizes: tuple[int, ...]) -> StoredVoxels:
    kind = _TYPES.get(fields["ElementType"].removesuffix("_ARRAY"))
    if kind is None:
        raise ValueError(f"its ElementType {shown(fields['ElementType'])} is not read; save whole or real numbers")
    data, start = path, end
    if fields["ElementDataFile"] not in _LOCAL:
        data, start = beside(path, fields["ElementDataFile"]), 0
    encoding = GZIP if _flag(fields, "CompressedData") else RAW
    if not _flag(fields, "BinaryData", True):
        if encoding == GZIP:
            raise ValueError("its header says that its voxels are text and compressed; save it again")
        encoding = TEXT
    skip, *more = whole_numbers(fields.get("HeaderSize", "0"), "HeaderSize") or (0,)
    if more or skip < -1 or (skip and encoding != RAW) or (skip > 0 and data == path):
        raise ValueError(f"its header has the HeaderSize {shown(fields['HeaderSize'])}; save it again without")
    dtype = np.dtype(kind).newbyteorder(">" if _flag(fields, "ElementByteOrderMSB") else "<")
    return StoredVoxels(data, None if skip == -1 else start + skip, encoding, dtype, sizes)


def _flag(fields: Mapping[str, str], name: str, default: bool = False) -> bool:
    value = fields.get(name, str(default)).lower()
    if value not in ("true", "false", "1", "0"):
        raise ValueError(f"{name} of its header is {shown(fields[name])}, True or False is needed")
    return value in ("true", "1")


def _affine(fields: Mapping[str, str], dims: int) -> np.ndarray:
    spatial = min(dims, 3)
    given = fields.get("ElementSpacing", fields.get("ElementSize"))
    spacing = np.ones(dims) if given is None else numbers(given, "ElementSpacing", dims)
    matrix = np.eye(dims)
    if "TransformMatrix" in fields:
        matrix = numbers(fields["TransformMatrix"], "TransformMatrix", dims * dims).reshape(dims, dims)
    affine = np.eye(spatial + 1)
    with np.errstate(invalid="ignore", over="ignore"):  # what is not finite is refused with its file
        affine[:-1, :-1] = (matrix * spacing[:, None])[:spatial, :spatial].T
    if "Offset" in fields:
        affine[:-1, -1] = numbers(fields["Offset"], "Offset", dims)[:spatial]
    affine[:2] *= -1.0  # LPS to RAS
    return affine
