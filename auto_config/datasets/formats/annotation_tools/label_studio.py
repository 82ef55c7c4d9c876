"""Label Studio's export "JSON" with key points: a list of tasks, points in percent of the width and height.

0 and 100 percent are the edges of the picture, so that the index of a pixel is ``x / 100 * width - 0.5``. Uploaded
pictures get eight digits before their names (``ab12cd34-0001.png``), which are left out where the name with them is not
found. Shapes that are not key points are passed over with one line.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from auto_config.datasets.formats.shared.entries import Reading
from auto_config.datasets.formats.shared.json_contents import content_of
from auto_config.datasets.formats.shared.listed_points import Listed, Rows, read_listed
from auto_config.datasets.formats.shared.options import ReadOptions
from auto_config.datasets.formats.shared.points import json_point, read_json, shown
from auto_config.datasets.images import IMAGE_SUFFIXES, Header
from auto_config.datasets.model.dataset import Problem
from auto_config.errors import UserError

_POINTS = "keypointlabels"
_UPLOADED = re.compile(r"[0-9a-f]{4,8}-(.+)", re.DOTALL)


def is_label_studio(path: Path) -> bool:
    """Whether a JSON file is a list of tasks."""
    return content_of(path) == "label_studio"


def read_label_studio(source: Path, options: ReadOptions) -> Reading:
    """Read an export of all tasks.

    Raises:
        UserError: The file is no list of tasks.
    """
    tasks = read_json(source)
    if not isinstance(tasks, list) or not all(isinstance(task, dict) for task in tasks):
        raise UserError(f"{source}: is not a list of tasks; export the format 'JSON' from Label Studio")
    listed = [_listed(task, f"{source}: task {number}") for number, task in enumerate(tasks, start=1)]
    reading = read_listed(source, listed, options)
    others = sorted({kind for task in tasks for kind in _other_kinds(task)})
    if others:
        message = f"{source}: holds {', '.join(others)[:200]}, which are no landmarks; they are passed over"
        reading.problems.append(Problem("warning", message))
    return reading


def _listed(task: Mapping[str, Any], where: str) -> Listed:
    return Listed(where, _names(task), "its picture", partial(_rows, task, where))


def _names(task: Mapping[str, Any]) -> tuple[object, ...]:
    """Names that the picture of a task may have, of the addresses in ``data`` and of the uploaded file."""
    data = task.get("data")
    addresses = [value for value in data.values() if isinstance(value, str)] if isinstance(data, Mapping) else []
    files = [_file_of(address) for address in addresses]
    pictures = [file for file in files if file.lower().endswith(IMAGE_SUFFIXES)]
    if isinstance(task.get("file_upload"), str):
        pictures.append(task["file_upload"])
    short = [match[1] for name in pictures if (match := _UPLOADED.fullmatch(name.replace("\\", "/").split("/")[-1]))]
    return tuple(dict.fromkeys([*pictures, *short]))


def _file_of(address: str) -> str:
    """The path in an address: ``/data/local-files/?d=a/b.png``, ``s3://...``, ``/data/upload/1/b.png``."""
    try:
        parts = urlsplit(address)
        inner = parse_qs(parts.query).get("d")
    except ValueError:
        return address
    return (inner[0] if inner else unquote(parts.path)).lstrip("/")


def _annotations(task: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Annotations that were not cancelled; the one that is marked as ground truth, if there is one."""
    found = task.get("annotations", task.get("completions"))
    valid = [one for one in found if isinstance(one, Mapping)] if isinstance(found, list) else []
    valid = [one for one in valid if one.get("was_cancelled") is not True]
    return [one for one in valid if one.get("ground_truth") is True] or valid


def _results(annotation: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    results = annotation.get("result")
    return [one for one in results if isinstance(one, Mapping)] if isinstance(results, list) else []


def _other_kinds(task: Mapping[str, Any]) -> list[str]:
    kinds = [one.get("type") for annotation in _annotations(task) for one in _results(annotation)]
    return [kind for kind in kinds if isinstance(kind, str) and kind != _POINTS]


def _rows(task: Mapping[str, Any], where: str, header: Header) -> Rows:
    annotations = _annotations(task)
    if len(annotations) > 1:
        raise UserError(
            f"{where}: has {len(annotations)} annotations; mark one as ground truth in Label Studio, or keep one"
        )
    rows: Rows = []
    for number, result in enumerate(_results(annotations[0]) if annotations else [], start=1):
        if result.get("type") != _POINTS:
            continue
        here = f"{where}: result {number}"
        value = result.get("value")
        labels = value.get(_POINTS) if isinstance(value, Mapping) else None
        if not isinstance(value, Mapping) or not isinstance(labels, list) or len(labels) != 1:
            raise UserError(f"{here}: its labels are {shown(labels)}; give each key point one label")
        if not isinstance(labels[0], str):
            raise UserError(f"{here}: its label is {shown(labels[0])}; give it the landmark's name")
        _check_picture(result, header, here)
        percent = json_point([value.get("x"), value.get("y")], 2, here)
        pixel = [part / 100 * size - 0.5 for part, size in zip(percent, header.shape, strict=True)]
        if not all(map(math.isfinite, pixel)):
            raise UserError(f"{here}: point is {shown(percent)}; give percent of the picture")
        rows.append((labels[0], pixel))
    return rows


def _check_picture(result: Mapping[str, Any], header: Header, where: str) -> None:
    if result.get("image_rotation") not in (None, 0):
        raise UserError(
            f"{where}: was set on the picture turned by {shown(result['image_rotation'])} degrees; turn it back"
        )
    size = (result.get("original_width"), result.get("original_height"))
    if size != (None, None) and size != tuple(header.shape):
        raise UserError(
            f"{where}: was set on a picture of {shown(size[0])} x {shown(size[1])} pixels, {header.path.name} has "
            f"{header.shape[0]} x {header.shape[1]}; give the picture that was annotated"
        )
