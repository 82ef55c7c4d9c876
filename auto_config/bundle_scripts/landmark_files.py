"""Read and write landmark files: Slicer Markups (.mrk.json), Slicer fiducials (.fcsv) and inline JSON.

Points in files keep the coordinate system that the file declares; in memory they are always world millimetres: RAS in
3D, x right and y down in 2D. Slicer shows a 2D picture with x and y along its LPS axes, so the first two LPS
coordinates of a file are the world coordinates of a 2D point.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import tempfile
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .control_points import TO_RAS, ControlPoint, PointList, coordinate_system, ijk_to_ras, to_world
from .landmark_names import quoted
from .landmarks import ABSENT, PRESENT, UNKNOWN, LandmarkFileError, LandmarkSet, duplicate_names
from .markup_nodes import node_points
from .stored_voxels import NotRegularError, open_regular

MARKUPS_SCHEMA = (
    "https://raw.githubusercontent.com/slicer/slicer/master/Modules/Loadable/Markups/Resources/Schema/"
    "markups-schema-v1.0.3.json#"
)
LANDMARK_SUFFIXES = (".mrk.json", ".fcsv", ".json")
"""Endings of the files that `read_landmark_file` reads."""

# Slicer's enumeration, as the last columns of newer .fcsv files hold it.
_FCSV_STATUS = {"0": UNKNOWN, "1": UNKNOWN, "2": PRESENT, "3": ABSENT}
_FCSV_COLUMNS = ("id", "x", "y", "z", "ow", "ox", "oy", "oz", "vis", "sel", "lock", "label", "desc", "associatedNodeID")


def read_label(
    label: Mapping[str, Any] | str | os.PathLike[str],
    names: Sequence[str] | None = None,
    *,
    spatial_dims: int = 3,
    many: Collection[str] = (),
) -> LandmarkSet:
    """Read the label of a datalist item.

    Args:
        label: Inline mapping (see `LandmarkSet.from_inline`) or path of a landmark file.
        names: The wanted names in their order; a name that the label does not have is unknown. All, if None.
        spatial_dims: Number D of coordinates.
        many: Names that may occur more than once, each time as another instance.

    Returns:
        The landmarks in world millimetres.

    Raises:
        LandmarkFileError: A wrong file or mapping, or one that has landmarks but none of `names`.
    """
    where = "inline landmarks" if isinstance(label, Mapping) else str(os.fspath(label))
    if isinstance(label, Mapping):
        landmark_set = LandmarkSet.from_inline(label, spatial_dims=spatial_dims, where=where, many=many)
    else:
        landmark_set = read_landmark_file(Path(label), spatial_dims=spatial_dims, many=many)
    if names is None:
        return landmark_set
    if len(landmark_set) and not set(names) & set(landmark_set.names):
        raise LandmarkFileError(
            f"{where}: has landmarks {quoted(landmark_set.names)} but none of {quoted(names)}; "
            "rename the landmarks or use the label of the right data set"
        )
    return landmark_set.ordered(names)


def read_landmark_file(
    path: str | os.PathLike[str],
    *,
    spatial_dims: int = 3,
    image_affine: np.ndarray | None = None,
    many: Collection[str] = (),
    system: str | None = None,
) -> LandmarkSet:
    """Read a landmark file of any supported format, chosen by its ending.

    Args:
        path: ``.mrk.json`` (Slicer Markups), ``.fcsv`` (Slicer fiducials) or ``.json`` (Markups or inline mapping).
        spatial_dims: Number D of coordinates.
        image_affine: (D+1, D+1) voxel to world mm of the image; only an ``.fcsv`` in IJK needs it.
        many: Names that may occur more than once, each time as another instance.
        system: ``RAS``, ``LPS`` or ``IJK``: what the points of an ``.fcsv`` are that does not say it.

    Raises:
        LandmarkFileError: The file cannot be read, is of another format, or is wrong.
    """
    read = read_points(path, spatial_dims=spatial_dims, image_affine=image_affine, many=many, system=system)
    return read.landmark_set() if isinstance(read, PointList) else read


def read_points(
    path: str | os.PathLike[str],
    *,
    spatial_dims: int = 3,
    image_affine: np.ndarray | None = None,
    many: Collection[str] = (),
    system: str | None = None,
) -> LandmarkSet | PointList:
    """Read a landmark file as `read_landmark_file` does, but leave open which field of a control point is its name.

    Returns:
        The control points of a Slicer file; the landmarks of an inline mapping, whose names are its keys.
    """
    path = Path(path)
    if path.name.lower().endswith(".fcsv"):
        return PointList(fcsv_points(path, image_affine=image_affine, system=system), path, spatial_dims, many)
    if path.name.lower().endswith(".json"):
        document = _read_json(path)
        if "markups" in document:
            return _markups_points(document, path, spatial_dims, many)
        if path.name.lower().endswith(".mrk.json"):
            raise LandmarkFileError(f"{path}: has no list 'markups'; save the point list again in Slicer as .mrk.json")
        return LandmarkSet.from_inline(document, spatial_dims=spatial_dims, where=str(path), many=many)
    raise LandmarkFileError(f"{path}: not a landmark file; allowed are {', '.join(LANDMARK_SUFFIXES)}")


def read_markups(path: str | os.PathLike[str], *, spatial_dims: int = 3, many: Collection[str] = ()) -> LandmarkSet:
    """Read the markups of a Slicer file; several of them in one file are read as one set, see `markup_nodes`.

    The coordinate system is the file's: ``LPS`` (also when the file says none, as in Slicer), ``RAS``, ``"0"`` (RAS)
    or ``"1"`` (LPS). ``positionStatus`` defined is present, missing is absent, undefined and preview are unknown.

    Args:
        path: The ``.mrk.json`` file.
        spatial_dims: Number D of coordinates.
        many: Names that may occur more than once, each time as another instance.

    Returns:
        The landmarks in world millimetres, in the order of the file.

    Raises:
        LandmarkFileError: The file cannot be read or is wrong; the message names file, landmark and remedy.
    """
    path = Path(path)
    document = _read_json(path)
    if "markups" not in document:
        raise LandmarkFileError(f"{path}: has no list 'markups'; save the point list again in Slicer as .mrk.json")
    return _markups_points(document, path, spatial_dims, many).landmark_set()


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


def write_markups(
    path: str | os.PathLike[str],
    landmark_set: LandmarkSet,
    *,
    descriptions: Sequence[str] | None = None,
    node_name: str | None = None,
) -> None:
    """Write a Slicer Markups file (LPS mm), atomically.

    Absent landmarks get ``positionStatus`` ``missing``, unknown ones ``undefined``, both without a position. The name
    of a landmark with several instances is repeated.

    Args:
        path: Where to write (``.mrk.json``).
        landmark_set: Points in world millimetres.
        descriptions: One text for each of `LandmarkSet.rows`, so for each landmark, or each of its instances; shown in
            Slicer's table.
        node_name: Name of the list in Slicer.
    """
    rows = landmark_set.rows()
    texts = [""] * len(rows) if descriptions is None else list(descriptions)
    words = {PRESENT: "defined", ABSENT: "missing", UNKNOWN: "undefined"}
    control_points: list[dict[str, Any]] = []
    for number, ((index, point, status), text) in enumerate(zip(rows, texts, strict=True), start=1):
        control_point: dict[str, Any] = {
            "id": str(number),
            "label": landmark_set.names[index],
            "description": text,
        }
        if status == PRESENT:
            control_point["position"] = _to_lps(point).tolist()
        control_point |= {"selected": True, "locked": False, "visibility": True, "positionStatus": words[status]}
        control_points.append(control_point)
    node: dict[str, Any] = {
        "type": "Fiducial",
        "coordinateSystem": "LPS",
        "coordinateUnits": "mm",
        "locked": False,
        "fixedNumberOfControlPoints": False,
        "labelFormat": "%N-%d",
        "lastUsedControlPointNumber": len(control_points),
        "controlPoints": control_points,
    }
    if node_name is not None:
        node = {"type": node["type"], "name": node_name, **node}
    document = {"@schema": MARKUPS_SCHEMA, "markups": [node]}
    atomic_write_text(path, json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


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
        xyz = [repr(float(value)) for value in (_to_lps(point) if status == PRESENT else np.zeros(3))]
        name = landmark_set.names[index]
        writer.writerow([number, *xyz, 0, 0, 0, 1, 1, 1, 0, name, "", "", numbers[status], 0])
    atomic_write_text(path, stream.getvalue())


def atomic_write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a text file (UTF-8) so that a reader, or a kill, never sees half of it.

    Args:
        path: Where to write; its folder must exist.
        text: The whole content.
    """
    path = Path(path)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        # mkstemp makes files for the owner only; a written result is readable as any other new file is.
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            Path(temporary).unlink()
        raise


def read_text(path: Path) -> str:
    r"""Read a UTF-8 text file, with or without byte order mark; its lines end at ``\n`` only.

    LF and CRLF end a line. Any other CR is dropped, because Slicer writes one that stood in a name into the middle of
    a line; only in a file without any LF does CR end the lines (old Macintosh tables). Split the text with
    ``split("\n")``: `str.splitlines` also splits at form feeds and at U+0085, U+2028 and others inside a name.

    Raises:
        LandmarkFileError: The file cannot be read or is not UTF-8.
    """
    try:
        with open_regular(path) as stream:
            text = stream.read().decode("utf-8-sig")
    except NotRegularError as error:
        raise LandmarkFileError(f"{path}: cannot be read ({error}); give a file") from error
    except OSError as error:
        reason = error.strerror or str(error)
        raise LandmarkFileError(f"{path}: cannot be read ({reason}); check the path and its permissions") from error
    except UnicodeDecodeError as error:
        raise LandmarkFileError(f"{path}: {_not_text(path)}") from error
    return text.replace("\r", "") if "\n" in text else text.replace("\r", "\n")


def _not_text(path: Path) -> str:
    """What a file that is no UTF-8 most likely is, and the remedy."""
    with path.open("rb") as stream:
        start = stream.read(4)
    if start.startswith(b"PK"):
        return "is an Excel workbook or a ZIP file and no text; save the sheet as 'CSV UTF-8'"
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "is UTF-16 text; save it again as UTF-8, which Excel calls 'CSV UTF-8'"
    return "is not UTF-8 text; save it again as UTF-8"


def _read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object and refuse repeated keys, which ``json`` would drop silently."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if repeated := duplicate_names(key for key, _ in pairs):
            raise LandmarkFileError(f"{path}: {repeated[0]!r} occurs more than once; rename or remove one of them")
        return dict(pairs)

    text = read_text(path)
    try:
        document = json.loads(text, object_pairs_hook=unique)
    except json.JSONDecodeError as error:
        raise LandmarkFileError(
            f"{path}: is not valid JSON (line {error.lineno}: {error.msg}); save the landmarks again"
        ) from error
    except LandmarkFileError:
        raise
    except (RecursionError, ValueError) as error:  # nested too deeply, or a number of thousands of digits
        raise LandmarkFileError(f"{path}: is not valid JSON that can be read; save the landmarks again") from error
    if not isinstance(document, dict):
        raise LandmarkFileError(f"{path}: must hold a JSON object with landmarks, found a {type(document).__name__}")
    return document


def _markups_points(document: dict[str, Any], path: Path, spatial_dims: int, many: Collection[str]) -> PointList:
    nodes = document["markups"]
    if not isinstance(nodes, list) or not all(isinstance(node, dict) for node in nodes):
        raise LandmarkFileError(f"{path}: 'markups' must be a list of point lists; save the points again in Slicer")
    rows = [point for node in nodes for point in node_points(node, path)]
    return PointList(rows, path, spatial_dims, many)


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


def _to_lps(point: np.ndarray) -> np.ndarray:
    """(D,) world mm to (3,) LPS mm; a 2D point lies in the plane z = 0 (see the module's docstring)."""
    if len(point) == 2:
        return np.append(point, 0.0)
    return point * np.array([-1.0, -1.0, 1.0])
