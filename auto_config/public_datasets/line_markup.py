"""The two ends of a line that was drawn in Slicer (``.mrk.json`` of type Line)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from auto_config.bundle_scripts.control_points import TO_RAS, coordinate_system, millimetres_per_unit, to_world
from auto_config.bundle_scripts.landmarks import LandmarkFileError
from auto_config.datasets.points import read_json


def read_line(path: Path) -> np.ndarray:
    """Read a line by its place in the file: the labels of its ends (``L-1``, ``L-2``) say nothing.

    Returns:
        Both ends, (2, 3) RAS mm, in the order of the file.

    Raises:
        LandmarkFileError: The file holds no line with two ends that are placed.
        UserError: It is no JSON.
    """
    document = read_json(path)
    nodes = document.get("markups") if isinstance(document, dict) else None
    if not isinstance(nodes, list) or len(nodes) != 1 or not isinstance(nodes[0], dict):
        raise LandmarkFileError(f"{path}: must hold one markup; save the line again in Slicer")
    node: dict[str, Any] = nodes[0]
    points = node.get("controlPoints") or []
    if not isinstance(points, list) or not all(isinstance(point, dict) for point in points):
        raise LandmarkFileError(f"{path}: 'controlPoints' must be a list of points; save the line again in Slicer")
    placed = [point for point in points if point.get("positionStatus", "defined") == "defined"]
    if len(placed) != 2 or len(points) != 2:
        raise LandmarkFileError(f"{path}: has {len(placed)} placed points of {len(points)}, a line has two")
    system = coordinate_system(node.get("coordinateSystem", "LPS"), path)
    if system == "IJK":
        raise LandmarkFileError(f"{path}: coordinateSystem is IJK; save the line in Slicer as LPS or RAS")
    to_ras = TO_RAS[system] @ np.diag([*[millimetres_per_unit(node.get("coordinateUnits"), path)] * 3, 1.0])
    return np.array([to_world(point.get("position"), to_ras, str(point.get("label")), path) for point in points])
