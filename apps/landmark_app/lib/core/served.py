"""What was served: the sub-voxel points of each image and model, kept on disk beside the studies.

A client that shows balls gives back voxels. With the points that the balls were drawn around, a ball that nobody
touched gets its sub-voxel point back (`balls`), a ball that is gone is a landmark that the annotator removed
(`label_forms`), and the confidences order the images that are still to be annotated (`strategies`).

Each record is a file of its own, ``.served/IMAGE/STAMP.json``: records of several threads and processes (the server, a
batch inference) never meet, and a kill leaves whole files only.
"""

from __future__ import annotations

import json
import math
import re
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from auto_config.bundle_scripts.files.text import atomic_write_text
from auto_config.bundle_scripts.points.landmarks import ABSENT, PRESENT, LandmarkSet

FOLDER = ".served"
"""Folder of the records, in the folder of the data store."""
KEPT = 16
"""Newest records that are kept of an image: each click in a viewer makes one."""

_NUMBERS = ("confidence", "radius_mm", "spread_mm", "disagreement_mm")
_SAFE_ID = re.compile(r"[^./\\\x00-\x1f][^/\\\x00-\x1f]{0,199}")  # the name of one folder, not hidden


@dataclass(frozen=True)
class Served:
    """The landmarks of one answer of the server.

    Args:
        model: The model that gave them, as the client named it.
        landmarks: The points in the order of the bundle's names, world RAS mm; absent where the model said so.
        confidence: Of each landmark, by name; only where the model gave one. The mean, where it has many instances.
        uncertainty_mm: Of each landmark, by name: the largest of its ``radius_mm``, ``spread_mm`` (of the heatmap) and
            ``disagreement_mm`` (between the networks of an ensemble); only where the model gave one of them. The mean,
            where it has many instances.
        radius_mm: Radius of the balls that were drawn, in mm.
        calibrated_radius_mm: ``radius_mm`` of each landmark, by name: how far off it may be; only where the model
            gave one, and none where the case has failed.
        time: When it was served, seconds since 1970.
        instance_confidence: Of each instance of a landmark with many, by name, where the model gave it of all.
        clicks: Voxels that were clicked for each landmark with many instances, and that the answer has followed.
        verdict: ``ok``, ``check`` or ``failed``, as the model said of the image; empty where it said nothing.
    """

    model: str
    landmarks: LandmarkSet
    confidence: Mapping[str, float]
    uncertainty_mm: Mapping[str, float]
    radius_mm: float
    calibrated_radius_mm: Mapping[str, float]
    time: float
    instance_confidence: Mapping[str, Sequence[float]] = field(default_factory=dict)
    clicks: Mapping[str, Sequence[Sequence[float]]] = field(default_factory=dict)
    verdict: str = ""


def record(
    datastore_folder: str | Path,
    image_id: str,
    model: str,
    landmarks: Sequence[Mapping[str, Any]],
    radius_mm: float,
    *,
    clicks: Mapping[str, Sequence[Sequence[float]]] | None = None,
    verdict: str = "",
) -> None:
    """Keep what is served, so that it is known again when it comes back.

    Args:
        datastore_folder: `LandmarkLabels.landmark_folder()` of the data store.
        image_id: Id of the image in the data store.
        model: Name of the model that the client asked for.
        landmarks: ``result["landmarks"]`` of a bundle in the order of its names: ``name``, ``world`` (RAS mm),
            ``confidence``, ``present``, ``radius_mm`` and, where the bundle gives them, ``spread_mm``,
            ``disagreement_mm`` and ``instance``.
        radius_mm: Radius of the balls that are drawn around the points, in mm.
        clicks: Voxels that were clicked for each landmark with many instances.
        verdict: Of the model on the image.

    Raises:
        ValueError: an id that cannot be a file name, or landmarks that are not what a bundle gives.
    """
    folder = _folder(datastore_folder, image_id)
    now = time.time_ns()
    kept = [
        {key: item.get(key) for key in ("name", "world", "present", "instance", *_NUMBERS) if item.get(key) is not None}
        for item in landmarks
    ]
    content = {
        "model": model,
        "time": now / 1e9,
        "radius_mm": float(radius_mm),
        "landmarks": kept,
        "clicks": dict(clicks or {}),
        **({"verdict": verdict} if verdict else {}),
    }
    _parse(content)  # what cannot be read again is not written
    folder.mkdir(parents=True, exist_ok=True)
    # Twenty digits sort as the numbers do; the tail keeps two records of one moment apart.
    atomic_write_text(folder / f"{now:020d}-{uuid.uuid4().hex[:8]}.json", json.dumps(content, allow_nan=False))
    for old in _files(folder)[KEPT:]:
        old.unlink(missing_ok=True)


def served(datastore_folder: str | Path, image_id: str) -> list[Served]:
    """The records of an image, newest first; a file that is not one (damaged by hand) is left out.

    Args:
        datastore_folder: As `record` was given it.
        image_id: Id of the image; one that cannot be a file name has no records.
    """
    if not _SAFE_ID.fullmatch(image_id):
        return []
    found = (_read(path) for path in _files(_folder(datastore_folder, image_id)))
    return [one for one in found if one is not None]


def forget(datastore_folder: str | Path, image_id: str) -> None:
    """Remove all records of an image, when the image itself is removed."""
    folder = _folder(datastore_folder, image_id)
    for path in _files(folder):
        path.unlink(missing_ok=True)
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def _folder(datastore_folder: str | Path, image_id: str) -> Path:
    if not _SAFE_ID.fullmatch(image_id):
        raise ValueError(f"image id {image_id!r} cannot be a file name; rename the image")
    return Path(datastore_folder) / FOLDER / image_id


def _files(folder: Path) -> list[Path]:
    """Record files, newest first."""
    return sorted(folder.glob("*.json"), reverse=True)


def _read(path: Path) -> Served | None:
    try:
        return _parse(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _parse(content: Mapping[str, Any]) -> Served:
    """Read a record; raises ValueError, KeyError or TypeError for anything else."""
    items = content["landmarks"]
    names = [str(item["name"]) for item in items]
    many = {name for name, item in zip(names, items, strict=True) if "instance" in item}
    status = [PRESENT if item.get("present", 1) else ABSENT for item in items]
    dims = len(items[0]["world"]) if items else 3
    points = np.array([[float(x) for x in item["world"]] for item in items]).reshape(len(items), dims)
    numbers = [{key: float(item[key]) for key in _NUMBERS if key in item} for item in items]
    for name, one in zip(names, numbers, strict=True):
        if not all(math.isfinite(value) for value in one.values()):
            raise ValueError(f"landmark {name!r} has numbers that are not finite: {one}")
    radius_mm = float(content["radius_mm"])
    if not (math.isfinite(radius_mm) and radius_mm > 0):
        raise ValueError(f"radius_mm is {radius_mm}, it must be above 0")
    confidences = _by_name(names, [one.get("confidence") for one in numbers])
    landmarks = LandmarkSet.from_rows(names, points, status, many)
    shown = [landmarks.names[index] for index, *_ in landmarks.rows()]
    verdict = str(content.get("verdict", ""))
    lengths = [max((value for key, value in one.items() if key.endswith("_mm")), default=None) for one in numbers]
    return Served(
        model=str(content["model"]),
        landmarks=landmarks,
        confidence={name: float(np.mean(values)) for name, values in confidences.items()},
        uncertainty_mm={name: float(np.mean(values)) for name, values in _by_name(names, lengths).items()},
        radius_mm=radius_mm,
        calibrated_radius_mm={
            name: one["radius_mm"]
            for name, one in zip(names, numbers, strict=True)
            if "radius_mm" in one and verdict != "failed"
        },
        time=float(content["time"]),
        instance_confidence={
            name: values for name, values in confidences.items() if name in many and len(values) == shown.count(name)
        },
        clicks={
            str(name): [[float(x) for x in voxel] for voxel in voxels]
            for name, voxels in content.get("clicks", {}).items()
        },
        verdict=verdict,
    )


def _by_name(names: Sequence[str], values: Sequence[float | None]) -> dict[str, list[float]]:
    """The values that there are of each name."""
    found: dict[str, list[float]] = {}
    for name, value in zip(names, values, strict=True):
        if value is not None:
            found.setdefault(name, []).append(value)
    return found
