"""The two ends of a line that was drawn in Slicer (``.mrk.json`` of type Line)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from auto_config.bundle_scripts.points.landmarks import LandmarkFileError
from auto_config.bundle_scripts.points.markup_nodes import node_points
from auto_config.datasets.json_files import read_json


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
    rows = node_points(nodes[0], path)
    ends = [row.point for row in rows if row.point is not None]
    if len(rows) != 2 or len(ends) != 2:
        raise LandmarkFileError(f"{path}: has {len(ends)} placed points of {len(rows)}, a line has two")
    return np.array(ends)
