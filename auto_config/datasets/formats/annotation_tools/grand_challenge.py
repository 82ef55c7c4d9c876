"""grand-challenge.org's "Multiple points": a JSON file for each image, in world mm of ITK, which is LPS.

``{"type": "Multiple points", "points": [{"name": "AC", "point": [x, y, z]}], "version": {"major": 1, "minor": 0}}``.
Points of pictures have a third number, which is not used. Points without a name are called 1, 2, ...
"""

from __future__ import annotations

from pathlib import Path

from auto_config.bundle_scripts.points.landmarks import LandmarkSet
from auto_config.datasets.formats.shared.case_files import CaseFiles
from auto_config.datasets.formats.shared.json_contents import content_of
from auto_config.datasets.formats.shared.options import ReadOptions
from auto_config.datasets.formats.shared.points import Value, json_point, landmark_set
from auto_config.datasets.json_files import read_json, shown
from auto_config.errors import UserError


def is_grand_challenge(path: Path) -> bool:
    """Whether a JSON file is of this kind."""
    return content_of(path) == "grand_challenge"


def read_grand_challenge(path: Path, image: Path, spatial_dims: int, options: ReadOptions) -> LandmarkSet:
    """Read the points of one image.

    Raises:
        UserError: The file is wrong.
    """
    document = read_json(path)
    points = document.get("points") if isinstance(document, dict) else None
    if not isinstance(points, list) or document.get("type") != "Multiple points":
        raise UserError(
            f"{path}: is not of the type 'Multiple points' with a list 'points'; export {image.name}'s again"
        )
    rows: list[tuple[str, Value]] = []
    for number, point in enumerate(points, start=1):
        where = f"{path}: point {number}"
        if not isinstance(point, dict):
            raise UserError(f"{where}: is {shown(point)}; give an object with 'name' and 'point'")
        name = point.get("name")
        if name is not None and not isinstance(name, str):
            raise UserError(f"{where}: its name is {shown(name)}; give a text")
        given = point.get("point")
        if spatial_dims == 2 and isinstance(given, list) and len(given) == 3:
            given = given[:2]
        x, y, *z = json_point(given, spatial_dims, where)
        rows.append((name or str(number), [-x, -y, *z] if spatial_dims == 3 else [x, y]))
    return landmark_set(rows, spatial_dims=spatial_dims, many=options.many, where=str(path))


GRAND_CHALLENGE = CaseFiles((".json",), read_grand_challenge, is_grand_challenge, raters=True)
