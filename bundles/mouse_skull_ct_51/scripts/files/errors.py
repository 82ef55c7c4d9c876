"""What is said when a file of a training cannot be written, mostly because its disk is full."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, None)


class UnwritableError(OSError):
    """A file could not be written; its text is one line that names the file and what to do."""

    def __str__(self) -> str:
        # A worker of a data loader makes the error anew from a text alone.
        if self.filename is None:
            return str(self.args[0])
        remedy = "Make room on its disk" if self.errno in _FULL else "Put that right"
        return (
            f"{self.filename} cannot be written: {self.strerror}. {remedy}, then go on with --resume; earlier weights "
            "are whole."
        )


@contextlib.contextmanager
def naming_the_file(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turn an error of the operating system into one line that names the file.

    Args:
        path: What is being written.

    Raises:
        UnwritableError: The disk is full, for one. It keeps the number of the error.
    """
    try:
        yield
    except Exception as error:
        cause = _of_the_system(error)
        if cause is None:
            raise
        # numpy counts the bytes that it could not write, and does not say why.
        reason = cause.strerror or f"the disk is full or fails ({cause})"
        # Without the first error, which says less and would be taken for the reason.
        raise UnwritableError(cause.errno, reason, os.fspath(path)) from None


def _of_the_system(error: BaseException | None) -> OSError | None:
    """The error of the operating system that this one came from: torch puts one of its own on top."""
    while error is not None and not isinstance(error, OSError):
        error = error.__cause__ or error.__context__
    return error
