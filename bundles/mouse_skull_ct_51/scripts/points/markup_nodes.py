"""One markup of a Slicer ``.mrk.json``: a point list, a line, a curve, an angle, a plane or a region of interest.

The control points of what is not a point list seldom have names of their own: Slicer labels them by the markup
(``L-1``, ``L-2``). Such a point is called by the name of its markup and its number, ``TCD 1``; where a markup has one
point, and for the centre of a region of interest, the name alone is enough.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from .control_points import TO_RAS, ControlPoint, coordinate_system, millimetres_per_unit, to_world
from .landmarks import ABSENT, PRESENT, UNKNOWN, LandmarkFileError

POINT_LIST = "Fiducial"
_REGION = "ROI"
_TYPES = (POINT_LIST, "Line", "Angle", "Curve", "ClosedCurve", "Plane", _REGION)
_STATUS = {"defined": PRESENT, "missing": ABSENT, "undefined": UNKNOWN, "preview": UNKNOWN}
# Slicer's own label: the markup's first name and a number (``L-1``; ``L_1-2`` in the second line).
_GIVEN_BY_SLICER = re.compile(r"[A-Z]{1,2}(_\d+)?-\d+")


def node_points(node: Mapping[str, Any], path: Path) -> list[ControlPoint]:
    """The points of one markup, in RAS mm.

    Args:
        node: An item of the list ``markups``.
        path: The file, named in errors.

    Raises:
        LandmarkFileError: A type that has no landmarks, a coordinate system that is not known, or a wrong point.
    """
    kind = node.get("type", POINT_LIST)
    if kind not in _TYPES:
        raise LandmarkFileError(
            f"{path}: holds a markup of type {repr(kind)[:60]}; allowed are {', '.join(_TYPES)}; save the landmarks "
            "as a point list"
        )
    system = coordinate_system(node.get("coordinateSystem", "LPS"), path)
    if system == "IJK":
        raise LandmarkFileError(f"{path}: coordinateSystem is IJK; save the point list in Slicer as LPS or RAS")
    to_ras = TO_RAS[system] @ np.diag([*[millimetres_per_unit(node.get("coordinateUnits"), path)] * 3, 1.0])
    items = node.get("controlPoints", [])
    if not isinstance(items, list) or not all(isinstance(item, Mapping) for item in items):
        raise LandmarkFileError(f"{path}: 'controlPoints' must be a list of points; save them again in Slicer")
    if kind == POINT_LIST:
        return [_control_point(item, to_ras, path) for item in items]
    name = _name(node, kind)
    if kind == _REGION and node.get("center") is not None:
        return [ControlPoint(name, "", to_world(node["center"], to_ras, name, path), PRESENT)]
    rows = [_control_point(item, to_ras, path) for item in items]
    return [
        replace(
            row,
            label=row.label if _is_named(row.label, name) else name if len(rows) == 1 else f"{name} {number}",
            description="",
        )
        for number, row in enumerate(rows, start=1)
    ]


def _name(node: Mapping[str, Any], kind: str) -> str:
    """Name of a markup; its type where the file does not say it."""
    name = node.get("name")
    return name.strip() if isinstance(name, str) and name.strip() else kind


def _is_named(label: str, name: str) -> bool:
    """Whether a person gave a label, and not Slicer."""
    counted = label.startswith(f"{name}-") and label[len(name) + 1 :].isdecimal()
    return not (not label or label.isdecimal() or counted or _GIVEN_BY_SLICER.fullmatch(label))


def _control_point(item: Mapping[str, Any], to_ras: np.ndarray, path: Path) -> ControlPoint:
    label = _text(item.get("label"))
    word = item.get("positionStatus", "defined")
    if not isinstance(word, str) or word not in _STATUS:
        raise LandmarkFileError(
            f"{path}: landmark {label!r} has positionStatus {repr(word)[:60]}; allowed are {', '.join(_STATUS)}"
        )
    status = _STATUS[word]
    point = to_world(item.get("position"), to_ras, label, path) if status == PRESENT else None
    return ControlPoint(label, _text(item.get("description")), point, status)


def _text(value: object) -> str:
    """A label or a description; some programs write numbers."""
    return str(value).strip() if isinstance(value, (str, int, float)) and not isinstance(value, bool) else ""
