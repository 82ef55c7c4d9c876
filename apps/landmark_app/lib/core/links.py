"""Symbolic links: those that lead out of a folder are not followed unless the operator asks for it.

A hard link cannot be told from the file itself: who may make one in the folder decides what is served.
"""

from __future__ import annotations

from pathlib import Path


def leaves(path: Path, folder: Path) -> bool:
    """Whether a path, with all links in it followed, is outside of a folder; so is one whose links go in a circle."""
    try:
        return not path.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError):
        return True
