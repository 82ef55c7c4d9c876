"""Files are written whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def written_whole(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A file to write to, which takes the place of `path` at the end: a reader, or a kill, never sees half of it.

    It lies beside the target under a name of its own that ends in ``.tmp``, so that two processes can write one file;
    a kill may leave it there, an error does not.

    Args:
        path: Where to write; its folder must exist.

    Raises:
        OSError: The disk is full, for one; what was there before is untouched.
    """
    path = Path(path)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        # mkstemp makes files for the owner only; a written result is readable as any other new file is.
        temporary.chmod(0o644)
        temporary.replace(path)
    except BaseException:
        # Half a file would hold the last space of a full disk.
        temporary.unlink(missing_ok=True)
        raise
