"""Which format a path is."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from pathlib import Path

from auto_config.bundle_scripts.images.numpy_files import is_sidecar
from auto_config.bundle_scripts.images.unread_images import first_unread
from auto_config.datasets.assembly.case_table import FILE_NAME as CASE_TABLE
from auto_config.datasets.foreign import first_foreign, foreign_landmarks
from auto_config.datasets.formats.shared.json_contents import content_of
from auto_config.datasets.images import IMAGE_SUFFIXES
from auto_config.datasets.model.properties import FILE_NAME as PROPERTIES_FILE
from auto_config.datasets.registry import FORMATS, READERS, Format
from auto_config.errors import UserError


def detect_format(source: Path) -> tuple[Format, Path]:
    """Say which format a path is.

    In a folder, layouts that have a name of their own come first (nnLandmark, BIDS), then files for each case, then one
    file for all of them, then label maps, then images alone.

    Args:
        source: A folder, a table or a JSON file.

    Returns:
        The format, and the path to read: `source`, or the one file in it that holds the data set.

    Raises:
        UserError: Nothing that can be read, or several possibilities.
    """
    if source.is_file():
        return _of_file(source), source
    if not source.is_dir():
        raise UserError(f"{source}: no such file or folder; check the path")
    for case_files, rows in groupby(READERS.values(), key=lambda row: row.case_files):
        look = _with_case_files if case_files else _whole
        if found := look(source, rows):
            return found
    if said := first_foreign(source):
        raise UserError(f"{source}: holds no landmarks that can be read ({said})")
    if unread := first_unread(source.rglob("*")):
        raise UserError(unread)
    raise UserError(
        f"{source}: holds neither landmarks (.mrk.json, .fcsv, .csv, datalist .json and others, see docs/formats.md) "
        f"nor images ({', '.join(IMAGE_SUFFIXES)}); check the path"
    )


def _with_case_files(source: Path, rows: Iterable[Format]) -> tuple[Format, Path] | None:
    """The one of these formats that has files for cases in a folder.

    Raises:
        UserError: Several have.
    """
    filled = [row for row in rows if row.fits(source)]
    if len(filled) > 1:
        names = [row.name for row in filled]
        raise UserError(
            f"{source}: holds {' and '.join(map(_shown, names))} files; choose with --format "
            f"{' or --format '.join(names)}"
        )
    return (filled[0], source) if filled else None


def _whole(source: Path, rows: Iterable[Format]) -> tuple[Format, Path] | None:
    """The first of these formats that a folder is of, or that one file in it is of.

    Raises:
        UserError: Several files are of it.
    """
    for row in rows:
        if not row.endings:
            if row.fits(source):
                return row, source
            continue
        found = _files(source, row)
        if len(found) > 1:
            listed = " and ".join(path.name for path in found)
            raise UserError(f"{source}: holds {listed}; give the path of the one to read")
        if found:
            return row, found[0]
    return None


def _of_file(source: Path) -> Format:
    fitting = [row for row in READERS.values() if source.name.lower().endswith(row.endings or ("\0",))]
    if found := next((row for row in fitting if row.fits(source)), None):
        return found
    if said := foreign_landmarks(source):
        raise UserError(f"{source}: {said}")
    one = next((row for row in READERS.values() if row.case_files and row.is_one(source)), None)
    if one is not None and not (one.name == "json" and content_of(source) is None):
        raise UserError(f"{source}: holds the landmarks of one image ({one.name}); give the folder of all of them")
    if not fitting:
        raise UserError(f"{source}: not a data set; give a folder, a .csv table or a datalist .json")
    # A file that fits none is read as what it most likely was meant to be, so that its error says what is wrong.
    return {".json": READERS["datalist"], ".xml": READERS["cvat"], ".tps": READERS["tps"]}.get(
        source.suffix.lower(), READERS["csv"]
    )


def chosen_format(source: Path, forced: str) -> tuple[Format, Path]:
    """The format that was asked for, and the path to read.

    Raises:
        UserError: There is no such format, or the path cannot be of it.
    """
    if forced not in READERS:
        raise UserError(f"--format is {forced!r}; allowed are {', '.join(FORMATS)}")
    row = READERS[forced]
    if not source.exists():
        raise UserError(f"{source}: no such file or folder; check the path")
    if not row.endings:
        if not source.is_dir():
            raise UserError(f"{source}: format {forced!r} needs a folder; give the folder, or another --format")
        return row, source
    if source.is_file():
        return row, source
    # A file alone is read as what it was meant to be, so that its own error says what is wrong.
    found = _files(source, row) or _files(source, row, fitting=False)
    if len(found) != 1:
        raise UserError(f"{source}: holds {len(found)} files of format {forced!r}; give the path of the one to read")
    return row, found[0]


def unfitting_files(source: Path) -> list[tuple[Format, Path]]:
    """Tables and JSON files in a folder itself, none of which is a data set, with the format they may be meant as."""
    if not source.is_dir():
        return []
    usual = [READERS[name] for name in ("csv", "datalist", "cvat", "tps")]
    return [(row, path) for row in usual for path in _files(source, row, fitting=False)]


def _files(source: Path, row: Format, *, fitting: bool = True) -> list[Path]:
    """Files in a folder itself that have an ending of a format; only those that are of it, if `fitting`.

    Where there is none, those in the format's `Format.inner_folder`.
    """
    own = (PROPERTIES_FILE, CASE_TABLE)
    found = [
        path
        for path in sorted(source.iterdir())
        if path.name.lower().endswith(row.endings)
        and path.name not in own
        and not path.name.startswith(".")
        and not is_sidecar(path)
        and path.is_file()
        and (not fitting or row.fits(path))
    ]
    inner = source / row.inner_folder
    return found if found or inner == source or not inner.is_dir() else _files(inner, row, fitting=fitting)


def _shown(name: str) -> str:
    """A format of files for each case by their ending."""
    return {
        "markups": ".mrk.json",
        "fcsv": ".fcsv",
        "json": ".json",
        "labelme": "labelme .json",
        "grand_challenge": "grand-challenge .json",
        "pts": ".pts",
    }.get(name, ".txt")
