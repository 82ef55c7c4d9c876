"""Read and write Slicer's older fiducial files (``.fcsv``)."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Collection
from pathlib import Path

import numpy as np

from ..files.text import atomic_write_text
from .control_points import TO_RAS, ControlPoint, PointList, coordinate_system, ijk_to_ras, to_lps, to_world
from .landmark_names import quoted
from .landmark_text import read_text
from .landmarks import ABSENT, PRESENT, UNKNOWN, LandmarkFileError, LandmarkSet

# Slicer's enumeration, as the last columns of newer .fcsv files hold it.
_FCSV_STATUS = {"0": UNKNOWN, "1": UNKNOWN, "2": PRESENT, "3": ABSENT}
_FCSV_COLUMNS = ("id", "x", "y", "z", "ow", "ox", "oy", "oz", "vis", "sel", "lock", "label", "desc", "associatedNodeID")


def read_fcsv(
    path: str | os.PathLike[str],
    *,
    spatial_dims: int = 3,
    image_affine: np.ndarray | None = None,
    many: Collection[str] = (),
    system: str | None = None,
) -> LandmarkSet:
    """Read a Slicer ``.fcsv`` file.

    The header declares the coordinate system, ``# CoordinateSystem = RAS`` (or ``0``), ``LPS`` (``1``) or ``IJK``
    (``2``), unless `system` says it: Slicer 3, BRAINSTools and plastimatch write none and mean RAS. Columns come from
    the header line ``# columns = ...``, or one that names them alone, as BRAINSTools' ``#label,x,y,z,sel,vis``.

    Args:
        path: The file.
        spatial_dims: Number D of coordinates.
        image_affine: (D+1, D+1) voxel to world mm, needed for IJK.
        many: Names that may occur more than once, each time as another instance.
        system: ``RAS``, ``LPS`` or ``IJK``: what the points are where the file does not say it.

    Returns:
        The landmarks in world millimetres, in the order of the file.

    Raises:
        LandmarkFileError: The file cannot be read, nobody says its coordinate system or `system` contradicts it, it is
            in IJK without `image_affine`, or has a wrong line.
    """
    points = fcsv_points(path, image_affine=image_affine, system=system)
    return PointList(points, Path(path), spatial_dims, many).landmark_set()


def fcsv_points(
    path: str | os.PathLike[str], *, image_affine: np.ndarray | None = None, system: str | None = None
) -> list[ControlPoint]:
    """The control points of a Slicer ``.fcsv`` file with all their name fields, in RAS mm; see `read_fcsv`."""
    path = Path(path)
    header: dict[str, str] = {}
    lines: list[str] = []
    for line in read_text(path).split("\n"):
        if line.startswith("#") or (not lines and _names_columns(line)):
            text = line.lstrip("# ")
            key, _, value = ("columns", "=", text) if _names_columns(text) else text.partition("=")
            header[key.strip().lower()] = value.strip()
        elif line.strip():
            lines.append(line)
    said = header.get("coordinatesystem")
    if said is None and system is None:
        raise LandmarkFileError(
            f"{path}: has no line '# CoordinateSystem = ...'; say with --coordinates ras, lps or voxel what the points "
            "are (Slicer 3, BRAINSTools and plastimatch write RAS), or add '# CoordinateSystem = RAS' or '... = LPS'"
        )
    declared = coordinate_system(system if said is None else said, path)
    if system is not None and declared != system:
        raise LandmarkFileError(
            f"{path}: its line '# CoordinateSystem' says {declared}, --coordinates says {system}; leave the "
            "option out, or correct the line"
        )
    columns = [name.strip() for name in header.get("columns", ",".join(_FCSV_COLUMNS)).split(",")]
    absent_columns = [name for name in ("x", "y", "z", "label") if name not in columns]
    if absent_columns:
        raise LandmarkFileError(
            f"{path}: the line '# columns' has no {quoted(absent_columns)}; save the list again in Slicer"
        )
    if declared == "IJK" and image_affine is None:
        raise LandmarkFileError(
            f"{path}: the points are in IJK (voxels), which needs the image; save the list in Slicer as RAS or LPS, "
            "or read it as part of a data set with its image"
        )
    to_ras = ijk_to_ras(image_affine) if declared == "IJK" and image_affine is not None else TO_RAS[declared]
    return [_fcsv_row(fields, columns, to_ras, path) for fields in csv.reader(lines)]


def _names_columns(line: str) -> bool:
    """Whether a line names the columns of a point, as Slicer 3 and BRAINSTools write them without ``columns =``."""
    return {"label", "x", "y", "z"} <= {name.strip() for name in line.lstrip("# ").split(",")}


def write_fcsv(path: str | os.PathLike[str], landmark_set: LandmarkSet) -> None:
    """Write a Slicer ``.fcsv`` file (LPS mm), atomically.

    Landmarks that are not present are written at 0, 0, 0 with Slicer's position status (3 missing, 0 undefined) in the
    column after ``associatedNodeID``, as Slicer 5 writes it.

    Args:
        path: Where to write.
        landmark_set: Points in world millimetres.
    """
    numbers = {PRESENT: "2", ABSENT: "3", UNKNOWN: "0"}
    stream = io.StringIO()
    stream.write("# Markups fiducial file version = 5.0\n# CoordinateSystem = LPS\n")
    stream.write(f"# columns = {','.join(_FCSV_COLUMNS)}\n")
    writer = csv.writer(stream, lineterminator="\n")
    for number, (index, point, status) in enumerate(landmark_set.rows(), start=1):
        xyz = [repr(float(value)) for value in (to_lps(point) if status == PRESENT else np.zeros(3))]
        name = landmark_set.names[index]
        writer.writerow([number, *xyz, 0, 0, 0, 1, 1, 1, 0, name, "", "", numbers[status], 0])
    atomic_write_text(path, stream.getvalue())


def _fcsv_row(fields: list[str], columns: list[str], to_ras: np.ndarray, path: Path) -> ControlPoint:
    named = dict(zip(columns, fields, strict=False))
    label = named.get("label", "").strip()
    if not {"x", "y", "z"} <= set(named):
        raise LandmarkFileError(f"{path}: line {','.join(fields)!r} has {len(fields)} of {len(columns)} columns")
    # Slicer 5 writes position status and a flag behind the columns that its header names.
    behind = fields[len(columns) :] if columns[-1] == _FCSV_COLUMNS[-1] else []
    if any(fields[len(columns) + len(behind[:2]) :]):
        raise LandmarkFileError(
            f"{path}: landmark {label!r} has {len(fields)} cells for {len(columns)} columns; put quotes around names "
            "with commas, and write numbers with a point"
        )
    word = named.get("positionStatus") or (behind[0].strip() if behind else "2")
    if word not in _FCSV_STATUS:
        raise LandmarkFileError(
            f"{path}: landmark {label!r} has position status {word!r}; allowed are 0 (undefined), 1 (preview), "
            "2 (defined) and 3 (missing)"
        )
    status = _FCSV_STATUS[word]
    position = [named["x"].strip(), named["y"].strip(), named["z"].strip()]
    point = to_world(position, to_ras, label, path) if status == PRESENT else None
    return ControlPoint(label, named.get("desc", "").strip(), point, status)
