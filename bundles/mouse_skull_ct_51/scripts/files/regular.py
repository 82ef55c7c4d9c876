"""Files of strangers are opened only where they are files: nothing that blocks or never ends."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO


class NotRegularError(ValueError):
    """A path that is no file with an end: a pipe, a device, a folder."""


def open_regular(path: Path) -> BinaryIO:
    """Open a file that is a file: a pipe, a terminal or another device would block, or never end.

    Raises:
        NotRegularError: It is something else.
        OSError: It cannot be opened.
    """
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise NotRegularError("it is no regular file but a pipe, a device or a folder")
    return os.fdopen(descriptor, "rb")


def check_regular(path: Path) -> None:
    """Raise as `open_regular` does, for a library that opens the file itself."""
    open_regular(path).close()
