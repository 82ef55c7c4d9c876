"""The formats of data sets: one row for each, with what reads, finds and writes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from auto_config.datasets.formats.annotation_tools.coco import is_coco, read_coco, write_coco
from auto_config.datasets.formats.annotation_tools.cvat import is_cvat, read_cvat
from auto_config.datasets.formats.annotation_tools.grand_challenge import GRAND_CHALLENGE
from auto_config.datasets.formats.annotation_tools.label_studio import is_label_studio, read_label_studio
from auto_config.datasets.formats.annotation_tools.labelme import LABELME, write_labelme
from auto_config.datasets.formats.annotation_tools.tps import is_tps, read_tps
from auto_config.datasets.formats.datalist import is_datalist, read_datalist, write_datalist
from auto_config.datasets.formats.folders.afids_bids import is_afids_bids, read_afids_bids
from auto_config.datasets.formats.folders.label_map_folder import (
    has_label_maps,
    read_label_map_folder,
    write_label_map_folder,
)
from auto_config.datasets.formats.folders.markups_folder import (
    FCSV,
    INLINE,
    MARKUPS,
    write_fcsv_folder,
    write_inline_folder,
    write_markups_folder,
)
from auto_config.datasets.formats.folders.nnlandmark import is_nnlandmark, read_nnlandmark, write_nnlandmark
from auto_config.datasets.formats.folders.verse import is_verse, read_verse
from auto_config.datasets.formats.shared.case_files import (
    CaseFiles,
    find_images,
    has_case_files,
    read_case_files,
    read_images_only,
)
from auto_config.datasets.formats.shared.entries import Reading
from auto_config.datasets.formats.shared.named_pictures import ANNOTATIONS
from auto_config.datasets.formats.shared.options import ReadOptions
from auto_config.datasets.formats.shared.tables import System
from auto_config.datasets.formats.shared.target import ImageMode, Target
from auto_config.datasets.formats.tables.cohort_csv import is_cohort_csv, read_cohort_csv
from auto_config.datasets.formats.tables.cohort_csv_writer import write_cohort_csv, write_wide_csv
from auto_config.datasets.formats.tables.pixel_texts import ISBI_TEXT, PTS, is_payer_csv, read_payer_csv

_TABLES = (".csv", ".tsv")


@dataclass(frozen=True)
class Format:
    """A format that data sets are read in.

    Args:
        name: Its name on the command line.
        read: Reads a folder, or a file where `endings` are given.
        fits: Whether a folder, or a file with one of the endings, is of this format.
        endings: Endings of the one file that holds the data set; empty for a folder.
        case_files: Whether it has a file for each case, so that several such formats may lie in one folder.
        written: What the numbers of its points are, where the reading does not say it; empty where it has none.
        idle: Options of reading without effect on it, with the reason.
        is_one: Whether a file holds the landmarks of one image, of formats with a file for each case.
        inner_folder: Folder in which the one file may also lie, beside the pictures or their folder; "" for none.
    """

    name: str
    read: Callable[[Path, ReadOptions], Reading]
    fits: Callable[[Path], bool]
    endings: tuple[str, ...] = ()
    case_files: bool = False
    written: tuple[System, ...] = ("ras", "lps")
    idle: Mapping[str, str] = field(default_factory=dict)
    inner_folder: str = ""
    is_one: Callable[[Path], bool] = lambda _: False


@dataclass(frozen=True)
class Writer:
    """A format that data sets are written in.

    Args:
        write: Writes a data set; what it cannot hold it says in `Target.losses`.
        images: What happens to the images where nobody says it.
        dims: Numbers of coordinates that it can hold.
        raters: Whether it holds the landmarks of single raters.
        channels: Whether it holds images of several files.
        placement: Whether it holds split, fold and group itself; ``cases.csv`` does where not.
        properties: Whether it holds what is declared about landmarks; ``landmarks.json`` does where not.
        refers: Whether it can name images by any path.
    """

    write: Callable[[Target], None]
    images: ImageMode = "link"
    dims: tuple[int, ...] = (2, 3)
    raters: bool = False
    channels: bool = False
    placement: bool = False
    properties: bool = False
    refers: bool = False


def _of_case_files(
    name: str, kind: CaseFiles, written: tuple[System, ...] = ("ras", "lps"), idle: Mapping[str, str] | None = None
) -> Format:
    read, fits, is_one = partial(_read_case_files, kind), partial(_has_case_files, kind), partial(_is_one, kind)
    return Format(name, read, fits, case_files=True, written=written, idle=idle or {}, is_one=is_one)


def _is_one(kind: CaseFiles, path: Path) -> bool:
    return path.name.lower().endswith(kind.endings) and kind.is_one(path)


def _read_case_files(kind: CaseFiles, source: Path, options: ReadOptions) -> Reading:
    return read_case_files(source, kind, options)


def _has_case_files(kind: CaseFiles, source: Path) -> bool:
    return has_case_files(source, kind)


def _read_images(source: Path, options: ReadOptions) -> Reading:
    return read_images_only(source, options)


def _has_images(source: Path) -> bool:
    return bool(find_images(source)[1])


_VOXELS = {"coordinates": "its points are voxels or pixels of the image"}
_WORLD = {"coordinates": "its points are world mm"}
_OWN_MARKS = {"missing_value": "its numbers are not those of pixels or voxels of the image as it is stored"}
_OF_POINTS = ("coordinates", "missing", "missing_value")


def _listed(
    name: str,
    read: Callable[[Path, ReadOptions], Reading],
    fits: Callable[[Path], bool],
    ending: str,
    *,
    comparable: bool = True,
) -> Format:
    """A format of one file that names pictures and their points; `comparable` if its numbers are indices of pixels."""
    return Format(
        name,
        read,
        fits,
        (ending,),
        written=("voxel",) if comparable else (),
        idle=_VOXELS if comparable else _VOXELS | _OWN_MARKS,
        inner_folder=ANNOTATIONS,
    )


# In the order in which they are looked for: the more a layout says about itself, the earlier.
_ROWS = (
    Format("nnlandmark", read_nnlandmark, is_nnlandmark, written=("voxel",), idle=_VOXELS),
    Format("bids_afids", read_afids_bids, is_afids_bids),
    Format("verse", read_verse, is_verse, written=(), idle=_VOXELS | _OWN_MARKS),
    _of_case_files("markups", MARKUPS, idle={"coordinates": "each file says its own, and means LPS where it does not"}),
    _of_case_files("fcsv", FCSV),
    _of_case_files("json", INLINE, idle=_WORLD),
    _of_case_files("labelme", LABELME, ("voxel",), _VOXELS),
    _of_case_files("grand_challenge", GRAND_CHALLENGE, ("lps",), _WORLD),
    _of_case_files("isbi_txt", ISBI_TEXT, ("voxel",), _VOXELS),
    _of_case_files("pts", PTS, (), _VOXELS | _OWN_MARKS),
    _listed("coco", read_coco, is_coco, ".json"),
    _listed("label_studio", read_label_studio, is_label_studio, ".json", comparable=False),
    _listed("cvat", read_cvat, is_cvat, ".xml"),
    _listed("tps", read_tps, is_tps, ".tps", comparable=False),
    Format("datalist", read_datalist, is_datalist, (".json",), idle=_WORLD),
    Format("csv", read_cohort_csv, is_cohort_csv, _TABLES),
    Format("payer_csv", read_payer_csv, is_payer_csv, _TABLES),
    Format(
        "labelmap",
        read_label_map_folder,
        has_label_maps,
        written=(),
        idle=_VOXELS | {"missing_value": "its points are voxels with a value"},
    ),
    Format("images", _read_images, _has_images, written=(), idle=dict.fromkeys(_OF_POINTS, "there are no points")),
)
READERS: dict[str, Format] = {row.name: row for row in _ROWS}
"""Formats that are read, by name, in the order in which they are looked for."""

FORMATS = tuple(sorted(READERS, key=lambda name: (name == "images", name)))
"""Names of the formats that are read."""

WRITERS: dict[str, Writer] = {
    "markups": Writer(write_markups_folder, raters=True),
    "fcsv": Writer(write_fcsv_folder, raters=True),
    "json": Writer(write_inline_folder, raters=True),
    "csv": Writer(write_cohort_csv, "refer", channels=True, placement=True, refers=True),
    "csv_wide": Writer(write_wide_csv, "refer", channels=True, placement=True, refers=True),
    "datalist": Writer(
        write_datalist, "refer", raters=True, channels=True, placement=True, properties=True, refers=True
    ),
    "nnlandmark": Writer(write_nnlandmark, channels=True),
    "labelmap": Writer(write_label_map_folder),
    "labelme": Writer(write_labelme, dims=(2,)),
    "coco": Writer(write_coco, "refer", dims=(2,), channels=True, placement=True, refers=True),
}
"""Formats that are written, by name."""
