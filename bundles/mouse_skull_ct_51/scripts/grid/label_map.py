"""A label map of balls around points: what viewers and MONAI Label's stock app can show of landmarks."""

from __future__ import annotations

import numpy as np

from .grids import apply_affine


def draw_balls(
    points: np.ndarray,
    shape: tuple[int, ...],
    affine: np.ndarray,
    radius_mm: float,
    labels_of: np.ndarray | None = None,
) -> np.ndarray:
    """Label map in which every voxel within ``radius_mm`` of a point carries the number of its nearest point.

    Only the box of each ball is looked at, so the cost does not grow with the image. Where balls touch, they are split
    halfway (Voronoi); a voxel that is equally near to two points goes to the lower number. A point inside the image
    has at least one voxel, however small the radius; a point outside has the part of its ball that reaches in.

    Args:
        points: (L, D) world mm; rows with NaN are not drawn.
        shape: (D,) voxels of the image.
        affine: (D + 1, D + 1), voxel to world mm.
        radius_mm: radius of the balls in world mm, above 0.
        labels_of: (L,) value of each point's ball, where several points are one landmark; ``i + 1`` if None.

    Returns:
        Array of ``shape``, uint8, or uint16 for more than 255 points; 0 is background, landmark ``i`` has ``i + 1``.

    Raises:
        ValueError: the radius is not above 0, or there are more than 65535 points.
    """
    if not radius_mm > 0:
        raise ValueError(f"radius_mm is {radius_mm}, it must be above 0")
    if len(points) > np.iinfo(np.uint16).max:
        raise ValueError(f"{len(points)} landmarks do not fit a label map, at most 65535 do")
    labels = np.zeros(shape, dtype=np.uint8 if len(points) <= np.iinfo(np.uint8).max else np.uint16)
    drawn = np.flatnonzero(np.isfinite(points).all(axis=1))
    if not len(drawn):
        return labels
    balls = [_ball(points[i], shape, affine, radius_mm) for i in drawn]
    voxels = np.concatenate([indices for indices, _ in balls])
    distances = np.concatenate([distance for _, distance in balls])
    values = np.repeat(drawn + 1, [len(indices) for indices, _ in balls])
    nearest_first = np.lexsort((values, distances))
    owned, first = np.unique(voxels[nearest_first], return_index=True)
    owners = values[nearest_first][first]
    labels.reshape(-1)[owned] = owners
    _give_each_a_voxel(labels, np.bincount(owners, minlength=len(points) + 1), points, affine)
    return labels if labels_of is None else np.append(0, labels_of).astype(labels.dtype)[labels]


def _ball(
    point: np.ndarray, shape: tuple[int, ...], affine: np.ndarray, radius_mm: float
) -> tuple[np.ndarray, np.ndarray]:
    """Flat indices of the voxels within ``radius_mm`` of a point, and their distances in mm."""
    inverse = np.linalg.inv(affine)
    center = apply_affine(inverse, point[None])[0]
    # A ball in world mm is an ellipsoid in voxels; its half width along axis i is the length of row i of the inverse.
    reach = radius_mm * np.linalg.norm(inverse[:-1, :-1], axis=1)
    return _near(center, point, reach, shape, affine, limit_mm=radius_mm)


def _near(
    center: np.ndarray,
    point: np.ndarray,
    reach: np.ndarray,
    shape: tuple[int, ...],
    affine: np.ndarray,
    *,
    limit_mm: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Flat indices of the voxels in the box ``center`` +- ``reach`` within ``limit_mm`` of ``point``, and distances."""
    low = np.maximum(np.ceil(center - reach), 0).astype(np.int64)
    high = np.minimum(np.floor(center + reach), np.asarray(shape) - 1).astype(np.int64)
    if (low > high).any():
        return np.zeros(0, dtype=np.int64), np.zeros(0)
    axes = np.meshgrid(*[np.arange(a, b + 1) for a, b in zip(low, high, strict=True)], indexing="ij")
    voxels = np.stack([axis.ravel() for axis in axes], axis=1)
    distances = np.linalg.norm(apply_affine(affine, voxels) - point, axis=1)
    inside = distances <= limit_mm
    return np.ravel_multi_index(tuple(voxels[inside].T), shape), distances[inside]


def _give_each_a_voxel(labels: np.ndarray, counts: np.ndarray, points: np.ndarray, affine: np.ndarray) -> None:
    """Give each point that is inside the image and got no voxel the nearest one that nobody needs.

    Changes ``labels`` and ``counts``, the number of voxels of each value.
    """
    flat = labels.reshape(-1)
    centers = apply_affine(np.linalg.inv(affine), points)
    inside = ((centers >= -0.5) & (centers < np.asarray(labels.shape) - 0.5)).all(axis=1)  # false for NaN
    for i in np.flatnonzero(inside & (counts[1:] == 0)):
        for reach in range(1, max(labels.shape) + 1):
            box = np.full(labels.ndim, float(reach))
            indices, distances = _near(centers[i], points[i], box, labels.shape, affine, limit_mm=np.inf)
            candidates = indices[np.argsort(distances, kind="stable")]
            candidates = candidates[(flat[candidates] == 0) | (counts[flat[candidates]] > 1)]
            if len(candidates):
                counts[flat[candidates[0]]] -= 1
                counts[i + 1] += 1
                flat[candidates[0]] = i + 1
                break
