"""Points as the label of a scan: a file beside it, where `auto_config create` finds it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from .landmarks import Landmark, MarkupsError, check, write_markups

FOLDER = "landmarks"
IMAGES = ("images", "imagesTr")
_ENDINGS = (".nii.gz", ".seg.nrrd", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd", ".mgz", ".mgh", ".img", ".hdr")


def label_file(scan: Path) -> Path:
    """Where the label of a scan belongs: ``scans/landmarks/NAME.mrk.json`` for ``scans/NAME.nii.gz``.

    A scan in a folder `images` has its label in `landmarks` beside that folder, as docs/formats.md has it.

    Args:
        scan: the file of the volume.
    """
    root = scan.parent.parent if scan.parent.name in IMAGES else scan.parent
    return root / FOLDER / f"{case_name(scan)}.mrk.json"


def case_name(scan: Path) -> str:
    """The name of a file without the ending of its format."""
    lower = scan.name.lower()
    ending = next((end for end in _ENDINGS if lower.endswith(end)), scan.suffix)
    return scan.name[: len(scan.name) - len(ending)] if ending else scan.name


def save_label(file: Path, landmarks: Sequence[Landmark], names: Sequence[str], many: Sequence[str] = ()) -> None:
    """Write a label, whole or not at all; the folder is made.

    Args:
        file: of `label_file`.
        landmarks: LPS mm of the scan's own frame. Those that are undefined are left out: nobody has decided on them.
        names: of the bundle.
        many: those that an image may have any number of.

    Raises:
        MarkupsError: they are no landmarks of the bundle, or none is placed.
        OSError: the file cannot be written.
    """
    check(landmarks, names, many)
    decided = [Landmark(point.name, point.status, point.position) for point in landmarks if point.status != "undefined"]
    if not decided:
        raise MarkupsError("no landmark is placed; place some, or say that they are missing")
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        temporary.write_text(write_markups(decided, file.name[: -len(".mrk.json")]), encoding="utf-8")
        temporary.replace(file)
    finally:
        if temporary.exists():
            temporary.unlink()
