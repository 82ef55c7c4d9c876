"""Move landmarks to where a person clicked, and add to those of which an image may have any number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from auto_config.bundle_scripts.grid.grids import apply_affine

from ..core.errors import ClientError
from ..core.names import NONE_MANY, Many
from ..store.known import KnownPoint

BACKGROUND = "background"
"""What clients send clicks of under this name, which no landmark has."""


def read_clicks(
    request: Mapping[str, Any], names: Sequence[str], shape: Sequence[int], many: Many = NONE_MANY
) -> dict[str, np.ndarray]:
    """The last click of each landmark, and all clicks of those of which an image may have any number.

    Clients send ``{landmark name: [[i, j, k], ...]}`` beside their other parameters. Every list of lists is taken for
    clicks.

    Args:
        request: all parameters of the request.
        names: landmarks of the bundle.
        shape: (I, J, K) voxels of the image.
        many: landmarks of which an image may have any number.

    Returns:
        (N, 3) float64 voxels of the image file for each clicked landmark; N is 1 but for those in `many`.

    Raises:
        ClientError: an unknown name, coordinates that are not three numbers, or a click outside the image.
    """
    clicks: dict[str, np.ndarray] = {}
    for name, value in request.items():
        if name == BACKGROUND or not _is_clicks(value):
            continue
        if name not in names:
            raise ClientError(f"points are given for '{name}', which is none of the landmarks {', '.join(names)}")
        counted = value if name in many else value[-1:]
        clicks[name] = np.stack([_voxel(name, point, shape) for point in counted])
    return clicks


def new_clicks(clicks: np.ndarray, followed: Sequence[Sequence[float]]) -> np.ndarray:
    """The clicks that the newest answer has not followed yet.

    Clients send all clicks of an image again with each new one. If the first of them are those that were followed, only
    the rest is new; else the client has begun anew.

    Args:
        clicks: (N, 3) voxels in the order of the clicks.
        followed: those of the newest answer.
    """
    before = len(followed)
    if 0 < before <= len(clicks) and np.array_equal(clicks[:before], np.asarray(followed, dtype=np.float64)):
        return clicks[before:]
    return clicks


def edited(
    names: Sequence[str],
    clicks: Mapping[str, np.ndarray],
    known: Mapping[str, Sequence[KnownPoint]],
    found: Sequence[dict[str, Any]],
    affine: np.ndarray,
    *,
    many: Many = NONE_MANY,
) -> list[dict[str, Any]]:
    """The landmarks of an image: where they were clicked, else where they were known, else where they are found.

    A click of a landmark in `many` moves the instance that is nearer than its least distance, or else adds one: two
    instances are never so near to each other, so a click so near means the one that is there.

    Args:
        names: landmarks of the bundle; each is in one of the next three.
        clicks: (N, 3) voxels of the image file for each clicked landmark, of which the last counts, or all for those in
            `many`; a click makes an absent landmark present.
        known: what is known of the others.
        found: a bundle's ``result["landmarks"]``.
        affine: (4, 4) voxel of the image file to RAS mm.
        many: landmarks of which an image may have any number, with their least distance in mm.

    Returns:
        In the order of `names`, in the form of ``result["landmarks"]``; ``world`` and ``voxel`` are None for a landmark
        that is known to be absent.
    """
    landmarks: list[dict[str, Any]] = []
    for name in names:
        placed = [KnownPoint(world) for world in apply_affine(affine, clicks[name])] if name in clicks else []
        if placed and name not in many:
            landmarks.append(_described(name, placed[-1], affine))
            continue
        if name in known:
            there = [_described(name, point, affine) for point in known[name]]
        else:
            there = [item for item in found if item["name"] == name]
        landmarks += _with_instances(there, [_described(name, point, affine) for point in placed], many.get(name))
    return landmarks


def _with_instances(
    there: list[dict[str, Any]], placed: Sequence[dict[str, Any]], min_distance_mm: float | None
) -> list[dict[str, Any]]:
    """The instances of a landmark after clicks, numbered; None says that it is no landmark with many."""
    if min_distance_mm is None:
        return there
    instances = [item for item in there if item["present"]]
    for new in placed:
        distances = [float(np.linalg.norm(np.subtract(item["world"], new["world"]))) for item in instances]
        nearest = int(np.argmin(distances)) if distances else 0
        if distances and distances[nearest] < min_distance_mm:
            instances[nearest] = new
        else:
            instances.append(new)
    return [{**item, "instance": number} for number, item in enumerate(instances or there, start=1)]


def _described(name: str, point: KnownPoint, affine: np.ndarray) -> dict[str, Any]:
    world = voxel = None
    if point.world is not None:
        world = [float(x) for x in point.world]
        voxel = [float(x) for x in apply_affine(np.linalg.inv(affine), point.world[None])[0]]
    return {
        "name": name,
        "world": world,
        "voxel": voxel,
        "confidence": point.confidence,
        "present": int(point.world is not None),
        "radius_mm": point.radius_mm,
    }


def _is_clicks(value: Any) -> bool:
    return isinstance(value, list) and len(value) > 0 and all(isinstance(point, list) for point in value)


def _voxel(name: str, point: list[Any], shape: Sequence[int]) -> np.ndarray:
    numbers = all(isinstance(x, int | float) and not isinstance(x, bool) and np.isfinite(x) for x in point)
    if len(point) != 3 or not numbers:
        raise ClientError(f"the point {point} of '{name}' is not [i, j, k], a voxel of the image")
    voxel = np.array(point, dtype=np.float64)
    if not ((voxel >= -0.5) & (voxel < np.asarray(shape) - 0.5)).all():
        limits = " x ".join(f"0..{size - 1}" for size in shape)
        raise ClientError(f"the point {point} of '{name}' is outside of the image, whose voxels are {limits}")
    return voxel
