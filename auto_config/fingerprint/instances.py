"""What the training cases say of landmarks with many instances and of exchangeable pairs: numbers and distances."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from auto_config.datasets.model.dataset import Case, present_points
from auto_config.datasets.model.properties import Properties


def many_numbers(names: Sequence[str], properties: Properties, cases: Sequence[Case]) -> list[dict[str, Any]]:
    """For each landmark declared as many its largest count in one case, its smallest and its usual distance.

    Args:
        names: landmark names in their order.
        properties: what is declared.
        cases: the cases that count.

    Returns:
        ``[{"landmark": index, "most": count, "nearest_mm", "typical_mm"}]``: the smallest, and the median, distance of
        an instance to its nearest neighbour in the same case; None where no case has two.
    """
    found = []
    for index, name in enumerate(names):
        if name not in properties.many:
            continue
        sets = [
            case.landmarks.instances[name]
            for case in cases
            if case.landmarks is not None and name in case.landmarks.instances
        ]
        nearest = [mm for points in sets if len(points) > 1 for mm in nearest_distances(points)]
        found.append(
            {
                "landmark": index,
                "most": max(map(len, sets), default=0),
                "nearest_mm": round(min(nearest), 4) if nearest else None,
                "typical_mm": round(float(np.median(nearest)), 4) if nearest else None,
            }
        )
    return found


def exchangeable_numbers(
    names: Sequence[str], properties: Properties, cases: Sequence[Case], spatial_dims: int
) -> list[dict[str, Any]]:
    """For each exchangeable pair the smallest distance of its two points; arguments as above.

    Returns:
        ``[{"landmarks": [index, index], "nearest_mm": mm or None}]``; a pair with a landmark of many is left out.
    """
    rows = {name: index for index, name in enumerate(names)}
    found = []
    for pair in properties.exchangeable:
        if not set(pair) <= rows.keys() - set(properties.many):
            continue
        points = [present_points(case, pair, spatial_dims) for case in cases]
        lengths = [float(np.linalg.norm(one[0] - one[1])) for one in points if np.isfinite(one).all()]
        nearest = round(min(lengths), 4) if lengths else None
        found.append({"landmarks": sorted(rows[name] for name in pair), "nearest_mm": nearest})
    return found


def nearest_distances(points: np.ndarray) -> list[float]:
    """Distance of each of the points ``(K, D)``, K at least 2, to the nearest other one."""
    apart = np.linalg.norm(points[:, None] - points[None], axis=-1)
    apart[np.eye(len(points), dtype=bool)] = np.inf
    return [float(mm) for mm in apart.min(axis=1)]
