"""The text of a file of points or names, whichever program wrote it."""

from __future__ import annotations

from pathlib import Path

from ..files.regular import NotRegularError, open_regular
from .landmarks import LandmarkFileError


def read_text(path: Path) -> str:
    r"""Read a UTF-8 text file, with or without byte order mark; its lines end at ``\n`` only.

    LF and CRLF end a line. Any other CR is dropped, because Slicer writes one that stood in a name into the middle of
    a line; only in a file without any LF does CR end the lines (old Macintosh tables). Split the text with
    ``split("\n")``: `str.splitlines` also splits at form feeds and at U+0085, U+2028 and others inside a name.

    Raises:
        LandmarkFileError: The file cannot be read or is not UTF-8.
    """
    try:
        with open_regular(path) as stream:
            text = stream.read().decode("utf-8-sig")
    except NotRegularError as error:
        raise LandmarkFileError(f"{path}: cannot be read ({error}); give a file") from error
    except OSError as error:
        reason = error.strerror or str(error)
        raise LandmarkFileError(f"{path}: cannot be read ({reason}); check the path and its permissions") from error
    except UnicodeDecodeError as error:
        raise LandmarkFileError(f"{path}: {_not_text(path)}") from error
    return text.replace("\r", "") if "\n" in text else text.replace("\r", "\n")


def _not_text(path: Path) -> str:
    """What a file that is no UTF-8 most likely is, and the remedy."""
    with path.open("rb") as stream:
        start = stream.read(4)
    if start.startswith(b"PK"):
        return "is an Excel workbook or a ZIP file and no text; save the sheet as 'CSV UTF-8'"
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "is UTF-16 text; save it again as UTF-8, which Excel calls 'CSV UTF-8'"
    return "is not UTF-8 text; save it again as UTF-8"
