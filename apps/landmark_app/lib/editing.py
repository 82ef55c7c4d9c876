"""Move landmarks to where a person clicked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from auto_config.bundle_scripts.grids import apply_affine

from .errors import ClientError

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


def moved(
    landmarks: Sequence[dict[str, Any]], clicks: Mapping[str, np.ndarray], affine: np.ndarray
) -> list[dict[str, Any]]:
    """The landmarks with the clicked ones at their clicks; a click makes an absent landmark present.

    Args:
        landmarks: a bundle's ``result["landmarks"]``.
        clicks: (3,) voxel of the image file for each clicked landmark.
        affine: (4, 4) voxel of the image file to RAS mm.
    """
    return [
        describe(item["name"], apply_affine(affine, clicks[item["name"]][None])[0], affine)
        if item["name"] in clicks
        else item
        for item in landmarks
    ]


def describe(name: str, world: np.ndarray, affine: np.ndarray) -> dict[str, Any]:
    """A landmark that a person placed, with the keys that clients read.

    Args:
        name: of the landmark.
        world: (3,) RAS mm.
        affine: (4, 4) voxel of the image file to RAS mm.
    """
    voxel = apply_affine(np.linalg.inv(affine), world[None])[0]
    return {
        "name": name,
        "world": [float(x) for x in world],
        "voxel": [float(x) for x in voxel],
        "confidence": 1.0,
        "present": 1,
        "radius_mm": None,
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
