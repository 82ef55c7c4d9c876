"""Headers of NRRD files, the few forms that are read; the format's definition is https://teem.sourceforge.net/nrrd/format.html.

What ITK's NrrdImageIO makes of space, origin and axes is made of them here too, so that viewers built on it agree.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..files.regular import open_regular
from .header_lines import OtherFileError, beside, next_line, numbers, shown, whole_numbers
from .stored_voxels import BZIP2, GZIP, HEX, RAW, TEXT, StoredVoxels

_MAGIC = re.compile(r"NRRD000[1-5]")
_NAMES = {name: name for name in (
    "content", "number", "type", "dimension", "space", "sizes", "spacings", "thicknesses", "axis mins", "axis maxs",
    "centers", "labels", "units", "kinds", "min", "max", "old min", "old max", "endian", "encoding", "line skip",
    "byte skip", "sample units", "space dimension", "space units", "space origin", "space directions",
    "measurement frame", "data file",
)} | {
    "centerings": "centers", "axismins": "axis mins", "axismaxs": "axis maxs", "oldmin": "old min", "oldmax": "old max",
    "lineskip": "line skip", "byteskip": "byte skip", "sampleunits": "sample units", "datafile": "data file",
}  # fmt: skip
_FIELD = 500
"""Characters of a field; those of a real one have at most two hundred."""
_TYPES = {
    "signed char": "i1", "int8": "i1", "int8_t": "i1", "uchar": "u1", "unsigned char": "u1", "uint8": "u1",
    "uint8_t": "u1", "short": "i2", "short int": "i2", "signed short": "i2", "signed short int": "i2", "int16": "i2",
    "int16_t": "i2", "ushort": "u2", "unsigned short": "u2", "unsigned short int": "u2", "uint16": "u2",
    "uint16_t": "u2", "int": "i4", "signed int": "i4", "int32": "i4", "int32_t": "i4", "uint": "u4",
    "unsigned int": "u4", "uint32": "u4", "uint32_t": "u4", "longlong": "i8", "long long": "i8", "long long int": "i8",
    "signed long long": "i8", "signed long long int": "i8", "int64": "i8", "int64_t": "i8", "ulonglong": "u8",
    "unsigned long long": "u8", "unsigned long long int": "u8", "uint64": "u8", "uint64_t": "u8", "float": "f4",
    "double": "f8",
}  # fmt: skip
_ENCODINGS = {
    "raw": RAW, "gzip": GZIP, "gz": GZIP, "bzip2": BZIP2, "bz2": BZIP2, "ascii": TEXT, "text": TEXT, "txt": TEXT,
    "hex": HEX,
}  # fmt: skip
_SPACES = {  # size, and the signs that turn its first three axes into RAS
    **dict.fromkeys(("right-anterior-superior", "ras"), (3, (1, 1, 1))),
    **dict.fromkeys(("left-anterior-superior", "las"), (3, (-1, 1, 1))),
    **dict.fromkeys(("left-posterior-superior", "lps"), (3, (-1, -1, 1))),
    **dict.fromkeys(("scanner-xyz", "3d-right-handed", "3d-left-handed"), (3, (-1, -1, 1))),
    **dict.fromkeys(("right-anterior-superior-time", "rast"), (4, (1, 1, 1))),
    **dict.fromkeys(("left-anterior-superior-time", "last"), (4, (-1, 1, 1))),
    **dict.fromkeys(("left-posterior-superior-time", "lpst"), (4, (-1, -1, 1))),
    **dict.fromkeys(("scanner-xyz-time", "3d-right-handed-time", "3d-left-handed-time"), (4, (-1, -1, 1))),
}
_DOMAIN = ("domain", "space", "time", "???", "none")
_CHANNELS = (
    "list", "vector", "point", "scalar", "stub", "rgb-color", "rgba-color", "hsv-color", "xyz-color",
    "2-vector", "3-vector", "4-vector",
    "3-color", "4-color", "3-gradient", "3-normal", "covariant-vector", "normal", "gradient",
)  # fmt: skip
_VECTOR = re.compile(r"none|\(([^()]*)\)")


@dataclass(frozen=True)
class NrrdHeader:
    """What an NRRD says.

    Args:
        stored: Its voxels.
        channel_axis: The axis of the channels, where it has one.
        affine: (D + 1, D + 1) voxel to world RAS mm, D of the other axes (at most 3).
        keys: Its pairs of key and value.
        oriented: Whether it says where its axes or its first voxel lie in the world.
    """

    stored: StoredVoxels
    channel_axis: int | None
    affine: np.ndarray
    keys: Mapping[str, str]
    oriented: bool = True


def read_nrrd_header(path: Path, *, detached: bool = False) -> NrrdHeader:
    """Read the header.

    Args:
        path: The file.
        detached: Whether the voxels may be in a file beside it, which it names.

    Raises:
        ValueError: It has another form, or names its voxels and must not.
    """
    fields, keys, start = _fields(path)
    if "data file" in fields and not detached:
        raise OtherFileError("it has its voxels in another file; give one file that holds everything")
    for needed in ("type", "dimension", "sizes", "encoding"):
        if needed not in fields:
            raise ValueError(f"its header has no field {needed!r}")
    dims, *_ = (*whole_numbers(fields["dimension"], "dimension"), 0)
    sizes = whole_numbers(fields["sizes"], "sizes")
    if len(sizes) != dims:
        raise ValueError(f"its header has {len(sizes)} sizes for {dims} axes")
    data = path
    if "data file" in fields:
        data, start = beside(path, fields["data file"]), 0
    stored = _stored(fields, data, start, sizes)
    kinds = [kind.lower() for kind in fields["kinds"].split()] if "kinds" in fields else ["???"] * dims
    if len(kinds) != dims:
        raise ValueError(f"its header has {len(kinds)} kinds for {dims} axes")
    space, signs = _space(fields)
    directions = _directions(fields, dims, space)
    channel_axis = _channel_axis(kinds, directions, space)
    domain = [axis for axis in range(dims) if axis != channel_axis]
    with np.errstate(invalid="ignore", over="ignore"):  # what is not finite is refused with its file
        affine = _affine(fields, domain, space, signs, directions)
    oriented = not fields.keys().isdisjoint(("space directions", "space origin"))
    return NrrdHeader(stored, channel_axis, affine, keys, oriented)


def _fields(path: Path) -> tuple[dict[str, str], dict[str, str], int]:
    """Fields, pairs of key and value, and the byte at which the header ends."""
    fields: dict[str, str] = {}
    keys: dict[str, str] = {}
    with open_regular(path) as stream:
        first = stream.read(8)
        stream.seek(0)
        if not _MAGIC.fullmatch(first.decode("latin-1")):
            raise ValueError("it does not begin with NRRD0001 to NRRD0005, this is no NRRD")
        next_line(stream, 1)
        number = 1
        while line := next_line(stream, number := number + 1):
            if line.startswith("#"):
                continue
            name, colon, value = line.partition(":")
            if colon and value.startswith("="):
                keys[name] = value[1:]
                continue
            if len(line) > _FIELD and name.lower() != "content":
                raise ValueError(f"line {number} of its header has {len(line)} characters and is no field of an NRRD")
            known = _NAMES.get(name.strip().lower())
            if not colon or known is None:
                raise ValueError(f"line {number} of its header, {shown(line)}, is no field of an NRRD that is read")
            if known in fields:
                raise ValueError(f"its header has the field {known!r} twice")
            fields[known] = value.strip()
        return fields, keys, stream.tell()


def _stored(fields: Mapping[str, str], data: Path, start: int, sizes: tuple[int, ...]) -> StoredVoxels:
    kind = _TYPES.get(" ".join(fields["type"].lower().split()))
    encoding = _ENCODINGS.get(fields["encoding"].lower())
    if kind is None:
        raise ValueError(f"its type {shown(fields['type'])} is not read; save whole or real numbers")
    if encoding is None:
        raise ValueError(f"its encoding {shown(fields['encoding'])} is not read; save it raw or as gzip")
    endian = fields.get("endian", "").lower()
    dtype = np.dtype(kind)
    if dtype.itemsize > 1 and encoding != TEXT:
        if endian not in ("little", "big"):
            raise ValueError("its header has no endian, little or big")
        dtype = dtype.newbyteorder("<" if endian == "little" else ">")
    skips = {name: whole_numbers(fields.get(name, "0"), name) for name in ("line skip", "byte skip")}
    if skips["line skip"] != (0,) or (skips["byte skip"] != (0,) and encoding != RAW):
        raise ValueError("it skips lines or bytes before its voxels; save it again without")
    skip, *more = skips["byte skip"] or (0,)
    if more or skip < -1:
        raise ValueError(f"its header has the byte skip {shown(fields['byte skip'])}, one number from -1 is needed")
    return StoredVoxels(data, None if skip == -1 else start + skip, encoding, dtype, sizes)


def _space(fields: Mapping[str, str]) -> tuple[int, np.ndarray]:
    """Number of axes of the world, 0 where there is none, and the signs (3,) to RAS."""
    if "space" in fields and "space dimension" in fields:
        raise ValueError("its header has both space and space dimension; keep one")
    if "space dimension" in fields:
        size = whole_numbers(fields["space dimension"], "space dimension")
        if size not in ((1,), (2,), (3,), (4,)):
            raise ValueError(f"its space dimension is {shown(fields['space dimension'])}, 2 or 3 is needed")
        return size[0], np.array([-1.0, -1.0, 1.0])
    if "space" not in fields:
        return 0, np.array([-1.0, -1.0, 1.0])
    known = _SPACES.get(fields["space"].lower())
    if known is None:
        raise ValueError(f"its space {shown(fields['space'])} is not known; use left-posterior-superior")
    if "space directions" not in fields and "spacings" in fields:
        raise ValueError("its header has a space, and spacings in place of space directions")
    return known[0], np.array(known[1], dtype=np.float64)


def _directions(fields: Mapping[str, str], dims: int, space: int) -> list[np.ndarray | None] | None:
    """Vector (space,) of each axis, None for an axis without; None where the header has none at all."""
    if "space directions" not in fields:
        return None
    vectors = _vectors(fields["space directions"], "space directions", space)
    if len(vectors) != dims:
        raise ValueError(f"its header has {len(vectors)} space directions for {dims} axes")
    return vectors


def _vectors(text: str, field: str, space: int) -> list[np.ndarray | None]:
    if space == 0:
        raise ValueError(f"its header has {field} and no space")
    if _VECTOR.sub("", text).strip():
        raise ValueError(f"{field} of its header is {shown(text)}, vectors such as (1,0,0) are needed")
    return [
        None if match[1] is None else numbers(match[1].replace(",", " "), field, space)
        for match in _VECTOR.finditer(text)
    ]


def _channel_axis(kinds: Sequence[str], directions: Sequence[np.ndarray | None] | None, space: int) -> int | None:
    """The axis that is no axis of the world: its kind says so, or it has no direction where the others have."""
    wrong = next((kind for kind in kinds if kind not in _DOMAIN + _CHANNELS), None)
    if wrong is not None:
        raise ValueError(
            f"the kind {shown(wrong)} of an axis is not read; save one number, or channels, for each voxel"
        )
    found = [axis for axis, kind in enumerate(kinds) if kind in _CHANNELS]
    if directions is not None and not found and len(kinds) > space:
        found = [axis for axis, vector in enumerate(directions) if vector is None and kinds[axis] != "time"]
    if len(found) > 1:
        raise ValueError("it has several axes that are none of the world; one for the channels is read")
    return found[0] if found else None


def _affine(
    fields: Mapping[str, str],
    domain: Sequence[int],
    space: int,
    signs: np.ndarray,
    directions: Sequence[np.ndarray | None] | None,
) -> np.ndarray:
    spatial = min(len(domain), 3)
    columns = np.eye(max(spatial, 3))[:, :spatial]
    spacings = _per_axis(fields, "spacings")
    mins = _per_axis(fields, "axis mins")
    for column, axis in enumerate(domain[:spatial]):
        if directions is not None and (vector := directions[axis]) is not None:
            columns[:, column] = 0.0
            length = float(np.sqrt(np.sum(vector**2)))
            # As ITK, to the last digit: it keeps a size and a unit vector.
            unit = vector * (1.0 / length) if length > 0 else vector
            columns[: min(space, 3), column] = unit[:3] * length
        elif directions is not None:
            raise ValueError(f"axis {axis + 1} has no direction in space; give it one, or the kind of a channel")
        elif spacings is not None and np.isfinite(spacings[axis]):
            columns[:, column] *= spacings[axis]
    origin = np.zeros(3)
    if "space origin" in fields:
        (found,) = _vectors(fields["space origin"], "space origin", space) or [None]
        if found is None:
            raise ValueError("its space origin is no place")
        origin[: min(space, 3)] = found[:3]
    elif not space and mins is not None and spacings is not None and np.isfinite(mins[list(domain)]).all():
        centers = fields.get("centers", "").lower().split()
        for column, axis in enumerate(domain[:spatial]):
            half = 0.0 if axis < len(centers) and centers[axis] == "node" else 0.5
            origin[column] = mins[axis] + half * columns[column, column]
    affine = np.eye(spatial + 1)
    affine[:-1, :-1] = _in_plane(signs[:, None] * columns) if spatial == 2 else (signs[:, None] * columns)[:spatial]
    affine[:-1, -1] = (signs * origin)[:spatial]
    return affine


def _in_plane(columns: np.ndarray) -> np.ndarray:
    """Two columns (3, 2) as (2, 2); a picture that stands in the world keeps the size of its pixels alone."""
    if np.abs(columns[2]).max(initial=0.0) == 0:
        return columns[:2]
    return np.diag(np.linalg.norm(columns, axis=0) * [-1.0, -1.0])


def _per_axis(fields: Mapping[str, str], name: str) -> np.ndarray | None:
    if name not in fields:
        return None
    return numbers(fields[name], name, len(fields["sizes"].split()))
