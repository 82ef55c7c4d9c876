"""Text files are written whole or not at all."""

from __future__ import annotations

import os

from .atomic import written_whole


def atomic_write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a text file (UTF-8) so that a reader, or a kill, never sees half of it.

    Args:
        path: Where to write; its folder must exist.
        text: The whole content.
    """
    content = text.encode("utf-8")
    with written_whole(path) as stream:
        stream.write(content)
