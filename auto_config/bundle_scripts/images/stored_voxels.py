"""Voxels as a file stores them, read within bounds: what a header promises is weighed before anything is allocated.

No library that follows the names or numbers of a stranger's header opens a file here. The parsers of headers
(`nrrd_header`, `metaimage_header`, `volumes`) say where the voxels lie; this module alone reads them.
"""

from __future__ import annotations

import bz2
import os
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ..files.regular import open_regular

MOST_VOXELS = 2**31
"""Numbers of an image that are read at most, of all its channels together."""

MOST_HEADER_BYTES = 2**16
"""Bytes of a text header that are looked at."""

RAW, GZIP, BZIP2, TEXT, HEX, ZIP = "raw", "gzip", "bzip2", "text", "hex", "zip"

_MOST_DEFLATED = 1032
"""Bytes that one byte of a deflate stream can become at most."""
_AXES = 16
_WIDE = {"i": np.int64, "u": np.uint64, "f": np.float64}
_CHUNK = 2**20


@dataclass(frozen=True)
class StoredVoxels:
    """Where voxels lie in a file, and as what.

    Args:
        path: The file that holds them.
        start: Its byte at which they begin; None where they are the last bytes of the file.
        encoding: `RAW`, `GZIP` (also zlib), `BZIP2`, `TEXT`, `HEX` or `ZIP`.
        dtype: Number type with its byte order.
        sizes: Size of each axis, the first varies fastest.
        skipped: Bytes before the voxels in the decompressed content.
        member: Name of the file in a ZIP archive that holds them.
    """

    path: Path
    start: int | None
    encoding: str
    dtype: np.dtype[Any]
    sizes: tuple[int, ...]
    skipped: int = 0
    member: str = ""

    @property
    def count(self) -> int:
        """Numbers that the header promises."""
        product = 1
        for size in self.sizes:
            product *= size
        return product


def check_sizes(sizes: tuple[int, ...], most: int = MOST_VOXELS) -> None:
    """Refuse axes of no size, and more numbers than are read.

    Raises:
        ValueError: With the sizes.
    """
    if not 1 <= len(sizes) <= _AXES:
        raise ValueError(f"it has {len(sizes)} axes, an image has 2 or 3")
    shown = " x ".join(map(str, sizes))
    if any(size < 1 for size in sizes):
        raise ValueError(f"its header has the size {shown}, each axis needs at least 1 voxel")
    count = 1
    for size in sizes:
        count *= size
    if count > most:
        raise ValueError(f"its header promises {shown} voxels, {most} are read at most; crop or resample it")


def check_promise(stored: StoredVoxels, most: int = MOST_VOXELS) -> None:
    """Refuse a header that promises more voxels than its file can hold; nothing of their size is allocated.

    Raises:
        ValueError: With what is promised and what is there.
    """
    with open_regular(stored.path) as stream:
        _checked(stored, stream, most)


def read_voxels(stored: StoredVoxels, most: int = MOST_VOXELS) -> np.ndarray:
    """The voxels, in the axes of the file and the machine's byte order.

    Args:
        stored: Where they are.
        most: Numbers that are read at most.

    Returns:
        Array of `stored.sizes`, first axis fastest in memory.

    Raises:
        ValueError: The file holds fewer than its header promises, its compressed part is damaged, or there are more
            than `most`.
    """
    with open_regular(stored.path) as stream:
        size = _checked(stored, stream, most)
        if stored.encoding == TEXT:
            flat = _numbers(stored, stream.read())
        elif stored.encoding == HEX:
            flat = np.empty(stored.count, dtype=stored.dtype)
            _fill(flat, iter([bytes.fromhex(stream.read().decode("ascii"))]))
        elif stored.encoding == RAW:
            if stored.start is None:
                stream.seek(size - stored.count * stored.dtype.itemsize)
            flat = np.empty(stored.count, dtype=stored.dtype)
            _fill(flat, _blocks(stream))
        else:
            flat = np.empty(stored.count, dtype=stored.dtype)
            _fill(flat, _without_start(_content(stored, stream), stored.skipped))
    native = flat.astype(stored.dtype.newbyteorder("="), copy=False)
    return native.reshape(stored.sizes, order="F")


def check_content(stored: StoredVoxels, most: int = MOST_VOXELS) -> None:
    """Read as `read_voxels` and keep nothing: of a file of any size, one block at a time is held.

    Raises:
        ValueError: As `read_voxels`.
    """
    if stored.encoding in (TEXT, HEX):
        read_voxels(stored, most)
        return
    with open_regular(stored.path) as stream:
        _checked(stored, stream, most)
        if stored.encoding == RAW:
            return  # its length says all
        missing = stored.count * stored.dtype.itemsize + stored.skipped
        for block in _content(stored, stream):
            missing -= len(block)
            if missing <= 0:
                return
    raise ValueError(_cut(stored.count * stored.dtype.itemsize, missing))


def inflated_start(path: Path, count: int) -> bytes:
    """The first bytes of a gzip file, at most `count`."""
    with open_regular(path) as stream:
        content = b""
        for block in _inflated(stream, GZIP, block_size=count):
            content += block
            if len(content) >= count:
                break
    return content[:count]


def _checked(stored: StoredVoxels, stream: BinaryIO, most: int) -> int:
    """Size of the file, with the stream at the first voxel; raises as `check_promise`."""
    check_sizes(stored.sizes, most)
    size = stream.seek(0, os.SEEK_END)
    start = 0 if stored.start is None else stored.start
    held = size - start
    needed = stored.count * stored.dtype.itemsize
    deflated = held * _MOST_DEFLATED
    numbers = (held + 1) // 2 * stored.dtype.itemsize
    most_held = {RAW: held, GZIP: deflated, ZIP: deflated, HEX: held // 2, TEXT: numbers}
    if held < 0 or most_held.get(stored.encoding, needed) < needed:
        shown = " x ".join(map(str, stored.sizes))
        raise ValueError(
            f"its header promises {shown} voxels, {needed} bytes, but the file has {max(held, 0)} bytes for them; it "
            "was cut off, or its header is wrong"
        )
    stream.seek(start)
    return size


class _ShortReads:
    """A file that gives no more than a block at once: the directory of an archive is read whole, whatever its length.

    Args:
        stream: The file.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.seek, self.tell, self.seekable = stream.seek, stream.tell, stream.seekable

    def read(self, count: int = -1) -> bytes:
        """Read some bytes, or the rest.

        Raises:
            ValueError: There are, or should be, more than a block.
        """
        found = self._stream.read(_CHUNK + 1 if count < 0 else min(count, _CHUNK + 1))
        if len(found) > _CHUNK:
            raise ValueError("the list of what is in it is longer than an archive of some arrays has")
        return found


@contextmanager
def opened_zip(stream: BinaryIO) -> Iterator[zipfile.ZipFile]:
    """A ZIP archive whose parts are stored or deflated, which bounds what they can become.

    Raises:
        ValueError: It is none, or compressed in another way.
    """
    try:
        with zipfile.ZipFile(_ShortReads(stream)) as archive:  # type: ignore[arg-type]
            if any(info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for info in archive.infolist()):
                raise ValueError("it is compressed in another way than np.savez_compressed does")
            yield archive
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, KeyError, OSError) as error:
        raise ValueError(f"it is no archive of arrays, or damaged ({' '.join(str(error).split())[:120]})") from error


def _content(stored: StoredVoxels, stream: BinaryIO) -> Iterator[bytes]:
    """Decompressed blocks of a compressed file, or of a file in an archive."""
    if stored.encoding != ZIP:
        yield from _inflated(stream, stored.encoding)
        return
    with opened_zip(stream) as archive, archive.open(stored.member) as member:
        while block := member.read(_CHUNK):
            yield block


def _blocks(stream: BinaryIO) -> Iterator[bytes]:
    while block := stream.read(_CHUNK):
        yield block


def _without_start(blocks: Iterator[bytes], skipped: int) -> Iterator[bytes]:
    for block in blocks:
        passed = min(skipped, len(block))
        skipped -= passed
        yield block[passed:]


def _fill(flat: np.ndarray, blocks: Iterator[bytes]) -> None:
    """Copy the blocks into an array; what is beyond its end is left."""
    target = flat.view(np.uint8)
    done = 0
    for block in blocks:
        part = min(len(block), len(target) - done)
        target[done : done + part] = np.frombuffer(block, np.uint8, part)
        done += part
        if done == len(target):
            return
    raise ValueError(_cut(len(target), len(target) - done))


def _cut(needed: int, missing: int) -> str:
    return f"it ends {missing} bytes early, of {needed} that its header promises"


def _inflated(stream: BinaryIO, encoding: str, block_size: int = _CHUNK) -> Iterator[bytes]:
    """Decompressed blocks of at most `block_size`, whatever the file asks for; several parts follow each other."""
    rest = b""
    while True:
        # 32 + 15: the begin says whether it is gzip or zlib.
        one: Any = zlib.decompressobj(47) if encoding == GZIP else bz2.BZ2Decompressor()
        while not one.eof:
            if not rest:
                rest = stream.read(_CHUNK)
                if not rest:
                    return
            try:
                block = one.decompress(rest, block_size)
            except (zlib.error, OSError) as error:
                raise ValueError(f"its compressed part is damaged ({error})") from error
            rest = one.unconsumed_tail if encoding == GZIP else b""
            yield block
            while encoding == BZIP2 and not one.needs_input and not one.eof:
                yield one.decompress(b"", block_size)
        rest = (one.unused_data or stream.read(_CHUNK)).lstrip(b"\0")  # archives are padded with zeros
        if not rest:
            return


def _words(text: bytes) -> int:
    """How many words text has."""
    blank = np.isin(np.frombuffer(text, np.uint8), np.frombuffer(b" \t\n\r\v\f", np.uint8))
    return int(np.count_nonzero(~blank[1:] & blank[:-1])) + int(len(blank) > 0 and not blank[0])


def _numbers(stored: StoredVoxels, text: bytes) -> np.ndarray:
    """Numbers that are written as text."""
    try:
        with warnings.catch_warnings():
            # numpy stops at what is no number, and warns. Filters belong to all threads, so this one makes no errors.
            warnings.filterwarnings("ignore", "string or file could not be read", DeprecationWarning)
            values = np.fromstring(text.decode("ascii"), dtype=_WIDE[stored.dtype.kind], count=-1, sep=" ")
        if len(values) != (words := _words(text)):
            raise ValueError(f"{len(values)} of {words} words can be read")
        limits = np.iinfo(stored.dtype) if stored.dtype.kind in "iu" else None
        if limits is not None and len(values) and (values.min() < limits.min or values.max() > limits.max):
            raise ValueError(f"one is beyond {limits.min} to {limits.max}")
    except (ValueError, OverflowError) as error:
        raise ValueError(f"its voxels are no numbers of type {stored.dtype} ({error})") from error
    if len(values) < stored.count:
        raise ValueError(f"it has {len(values)} of the {stored.count} numbers that its header promises")
    return values[: stored.count].astype(stored.dtype)
