"""Named points and Slicer's markups files (LPS mm), with the standard library alone."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

DEFINED, MISSING, UNDEFINED = "defined", "missing", "undefined"
"""Of a control point: placed; looked for and not in the image; not looked for yet."""

SCHEMA = (
    "https://raw.githubusercontent.com/slicer/slicer/master/Modules/Loadable/Markups/Resources/Schema/"
    "markups-schema-v1.0.3.json#"
)
_SYSTEMS = {"LPS": (1.0, 1.0, 1.0), "0": (-1.0, -1.0, 1.0), "RAS": (-1.0, -1.0, 1.0), "1": (1.0, 1.0, 1.0)}


class MarkupsError(ValueError):
    """Markups that are no landmarks, and why, in one line."""


@dataclass(frozen=True)
class Landmark:
    """A control point.

    Attributes:
        name: its label.
        status: `DEFINED`, `MISSING` or `UNDEFINED`.
        position: LPS mm; None where not defined.
        description: a text for the table of control points.
    """

    name: str
    status: str = UNDEFINED
    position: tuple[float, float, float] | None = None
    description: str = ""


def from_answer(landmarks: Iterable[Mapping[str, Any]]) -> list[Landmark]:
    """The landmarks of the server's answer, whose ``world`` is RAS mm."""
    found = []
    for item in landmarks:
        text = f"confidence {item['confidence']:.2f}" if item.get("confidence") is not None else ""
        if item["present"]:
            x, y, z = item["world"]
            found.append(Landmark(item["name"], DEFINED, (-float(x), -float(y), float(z)), text))
        else:
            found.append(Landmark(item["name"], MISSING, None, text))
    return found


def read_markups(text: str) -> list[Landmark]:
    """The control points of all point lists in a markups file, in LPS mm.

    Raises:
        MarkupsError: it is no markups file, or one of another coordinate system or unit, or a point is broken.
    """
    try:
        markups = json.loads(text)["markups"]
        nodes = [node for node in markups if node.get("type", "Fiducial") == "Fiducial"]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise MarkupsError("this is no markups file of Slicer; save a point list as .mrk.json") from error
    found = []
    for node in nodes:
        system = str(node.get("coordinateSystem", "LPS"))
        if system not in _SYSTEMS:
            raise MarkupsError(f"the points are in the coordinate system {system}; save them in LPS or RAS")
        if node.get("coordinateUnits", "mm") not in ("mm", ["mm", "UCUM", "millimeter"]):
            raise MarkupsError(f"the points are in {node['coordinateUnits']}; save them in mm")
        found += [_landmark(point, _SYSTEMS[system]) for point in node.get("controlPoints", [])]
    return found


def write_markups(landmarks: Sequence[Landmark], name: str = "Landmarks") -> str:
    """A point list as the text of a markups file, in LPS mm."""
    points = []
    for number, landmark in enumerate(landmarks, start=1):
        point: dict[str, Any] = {"id": str(number), "label": landmark.name, "description": landmark.description}
        if landmark.status == DEFINED:
            point["position"] = list(landmark.position or ())
        points.append({**point, "selected": True, "locked": False, "positionStatus": landmark.status})
    node = {
        "type": "Fiducial",
        "name": name,
        "coordinateSystem": "LPS",
        "coordinateUnits": "mm",
        "labelFormat": "%N-%d",
        "controlPoints": points,
    }
    return json.dumps({"@schema": SCHEMA, "markups": [node]}, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def complete(landmarks: Sequence[Landmark], names: Sequence[str]) -> list[Landmark]:
    """The landmarks in the order of `names`, all of a name together; one that is not there is undefined."""
    found = []
    for name in names:
        found += [landmark for landmark in landmarks if landmark.name == name] or [Landmark(name)]
    return found


def titles(landmarks: Sequence[Landmark]) -> list[str]:
    """A text for each landmark to choose it by: its name, with a number where the name is there several times."""
    names = [landmark.name for landmark in landmarks]
    return [
        f"{name} ({names[: index + 1].count(name)})" if names.count(name) > 1 else name
        for index, name in enumerate(names)
    ]


def check(landmarks: Sequence[Landmark], names: Sequence[str], many: Sequence[str] = ()) -> None:
    """Refuse what the server would refuse, before it is sent.

    Args:
        landmarks: what is to be sent.
        names: of the bundle.
        many: those that an image may have any number of.

    Raises:
        MarkupsError: an unknown name, a name that occurs twice, or no landmark at all is placed or missing.
    """
    given = [landmark.name for landmark in landmarks]
    for name in given:
        if name not in names:
            raise MarkupsError(f"'{name}' is no landmark of this bundle; rename the point to one of {', '.join(names)}")
    for name in given:
        if given.count(name) > 1 and name not in many:
            raise MarkupsError(f"'{name}' occurs {given.count(name)} times; delete or rename the others")
    if all(landmark.status == UNDEFINED for landmark in landmarks):
        raise MarkupsError("no landmark is placed; place some, or say that they are missing")


def _landmark(point: Mapping[str, Any], to_lps: tuple[float, float, float]) -> Landmark:
    name = str(point.get("label", ""))
    status = point.get("positionStatus", DEFINED)
    # A point that is being placed has a position, but nobody has decided on it.
    if status in ("preview", UNDEFINED):
        return Landmark(name, UNDEFINED, None, str(point.get("description", "")))
    if status == MISSING:
        return Landmark(name, MISSING, None, str(point.get("description", "")))
    try:
        # No zip: its `strict` is newer than the Python of some versions of Slicer.
        x, y, z = point["position"]
        x, y, z = float(x) * to_lps[0], float(y) * to_lps[1], float(z) * to_lps[2]
    except (KeyError, TypeError, ValueError) as error:
        raise MarkupsError(f"'{name}' has no position of three numbers; place it again") from error
    if not all(math.isfinite(value) for value in (x, y, z)):
        raise MarkupsError(f"'{name}' has a position that is not finite; place it again")
    return Landmark(name, DEFINED, (x, y, z), str(point.get("description", "")))
