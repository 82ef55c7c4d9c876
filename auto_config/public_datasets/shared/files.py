"""Which files of a benchmark are really there: git-annex links, Git LFS pointers and partial downloads are not."""

from __future__ import annotations

import contextlib
import gzip
import os
import zlib
from collections.abc import Iterable
from pathlib import Path

from auto_config.bundle_scripts.images.reading import is_lfs_pointer
from auto_config.bundle_scripts.images.volumes import nifti_bytes
from auto_config.datasets.formats.shared.entries import natural_key

_ANNEX_POINTER = b"/annex/objects/"
_PARTIAL = (".part", ".partial", ".crdownload", ".download", ".aria2", ".filepart")
_POINTER_BYTES = 1024  # pointers are text of some hundred bytes
_GZIP_MAGIC = b"\x1f\x8b"
_TWO_TO_32 = 2**32
_BLOCK = 2**20


def absence(path: Path, download: str) -> str | None:
    """Say why a file cannot be used, though its name may be there.

    Args:
        path: The file.
        download: What to do where it is just not there.

    Returns:
        What is there instead and the command that gets the file; None where the file is there.
    """
    if path.is_symlink() and not path.exists():
        target = path.readlink().as_posix()
        if "annex/objects" in target:
            return "a git-annex link without content; get it with `datalad get PATH` or `git annex get PATH`"
        return f"a link to {target}, which is not there; {download}"
    if not path.is_file():
        partial = [path.with_name(path.name + ending) for ending in _PARTIAL]
        if any(one.exists() for one in partial):
            return "a download that was not finished; finish it"
        return f"not there; {download}"
    with path.open("rb") as stream:
        head = stream.read(_POINTER_BYTES)
    if is_lfs_pointer(path):
        return "a Git LFS pointer without content; get it with `git lfs pull`"
    # The path of the object, in an unlocked file or in a copy that was made without links.
    first_line = head.split(b"\n", 1)[0].replace(b"\\", b"/")
    if _ANNEX_POINTER in first_line and first_line.startswith((b"/annex/", b".git/", b"../", b"./")):
        return "a git-annex pointer without content; get it with `datalad get PATH` or `git annex get PATH`"
    if not head:
        return f"empty, a download that broke off; {download}"
    if _is_cut(path, head):
        return f"cut off, a download that broke off; {download}"
    return None


def _is_cut(path: Path, head: bytes) -> bool:
    """Whether a NIfTI file is shorter than its header says; other formats are found out when they are read."""
    name = path.name.lower()
    if not name.endswith((".nii", ".nii.gz")) or (name.endswith(".gz") and not head.startswith(_GZIP_MAGIC)):
        return False
    size: int | None = None
    # nibabel raises whatever it likes where the header is cut, or where the file is no NIfTI.
    with contextlib.suppress(Exception):
        size = nifti_bytes(path)
    if not name.endswith(".gz"):
        return size is not None and path.stat().st_size < size
    # A gzip file ends with the size of its content, so a whole file is known at once.
    with path.open("rb") as stream:
        stream.seek(-min(4, len(head)), os.SEEK_END)
        if size is not None and int.from_bytes(stream.read(), "little") == size % _TWO_TO_32:
            return False
    try:
        with gzip.open(path) as stream:
            while stream.read(_BLOCK):
                pass
    except EOFError:
        return True
    except (OSError, zlib.error):  # damaged, not cut: its reader says so
        return False
    return False


def subfolder(folder: Path, name: str, depth: int = 3) -> Path | None:
    """The folder of this name: `folder` itself, or the first one at most `depth` levels below it."""
    if folder.name == name and folder.is_dir():
        return folder
    for level in range(depth):
        found = natural(path for path in folder.glob("*/" * level + name) if path.is_dir())
        if found:
            return found[0]
    return None


def natural(paths: Iterable[Path]) -> list[Path]:
    """Paths in natural order, hidden ones left out."""
    return sorted(
        (path for path in paths if not path.name.startswith(".")), key=lambda path: natural_key(path.as_posix())
    )
