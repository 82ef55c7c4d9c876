"""Images in formats that are not read, and what to do with them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

_VOLUME = "save it as .nii.gz or .nrrd, as 3D Slicer and ITK-SNAP do"
_PICTURE = "save it as .png or .tif"
_SLIDE = "export the region as .tif or .png, as QuPath and Fiji do"
_RAW = "it holds voxels alone; give the header beside it (.hdr, .nhdr, .mhd), or save it as .nii.gz"
_ARRAY = "it holds numbers and no spacing; save it with its spacing as .nii.gz, .nrrd or .npz"
_REMEDIES = {
    **dict.fromkeys((".gipl", ".gipl.gz", ".vtk", ".vti", ".mnc", ".head", ".brik", ".brik.gz"), _VOLUME),
    **dict.fromkeys((".isq", ".aim", ".vol", ".am", ".vff", ".lsm", ".ima.gz", ".dcm.gz", ".nii.zst"), _VOLUME),
    **dict.fromkeys((".webp", ".gif", ".jp2", ".j2k", ".jxl", ".heic", ".heif", ".avif", ".psd", ".pgm"), _PICTURE),
    **dict.fromkeys((".svs", ".czi", ".ndpi", ".mrxs", ".scn", ".lif", ".nd2", ".vsi"), _SLIDE),
    **dict.fromkeys((".raw", ".img"), _RAW),
    **dict.fromkeys((".h5", ".hdf5", ".mat"), _ARRAY),
}
UNREAD_SUFFIXES = tuple(sorted(_REMEDIES, key=len, reverse=True))
"""Endings of images that are not read, the longest first."""


def unread_suffix(path: Path) -> str | None:
    """The ending of an image in a format that is not read (``".gipl.gz"``), or None for any other file."""
    name = path.name.lower()
    return next((suffix for suffix in UNREAD_SUFFIXES if name.endswith(suffix) and len(name) > len(suffix)), None)


def unread_line(path: Path) -> str | None:
    """What is wrong with an image in a format that is not read, and the remedy; None for any other file."""
    suffix = unread_suffix(path)
    return None if suffix is None else f"{path}: images in {suffix} are not read; {_REMEDIES[suffix]}"


def first_unread(paths: Iterable[Path]) -> str | None:
    """`unread_line` of the first such file, in order of paths, with the number of the others."""
    found = sorted(path for path in paths if unread_suffix(path) and path.is_file() and not path.name.startswith("."))
    if not found:
        return None
    others = f" (as {len(found) - 1} other files)" if len(found) > 1 else ""
    return f"{unread_line(found[0])}{others}"
