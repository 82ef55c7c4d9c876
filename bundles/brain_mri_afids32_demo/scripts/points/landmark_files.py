"""Read and write landmark files: Slicer Markups (.mrk.json), Slicer fiducials (.fcsv) and inline JSON.

Points in files keep the coordinate system that the file declares; in memory they are always world millimetres: RAS in
3D, x right and y down in 2D. Slicer shows a 2D picture with x and y along its LPS axes, so the first two LPS
coordinates of a file are the world coordinates of a 2D point.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..files.text import atomic_write_text
from .control_points import PointList, to_lps
from .fcsv_files import fcsv_points
from .landmark_names import quoted
from .landmark_text import read_text
from .landmarks import ABSENT, PRESENT, UNKNOWN, LandmarkFileError, LandmarkSet, duplicate_names
from .markup_nodes import node_points

MARKUPS_SCHEMA = (
    "https://raw.githubusercontent.com/slicer/slicer/master/Modules/Loadable/Markups/Resources/Schema/"
    "markups-schema-v1.0.3.json#"
)
LANDMARK_SUFFIXES = (".mrk.json", ".fcsv", ".json")
"""Endings of the files that `read_landmark_file` reads."""


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
        landmark_set = read_landmark_file(Path(label), spatial_dims=spatial_dims, many=many, names=names or ())
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
    names: Collection[str] = (),
) -> LandmarkSet:
    """Read a landmark file of any supported format, chosen by its ending.

    Args:
        path: ``.mrk.json`` (Slicer Markups), ``.fcsv`` (Slicer fiducials) or ``.json`` (Markups or inline mapping).
        spatial_dims: Number D of coordinates.
        image_affine: (D+1, D+1) voxel to world mm of the image; only an ``.fcsv`` in IJK needs it.
        many: Names that may occur more than once, each time as another instance.
        system: ``RAS``, ``LPS`` or ``IJK``: what the points of an ``.fcsv`` are that does not say it.
        names: The names that are wanted: points of a Slicer file are called by their labels or their descriptions,
            whichever has more of these. The file alone decides where none is given, or both have as many.

    Raises:
        LandmarkFileError: The file cannot be read, is of another format, or is wrong.
    """
    read = read_points(path, spatial_dims=spatial_dims, image_affine=image_affine, many=many, system=system)
    if not isinstance(read, PointList):
        return read
    return read.landmark_set(read.fitting(names))


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
        control_point: dict[str, Any] = {"id": str(number), "label": landmark_set.names[index], "description": text}
        if status == PRESENT:
            control_point["position"] = to_lps(point).tolist()
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
