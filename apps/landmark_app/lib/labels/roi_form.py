"""ROI boxes as Slicer's MONAI Label plugin submits them: the centre of each box is a landmark."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from auto_config.bundle_scripts.points.control_points import TO_RAS, coordinate_system, millimetres_per_unit, to_world
from auto_config.bundle_scripts.points.landmarks import ABSENT, PRESENT, LandmarkSet

from ..core.errors import ClientError
from ..core.names import KnownNames
from .label_map_form import shown_point

_SAME_MM = 1e-3


def holds_boxes(document: Mapping[str, Any]) -> bool:
    """Whether a JSON document is a Markups file with at least one ROI."""
    nodes = document.get("markups")
    return isinstance(nodes, list) and any(isinstance(node, Mapping) and node.get("type") == "ROI" for node in nodes)


def read_boxes(document: Mapping[str, Any], known: KnownNames, where: str) -> tuple[LandmarkSet, list[str]]:
    """Read the boxes of a Markups file.

    Slicer renames the nodes when it loads them, so the name of a landmark is the first of these that is one: the label
    and the description of the control point, the description and the name of the node. Boxes without such a name and
    without a size or a place, and those of other tools (``SAM2 ROI``, ``Scribbles ROI``), are ignored with a note. The
    same box twice, as after running a model twice, counts once. Each other box of a landmark of which an image may have
    any number is another instance.

    Args:
        document: The Markups file, `holds_boxes` of which is true.
        known: Names of the bundles.
        where: What to call the label in errors.

    Returns:
        The landmarks in world RAS mm, and notes on what was ignored.

    Raises:
        ClientError: Points beside the boxes, a box with a name that no bundle has, two boxes of one landmark at
            different places, or no box of a landmark at all.
        LandmarkFileError: A coordinate system, a unit or coordinates that cannot be read.
    """
    found: dict[str, list[np.ndarray | None]] = {}
    notes: list[str] = []
    unknown: list[str] = []
    for node in document["markups"]:
        if not isinstance(node, Mapping) or node.get("type") != "ROI":
            raise ClientError(f"{where}: holds boxes and other markups; send either ROI boxes or one point list")
        texts = _texts(node)
        name = next((name for name in map(known.find, texts) if name), None)
        if name is None:
            shown = texts[0] if texts else "without a name"
            if _is_foreign(node) or not _has_extent(node):
                notes.append(f"the box {shown!r} was ignored: it is no landmark")
            else:
                unknown.append(shown)
            continue
        point = _center(node, name, where)
        there = found.setdefault(name, [])
        if any(_same(one, point) for one in there):
            continue
        if there and name not in known.many:
            both = " and ".join("missing" if one is None else shown_point(one) for one in (there[0], point))
            raise ClientError(
                f"{where}: landmark {name!r} has two boxes, {both}; delete one of them (a model that is run twice adds "
                "its boxes twice)"
            )
        there.append(point)
    if unknown:
        raise known.refuse(unknown, where)
    if not found:
        raise ClientError(f"{where}: holds no box of a landmark; run the model and move its boxes, then submit again")
    rows = [(name, point) for name, points in found.items() for point in points]
    places = np.array([[np.nan] * 3 if point is None else point for _, point in rows])
    status = [ABSENT if point is None else PRESENT for _, point in rows]
    return LandmarkSet.from_rows([name for name, _ in rows], places, status, known.many), notes


def _texts(node: Mapping[str, Any]) -> list[str]:
    """Every text of a node that may be its landmark's name, likeliest first."""
    points = node.get("controlPoints")
    first = points[0] if isinstance(points, list) and points and isinstance(points[0], Mapping) else {}
    candidates = (first.get("label"), first.get("description"), node.get("description"), node.get("name"))
    return [text.strip() for text in candidates if isinstance(text, str) and text.strip()]


def _is_foreign(node: Mapping[str, Any]) -> bool:
    """Whether it is a box of another tool of the plugin, which submits its own boxes too."""
    return any(text.startswith(("SAM2 ROI", "Scribbles ROI")) for text in _texts(node))


def _has_extent(node: Mapping[str, Any]) -> bool:
    size = node.get("size")
    return (
        isinstance(size, list)
        and isinstance(node.get("center"), list)
        and any(isinstance(length, int | float) and length > 0 for length in size)
    )


def _center(node: Mapping[str, Any], name: str, where: str) -> np.ndarray | None:
    """(3,) world RAS mm of a box, None if its control point is marked as missing."""
    points = node.get("controlPoints")
    first = points[0] if isinstance(points, list) and points and isinstance(points[0], Mapping) else {}
    if first.get("positionStatus") == "missing":
        return None
    path = Path(where)  # the readers of points name a file in their errors
    system = coordinate_system(node.get("coordinateSystem", "LPS"), path)
    if system == "IJK":
        raise ClientError(f"{where}: the box of {name!r} is in IJK; save it in LPS or RAS")
    to_ras = TO_RAS[system] @ np.diag([*[millimetres_per_unit(node.get("coordinateUnits"), path)] * 3, 1.0])
    return to_world(node.get("center", first.get("position")), to_ras, name, path)


def _same(one: np.ndarray | None, other: np.ndarray | None) -> bool:
    if one is None or other is None:
        return one is None and other is None
    return bool(np.linalg.norm(one - other) <= _SAME_MM)
