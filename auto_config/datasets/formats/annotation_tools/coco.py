"""COCO keypoints: one JSON file for all pictures, with points in pixels.

Each category names keypoints; an annotation has ``[x, y, v]`` for each of them: ``v`` 0 is not labelled, so unknown, 1
and 2 are present. The numbers are indices of pixels, the centre of the first one at 0. A landmark that is `many` has a
category of its own and an annotation for each instance. What COCO has no place for is in keys that its readers pass
over: ``absent`` (names) in an annotation, ``split``, ``fold``, ``group`` and ``file_names`` (of channels) in an image.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from auto_config.bundle_scripts.points.landmarks import duplicate_names
from auto_config.datasets.formats.shared.entries import Entry, Reading
from auto_config.datasets.formats.shared.image_names import named_stem
from auto_config.datasets.formats.shared.json_contents import content_of
from auto_config.datasets.formats.shared.named_pictures import NamedPictures
from auto_config.datasets.formats.shared.options import ReadOptions, voxel_to_world, world_to_voxel
from auto_config.datasets.formats.shared.points import Value, json_point, landmark_set, rows_of
from auto_config.datasets.formats.shared.tables import placement
from auto_config.datasets.formats.shared.target import Target
from auto_config.datasets.images import Header
from auto_config.datasets.json_files import read_json, shown
from auto_config.datasets.model.dataset import Problem
from auto_config.errors import UserError

FILE_NAME = "coco.json"
_KEYS = ("images", "annotations", "categories")
_UNLABELLED = 0
_VISIBLE = 2


def is_coco(path: Path) -> bool:
    """Whether a JSON file has the lists of COCO and keypoints in a category."""
    return content_of(path) == "coco"


def read_coco(source: Path, options: ReadOptions) -> Reading:
    """Read a file of keypoints.

    Pictures are looked for by ``file_name``, see `named_pictures`.

    Raises:
        UserError: The file is not one of COCO keypoints.
    """
    document = read_json(source)
    if not isinstance(document, dict):
        raise UserError(f"{source}: is not a COCO file; it needs lists 'images', 'annotations' and 'categories'")
    images, annotations, categories = (_objects(document, key, source) for key in _KEYS)
    keypoints = _numbered(_keypoints(categories, source), annotations)
    names = tuple(dict.fromkeys(name for listed in keypoints.values() for name in listed))
    if not names:
        raise UserError(f"{source}: no category has 'keypoints'; give the names of the landmarks there")
    found: dict[Any, list[tuple[int, dict[str, Any]]]] = {}
    problems: list[Problem] = []
    ids = [_identifier(image.get("id"), f"{source}: image {number}") for number, image in enumerate(images, start=1)]
    known, repeated = set(ids), set(duplicate_names(ids))
    for number, annotation in enumerate(annotations, start=1):
        where = f"{source}: annotation {number}"
        image_id = _identifier(annotation.get("image_id"), where)
        if image_id not in known:
            problems.append(Problem("error", f"{where}: its image {shown(image_id)} is not in 'images'; add it"))
            continue
        found.setdefault(image_id, []).append((number, annotation))
    pictures = NamedPictures.of(source)
    entries = []
    for number, (image_id, image) in enumerate(zip(ids, images, strict=True), start=1):
        where = f"{source}: image {number}"
        name = image.get("file_name")
        case = named_stem(name) if isinstance(name, str) else None
        try:
            if image_id in repeated:
                raise UserError(f"{where}: id {shown(image_id)} occurs more than once; give each image its own")
            paths = _paths(image, pictures, where)
            if not paths:
                message = f"{where}: {shown(name)} not found below {pictures.root}; add it, until then it is left out"
                problems.append(Problem("warning", message, case))
                continue
            if image_id not in found:
                message = f"{where}: {shown(name)} has no annotation; add it, until then the case is left out"
                problems.append(Problem("warning", message, case))
                continue
            entries.append(_entry(image, found[image_id], keypoints, paths, source, options, where))
        except UserError as error:
            problems.append(Problem("error", str(error), case))
    return Reading(entries, problems, names, spatial_dims=2)


def _objects(document: Mapping[str, Any], key: str, source: Path) -> list[dict[str, Any]]:
    value = document.get(key)
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise UserError(f"{source}: {key!r} is {shown(value)}; it needs a list of objects")
    return value


def _identifier(value: Any, where: str) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise UserError(f"{where}: its id is {shown(value)}; give a number")
    return value


def _keypoints(categories: list[dict[str, Any]], source: Path) -> dict[Any, list[str]]:
    """Names of the keypoints of each category that has any."""
    found: dict[Any, list[str]] = {}
    for number, category in enumerate(categories, start=1):
        where = f"{source}: category {number}"
        listed = category.get("keypoints", [])
        if not isinstance(listed, list) or not all(isinstance(name, str) for name in listed):
            raise UserError(f"{where}: 'keypoints' is {shown(listed)}; give a list of names")
        identifier = _identifier(category.get("id"), where)
        if identifier in found:
            raise UserError(f"{where}: id {shown(identifier)} occurs more than once; give each category its own")
        found[identifier] = listed
    return found


def _numbered(keypoints: dict[Any, list[str]], annotations: list[dict[str, Any]]) -> dict[Any, list[str]]:
    """Names 1, 2, ... for categories whose list of names is empty though their annotations have points (mmpose's)."""
    counts: dict[Any, set[int]] = {}
    for annotation in annotations:
        points, category = annotation.get("keypoints"), annotation.get("category_id")
        if isinstance(points, list) and isinstance(category, int | str):
            counts.setdefault(category, set()).add(len(points))
    found = dict(keypoints)
    for category, names in keypoints.items():
        lengths = counts.get(category, set())
        if not names and len(lengths) == 1 and (length := next(iter(lengths))) % 3 == 0:
            found[category] = [str(number) for number in range(1, length // 3 + 1)]
    return found


def _paths(image: Mapping[str, Any], pictures: NamedPictures, where: str) -> tuple[Path, ...]:
    """The picture, or one for each channel; empty where one of them is not there."""
    names = image.get("file_names", [image.get("file_name")])
    if not isinstance(names, list) or not names:
        raise UserError(f"{where}: 'file_name' is {shown(image.get('file_name'))}; give the name of its picture")
    found = [pictures.find(name, where, "'file_name'") for name in names]
    return () if None in found else tuple(path for path in found if path is not None)


def _entry(  # noqa: PLR0917 - all that a case is made of
    image: Mapping[str, Any],
    annotations: list[tuple[int, dict[str, Any]]],
    keypoints: Mapping[Any, list[str]],
    paths: tuple[Path, ...],
    source: Path,
    options: ReadOptions,
    where: str,
) -> Entry:
    header = options.header(paths)
    rows: list[tuple[str, Value]] = []
    for number, annotation in annotations:
        here = f"{source}: annotation {number}"
        category = _identifier(annotation.get("category_id"), here)
        if category not in keypoints:
            raise UserError(f"{here}: category {shown(category)} is not in 'categories'; add it")
        rows += _rows(annotation, keypoints[category], header, here)
    extra = {
        key: "" if image.get(key) is None else str(shown_key(image[key], where)) for key in ("split", "fold", "group")
    }
    split, fold, group = placement(extra, where)
    return Entry(
        name=named_stem(str(image.get("case") or paths[0].name)),
        image=paths,
        landmarks=landmark_set(rows, spatial_dims=2, many=options.many, where=where),
        label=where,
        split=split,
        fold=fold,
        group=group,
    )


def shown_key(value: Any, where: str) -> str | int:
    """A split, fold or group, which is text or a number.

    Raises:
        UserError: It is something else.
    """
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise UserError(f"{where}: split, fold or group is {shown(value)}; give a text or a number")
    return value if isinstance(value, str) else shown(value)


def _rows(annotation: Mapping[str, Any], names: list[str], header: Header, where: str) -> list[tuple[str, Value]]:
    if names and "keypoints" not in annotation:
        raise UserError(
            f"{where}: has no 'keypoints', its category has {len(names)}; add them or remove the annotation"
        )
    numbers = annotation.get("keypoints", [])
    if not isinstance(numbers, list) or len(numbers) != 3 * len(names):
        count = len(numbers) if isinstance(numbers, list) else shown(numbers)
        raise UserError(f"{where}: 'keypoints' has {count} numbers; give x, y and v for each of {len(names)} keypoints")
    absent = annotation.get("absent", [])
    if not isinstance(absent, list) or any(name not in names for name in absent):
        raise UserError(f"{where}: 'absent' is {shown(absent)}; give names of keypoints of its category")
    rows: list[tuple[str, Value]] = []
    for place, name in enumerate(names):
        x, y, visibility = numbers[3 * place : 3 * place + 3]
        if isinstance(visibility, bool) or visibility not in (0, 1, 2):
            raise UserError(f"{where}: keypoint {name!r} has visibility {shown(visibility)}; allowed are 0, 1 and 2")
        if visibility == _UNLABELLED:
            rows.append((name, "absent" if name in absent else "unknown"))
            continue
        pixel = json_point([x, y], 2, f"{where}: keypoint {name!r}")
        rows.append((name, voxel_to_world(header, np.array([pixel]))[0].tolist()))
    return rows


def write_coco(target: Target) -> None:
    """Write ``coco.json``."""
    many = {name for case in target.cases for name in target.landmarks(case).instances}
    many |= set(target.dataset.properties.many)
    single = [name for name in target.dataset.names if name not in many]
    groups = [("landmarks", single)] if single else []
    groups += [(name, [name]) for name in target.dataset.names if name in many]
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for image_id, case in enumerate(target.cases, start=1):
        header = target.header(case)
        paths = target.image_paths(case)
        image: dict[str, Any] = {"id": image_id, "file_name": paths[0], "case": target.stem(case)}
        image |= {"width": header.shape[0], "height": header.shape[1], "split": case.split}
        image |= {"file_names": paths} if len(paths) > 1 else {}
        image |= {key: value for key, value in (("fold", case.fold), ("group", case.group)) if value is not None}
        images.append(image)
        values: dict[str, list[Value]] = {}
        for name, value in rows_of(target.landmarks(case)):
            values.setdefault(name, []).append(value)
        for category, (_, names) in enumerate(groups, start=1):
            for number in range(max((len(values.get(name, ())) for name in names), default=0)):
                shown_values = {name: values[name][number] for name in names if name in values}
                common = {"id": len(annotations) + 1, "image_id": image_id, "category_id": category}
                annotations.append(common | _annotation(shown_values, names, header))
    categories = [
        {"id": number, "name": name, "supercategory": "landmarks", "keypoints": names, "skeleton": []}
        for number, (name, names) in enumerate(groups, start=1)
    ]
    target.write_json({"images": images, "annotations": annotations, "categories": categories}, FILE_NAME)


def _annotation(values: Mapping[str, Value], names: list[str], header: Header) -> dict[str, Any]:
    numbers: list[float] = []
    points = []
    for name in names:
        value = values.get(name, "unknown")
        if isinstance(value, str):
            numbers += [0, 0, _UNLABELLED]
            continue
        pixel = world_to_voxel(header, np.array([value]))[0]
        points.append(pixel)
        numbers += [*pixel.tolist(), _VISIBLE]
    low = np.min(points, axis=0) if points else np.zeros(2)
    size = (np.max(points, axis=0) - low) if points else np.zeros(2)
    return {
        "keypoints": numbers,
        "num_keypoints": len(points),
        "bbox": [*low.tolist(), *size.tolist()],
        "area": float(np.prod(size)),
        "iscrowd": 0,
        "absent": [name for name in names if values.get(name) == "absent"],
    }
