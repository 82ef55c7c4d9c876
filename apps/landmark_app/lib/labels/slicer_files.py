"""Landmarks as files that Slicer's Markups module loads: one small ROI box for each, or one list of points."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from auto_config.bundle_scripts.files.text import atomic_write_text
from auto_config.bundle_scripts.inference.prediction_files import landmark_note
from auto_config.bundle_scripts.points.landmark_files import MARKUPS_SCHEMA, write_markups
from auto_config.bundle_scripts.points.landmarks import ABSENT, PRESENT, LandmarkSet

RAS_TO_LPS = np.array([-1.0, -1.0, 1.0])
# The axes of a box along R, A and S, written in LPS: as Slicer writes a box that nobody has turned.
_UPRIGHT = [-1.0, -0.0, -0.0, -0.0, -1.0, -0.0, 0.0, 0.0, 1.0]


def landmark_set(landmarks: Sequence[dict[str, Any]]) -> LandmarkSet:
    """The landmarks of a prediction as a set.

    Args:
        landmarks: a bundle's ``result["landmarks"]``.

    Returns:
        World RAS mm; those that are not present are absent.
    """
    names = [item["name"] for item in landmarks]
    status = [PRESENT if item["present"] else ABSENT for item in landmarks]
    many = {item["name"] for item in landmarks if "instance" in item}
    return LandmarkSet.from_rows(names, row_points(landmarks), status, many)


def row_points(landmarks: Sequence[dict[str, Any]]) -> np.ndarray:
    """(R, 3) world RAS mm of a bundle's ``result["landmarks"]``, NaN where not present."""
    nowhere = [np.nan] * 3
    points = [item["world"] if item["present"] else nowhere for item in landmarks]
    return np.array(points, dtype=np.float64).reshape(-1, 3)


def write_roi_boxes(path: Path, landmarks: Sequence[dict[str, Any]], *, size_mm: float) -> None:
    """Write one ROI box for each landmark that is present, or each of its instances; its centre is the point.

    Slicer's MONAI Label plugin shows the file of a detection model and submits the boxes again. It renames the nodes;
    the label and the description of the control point keep the name.

    Args:
        path: where to write (``.json``), atomically.
        landmarks: a bundle's ``result["landmarks"]``, world RAS mm.
        size_mm: length of the boxes' edges.
    """
    boxes = [_roi_box(item, size_mm) for item in landmarks if item["present"]]
    document = {"@schema": MARKUPS_SCHEMA, "markups": boxes}
    atomic_write_text(path, json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def write_fiducials(path: Path, landmarks: Sequence[dict[str, Any]], verdict: Mapping[str, Any] | None = None) -> None:
    """Write a point list; absent landmarks are in it without a position, as ``missing``.

    Args:
        path: where to write (``.mrk.json``), atomically.
        landmarks: a bundle's ``result["landmarks"]``, world RAS mm.
        verdict: a bundle's ``result["verdict"]``; each description names it where somebody should look at the case.
    """
    texts = [landmark_note(item, None, verdict=verdict) for item in landmarks]
    write_markups(path, landmark_set(landmarks), descriptions=texts, node_name="Landmarks")


def _roi_box(item: dict[str, Any], size_mm: float) -> dict[str, Any]:
    """A node of Slicer's Markups file, LPS mm."""
    center = (np.asarray(item["world"]) * RAS_TO_LPS).tolist()
    return {
        "type": "ROI",
        "name": f"{item['name']}-{item['instance']}" if "instance" in item else item["name"],
        "coordinateSystem": "LPS",
        "coordinateUnits": "mm",
        "locked": False,
        "fixedNumberOfControlPoints": False,
        "labelFormat": "%N",
        "lastUsedControlPointNumber": 1,
        "roiType": "Box",
        "center": center,
        "orientation": _UPRIGHT,
        "size": [size_mm] * 3,
        "insideOut": False,
        "controlPoints": [
            {
                "id": "1",
                "label": item["name"],
                "description": item["name"],
                "position": center,
                "orientation": _UPRIGHT,
                "selected": True,
                "locked": False,
                "visibility": True,
                "positionStatus": "defined",
            }
        ],
    }
