"""The lines of a text header, read strictly: bounded, of one form, no field twice."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import numpy as np

from ..files.regular import open_regular
from .stored_voxels import MOST_HEADER_BYTES


class OtherFileError(ValueError):
    """The voxels are in another file than the header."""


def next_line(stream: BinaryIO, number: int) -> str | None:
    """The next line of a header without its end (LF or CR LF); None where the file ends.

    Args:
        stream: The file, open at the begin of the line.
        number: Its number, named in errors.

    Raises:
        ValueError: The header is too long, is no UTF-8, or has a carriage return inside a line or another control
            character: two readers would see different fields.
    """
    line = stream.readline(MOST_HEADER_BYTES + 1)
    if not line:
        return None
    if stream.tell() > MOST_HEADER_BYTES:
        raise ValueError(f"its header is longer than {MOST_HEADER_BYTES} bytes")
    line = line.removesuffix(b"\n").removesuffix(b"\r")
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"line {number} of its header is no text") from error
    if any((character < " " and character != "\t") or character == "\x7f" for character in text):
        raise ValueError(f"line {number} of its header has a control character; lines end with LF or CR LF")
    return text


def beside(header: Path, name: str) -> Path:
    """The file of voxels that a header names: a plain name, in the folder of the header, and no link out of it.

    Raises:
        ValueError: Any other name, or file.
    """
    plain = name.strip()
    if plain in ("", ".", "..") or any(character in plain for character in "/\\:%*?\0"):
        raise ValueError(f"its voxels are in the file {shown(name)}; only a plain name of a file beside it is followed")
    path = header.parent / plain
    if path.resolve().parent != header.parent.resolve():
        raise ValueError(f"its voxels are in the file {shown(name)}, a link that leaves its folder")
    try:
        open_regular(path).close()
    except FileNotFoundError as error:
        raise ValueError(f"its voxels are in the file {shown(name)}, which is not there") from error
    return path


def whole_numbers(text: str, field: str) -> tuple[int, ...]:
    """Numbers of a field, such as ``5 6 7``.

    Raises:
        ValueError: Something else.
    """
    words = text.split()
    if not all(word.isascii() and word.removeprefix("-").isdecimal() and len(word) < 20 for word in words):
        raise ValueError(f"{field} of its header is {shown(text)}, whole numbers are needed")
    return tuple(int(word) for word in words)


def numbers(text: str, field: str, count: int) -> np.ndarray:
    """Numbers (count,) of a field, NaN and infinity too.

    Raises:
        ValueError: Another number of them, or something else.
    """
    try:
        values = np.array([float(word) for word in text.split()], dtype=np.float64)
    except ValueError as error:
        raise ValueError(f"{field} of its header is {shown(text)}, numbers are needed") from error
    if len(values) != count:
        raise ValueError(f"{field} of its header has {len(values)} numbers, {count} are needed")
    return values


def shown(text: str) -> str:
    """A text of a header for a message."""
    return repr(text if len(text) <= 40 else text[:37] + "...")
