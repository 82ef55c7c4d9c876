"""labelme: a JSON file for each picture, with shapes in pixels.

A shape of type ``point`` is a landmark (of one of many, an instance); other shapes are an error, because their corners
have no names. The numbers are indices of pixels, the centre of the first one at 0. A landmark that is not present is
in the ``flags`` of the picture, which labelme shows as check boxes: ``"absent: NAME": true``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from auto_config.bundle_scripts.points.landmarks import LandmarkSet
from auto_config.datasets.formats.shared.case_files import CaseFiles
from auto_config.datasets.formats.shared.json_contents import content_of
from auto_config.datasets.formats.shared.options import ReadOptions, voxel_to_world, world_to_voxel
from auto_config.datasets.formats.shared.points import Value, is_word, json_point, landmark_set, rows_of
from auto_config.datasets.formats.shared.target import Target
from auto_config.datasets.json_files import read_json, shown
from auto_config.errors import UserError

_VERSION = "5.0.0"


def is_labelme(path: Path) -> bool:
    """Whether a JSON file has a list of shapes."""
    return content_of(path) == "labelme"


def read_labelme(path: Path, image: Path, spatial_dims: int, options: ReadOptions) -> LandmarkSet:
    """Read the points of one picture.

    Raises:
        UserError: The file is wrong, or its picture cannot be read.
    """
    document = read_json(path)
    shapes = document.get("shapes") if isinstance(document, dict) else None
    if not isinstance(shapes, list) or not all(isinstance(shape, dict) for shape in shapes):
        raise UserError(f"{path}: has no list 'shapes'; save the picture's labels again in labelme")
    if spatial_dims != 2:
        raise UserError(f"{path}: labelme has points in pictures, the image {image.name} is a volume; give pictures")
    header = options.header([image])
    rows: list[tuple[str, Value]] = []
    for number, shape in enumerate(shapes, start=1):
        name = shape.get("label")
        where = f"{path}: shape {number} ({shown(name)})"
        if not isinstance(name, str) or not name:
            raise UserError(f"{where}: has no label; give it the landmark's name")
        if shape.get("shape_type", "point") != "point":
            raise UserError(
                f"{where}: is a {shown(shape['shape_type'])}; only points are landmarks, remove or redraw it"
            )
        points = shape.get("points")
        if not isinstance(points, list) or len(points) != 1:
            raise UserError(f"{where}: needs one point, got {shown(points)}; draw it again as a point")
        pixel = json_point(points[0], 2, where)
        rows.append((name, voxel_to_world(header, np.array([pixel]))[0].tolist()))
    rows += _flagged(document.get("flags"), {name for name, _ in rows}, path)
    return landmark_set(rows, spatial_dims=2, many=options.many, where=str(path))


def _flagged(flags: Any, present: set[str], path: Path) -> list[tuple[str, Value]]:
    """Landmarks that are not present, from the picture's flags; other flags are left alone."""
    rows: list[tuple[str, Value]] = []
    for flag, is_set in flags.items() if isinstance(flags, Mapping) else ():
        word, colon, name = flag.partition(": ")
        if is_set is not True or not colon or not is_word(word):
            continue
        if name in present:
            raise UserError(f"{path}: landmark {name!r} has a point and the flag {flag!r}; remove one of them")
        rows.append((name, word))
    return rows


LABELME = CaseFiles((".json",), read_labelme, is_labelme)


def write_labelme(target: Target) -> None:
    """Write ``landmarks/CASE.json`` for labelme."""
    for case in target.cases:
        landmarks = target.landmarks(case)
        header = target.header(case)
        shapes: list[dict[str, Any]] = []
        flags: dict[str, bool] = {}
        for name, value in rows_of(landmarks):
            if isinstance(value, str):
                flags[f"{value}: {name}"] = True
                continue
            pixel = world_to_voxel(header, np.array([value]))[0].tolist()
            shapes.append({"label": name, "points": [pixel], "group_id": None, "shape_type": "point", "flags": {}})
        target.write_json(
            {
                "version": _VERSION,
                "flags": flags,
                "shapes": shapes,
                "imagePath": f"../{target.image_paths(case)[0]}",
                "imageData": None,
                "imageHeight": header.shape[1],
                "imageWidth": header.shape[0],
            },
            "landmarks",
            target.stem(case) + ".json",
        )
