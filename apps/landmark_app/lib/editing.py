"""Move landmarks to where a person clicked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from auto_config.bundle_scripts.grids import apply_affine

from .errors import ClientError
from .known import KnownPoint

BACKGROUND = "background"
"""What clients send clicks of under this name, which no landmark has."""


def read_clicks(request: Mapping[str, Any], names: Sequence[str], shape: Sequence[int]) -> dict[str, np.ndarray]:
    """The last click of each landmark.

    Clients send ``{landmark name: [[i, j, k], ...]}`` beside their other parameters. Every list of lists is taken for
    clicks.

    Args:
        request: all parameters of the request.
        names: landmarks of the bundle.
        shape: (I, J, K) voxels of the image.

    Returns:
        (3,) float64 voxel of the image file for each clicked landmark.

    Raises:
        ClientError: an unknown name, coordinates that are not three numbers, or a click outside the image.
    """
    clicks: dict[str, np.ndarray] = {}
    for name, value in request.items():
        if name == BACKGROUND or not _is_clicks(value):
            continue
        if name not in names:
            raise ClientError(f"points are given for '{name}', which is none of the landmarks {', '.join(names)}")
        clicks[name] = _last(name, value[-1], shape)
    return clicks


def edited(
    names: Sequence[str],
    clicks: Mapping[str, np.ndarray],
    known: Mapping[str, KnownPoint],
    found: Sequence[dict[str, Any]],
    affine: np.ndarray,
) -> list[dict[str, Any]]:
    """The landmarks of an image: where they were clicked, else where they were known, else where they are found.

    Args:
        names: landmarks of the bundle; each is in one of the next three.
        clicks: (3,) voxel of the image file for each clicked landmark; a click makes an absent landmark present.
        known: what is known of the others.
        found: a bundle's ``result["landmarks"]``.
        affine: (4, 4) voxel of the image file to RAS mm.

    Returns:
        In the order of `names`, in the form of ``result["landmarks"]``; ``world`` and ``voxel`` are None for a landmark
        that is known to be absent.
    """
    by_name = {item["name"]: item for item in found}
    placed = {name: KnownPoint(apply_affine(affine, voxel[None])[0]) for name, voxel in clicks.items()}
    points = {**known, **placed}
    return [_described(name, points[name], affine) if name in points else by_name[name] for name in names]


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


def _last(name: str, point: list[Any], shape: Sequence[int]) -> np.ndarray:
    numbers = all(isinstance(x, int | float) and not isinstance(x, bool) and np.isfinite(x) for x in point)
    if len(point) != 3 or not numbers:
        raise ClientError(f"the point {point} of '{name}' is not [i, j, k], a voxel of the image")
    voxel = np.array(point, dtype=np.float64)
    if not ((voxel >= -0.5) & (voxel < np.asarray(shape) - 0.5)).all():
        limits = " x ".join(f"0..{size - 1}" for size in shape)
        raise ClientError(f"the point {point} of '{name}' is outside of the image, whose voxels are {limits}")
    return voxel
