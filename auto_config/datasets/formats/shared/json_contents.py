"""What a JSON file is, by its content: the one list of how each format looks, of those that are read and of others.

A file is never judged by its ending alone: markups, labelme, a datalist and the export of an annotation tool are all
``.json``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from auto_config.datasets.formats.shared.points import is_word, read_json
from auto_config.errors import UserError

_COCO_LISTS = ("images", "annotations", "categories")


def _has_list(document: object, key: str) -> bool:
    return isinstance(document, Mapping) and isinstance(document.get(key), list)


def _is_coco(document: object, *, keypoints: bool) -> bool:
    if not isinstance(document, Mapping) or not all(_has_list(document, key) for key in _COCO_LISTS):
        return False
    named = [isinstance(category, Mapping) and "keypoints" in category for category in document["categories"]]
    return any(named) is keypoints


def _first(document: object) -> Mapping[str, Any]:
    """The first object of a list, empty where there is none."""
    found = document[0] if isinstance(document, list) and document else None
    return found if isinstance(found, Mapping) else {}


def _is_label_studio(document: object) -> bool:
    return isinstance(_first(document).get("data"), Mapping) and any(
        isinstance(_first(document).get(key), list) for key in ("annotations", "completions")
    )


def _is_label_studio_min(document: object) -> bool:
    values = [value[0] for value in _first(document).values() if isinstance(value, list) and value]
    return any(isinstance(value, Mapping) and "keypointlabels" in value for value in values)


def _is_via(document: object) -> bool:
    if not isinstance(document, Mapping):
        return False
    pictures = document.get("_via_img_metadata", document)
    values = list(pictures.values()) if isinstance(pictures, Mapping) else []
    return "_via_img_metadata" in document or any(isinstance(one, Mapping) and "regions" in one for one in values[:5])


def _is_aariz(document: object) -> bool:
    points = document.get("landmarks") if isinstance(document, Mapping) else None
    return isinstance(_first(points).get("value"), Mapping)


def _is_grand_challenge(document: object) -> bool:
    return _has_list(document, "points") and isinstance(document, Mapping) and document.get("type") == "Multiple points"


def _is_other_grand_challenge(document: object) -> bool:
    return (
        isinstance(document, Mapping)
        and isinstance(document.get("version"), Mapping)
        and isinstance(document.get("type"), str)
        and not _is_grand_challenge(document)
    )


def _is_inline(document: object) -> bool:
    if not isinstance(document, Mapping):
        return False
    return any(
        isinstance(value, list) or value is None or (isinstance(value, str) and is_word(value))
        for value in document.values()
    )


_READ: dict[str, Callable[[Any], bool]] = {
    "markups": lambda document: _has_list(document, "markups"),
    "labelme": lambda document: _has_list(document, "shapes"),
    "coco": lambda document: _is_coco(document, keypoints=True),
    "datalist": lambda document: _has_list(document, "training"),
    "grand_challenge": _is_grand_challenge,
    "verse": lambda document: "direction" in _first(document),
    "label_studio": _is_label_studio,
}
"""Formats that are read, by their names in `formats`, the surest signs first."""

_NOT_READ: dict[str, tuple[Callable[[Any], bool], str]] = {
    "VIA (VGG Image Annotator)": (_is_via, "export 'annotations (as coco)' with keypoints, or save a .csv of points"),
    "COCO without keypoints": (
        lambda document: _is_coco(document, keypoints=False),
        "export keypoints, which need names in a category's 'keypoints'",
    ),
    "Label Studio's JSON-MIN": (_is_label_studio_min, "export the format 'JSON'"),
    "Aariz (cephalometry)": (_is_aariz, "save its landmarks as a .csv with the columns case,landmark,x,y"),
    "grand-challenge of another kind than 'Multiple points'": (
        _is_other_grand_challenge,
        "export the points as 'Multiple points'",
    ),
    "GeoJSON": (
        lambda document: isinstance(document, Mapping) and document.get("type") == "FeatureCollection",
        "save its points as a .csv with the columns case,landmark,x,y",
    ),
}
"""What is known and not read, with what to do."""


def content_of(path: Path) -> str | None:
    """The format of a JSON file: a key of `_READ`, ``"inline"`` for names with points, or None for anything else."""
    try:
        document = read_json(path)
    except UserError:
        return None
    found = next((name for name, fits in _READ.items() if fits(document)), None)
    if found is None and not_read(document) is None and _is_inline(document):
        return "inline"
    return found


def not_read(document: object) -> tuple[str, str] | None:
    """What the content of a JSON file is and what to do, where it is known and not read."""
    if any(fits(document) for fits in _READ.values()):
        return None
    return next(((what, remedy) for what, (fits, remedy) in _NOT_READ.items() if fits(document)), None)
