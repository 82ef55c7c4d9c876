"""``configs/landmarks.json``: names, and what is known of each landmark. Names never stand in an expression."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from auto_config.bundle_scripts.grid.grids import apply_affine
from auto_config.bundle_scripts.points.landmarks import unique_slugs
from auto_config.datasets.images import read_header
from auto_config.datasets.model.dataset import Case


def landmark_table(
    names: Sequence[str],
    pairs: Sequence[Sequence[int]],
    training: Sequence[Case],
    spatial_dims: int,
    instances: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The content of ``configs/landmarks.json``.

    Args:
        names: in channel order.
        pairs: left-right pairs of indices.
        training: the training cases.
        spatial_dims: 2 or 3.
        instances: the plan's decision of that name; None for none.

    Returns:
        ``{"spatial_dims", "landmarks": [{"name", "slug", "pair", "exchangeable", "instances", "mean_offset_mm"}]}``;
        ``mean_offset_mm`` (D,) is the mean over the training cases of point minus centre of the image, world mm, or
        null where no case has the landmark; ``instances`` is ``"one"`` or ``"many"``, which adds ``most_instances``.
        ``min_distance_mm`` is there where two peaks of a landmark or of a pair have to be told apart, ``match_mm``,
        within which an instance counts as found, where there are many.
    """
    several = _several(names, instances or {"many": [], "exchangeable": []})
    partner = {i: j for pair in pairs for i, j in (tuple(pair), tuple(pair)[::-1])}
    offsets = mean_offsets(names, training, spatial_dims)
    slugs = unique_slugs(names)
    return {
        "spatial_dims": spatial_dims,
        "landmarks": [
            {
                "name": name,
                "slug": slugs[i],
                "pair": names[partner[i]] if i in partner else None,
                **{"exchangeable": None, "instances": "one", **several.get(i, {})},
                "mean_offset_mm": _numbers(offsets[i]) if several.get(i, {}).get("instances") != "many" else None,
            }
            for i, name in enumerate(names)
        ],
    }


def _numbers(offset: np.ndarray) -> list[float] | None:
    return [round(float(x), 4) for x in offset] if np.isfinite(offset).all() else None


def _several(names: Sequence[str], instances: Mapping[str, Any]) -> dict[int, dict[str, Any]]:
    """What the table says of landmarks with many instances and of exchangeable pairs, by index."""
    found: dict[int, dict[str, Any]] = {}
    for one in instances["many"]:
        found[one["landmark"]] = {
            "instances": "many",
            "most_instances": one["rows"],
            "min_distance_mm": one["min_distance_mm"],
            "match_mm": one["match_mm"],
        }
    for one in instances["exchangeable"]:
        for index, other in (one["landmarks"], one["landmarks"][::-1]):
            found[index] = {"exchangeable": names[other], "min_distance_mm": one["min_distance_mm"]}
    return found


def mean_offsets(names: Sequence[str], training: Sequence[Case], spatial_dims: int) -> np.ndarray:
    """Mean of point minus image centre over cases, ``(L, D)`` mm, NaN where no case has the landmark."""
    total = np.zeros((len(names), spatial_dims))
    count = np.zeros((len(names), 1))
    for case in training:
        if case.landmarks is None:
            continue
        header = read_header(case.image[0], case.pixel_spacing)
        center = apply_affine(header.affine, (np.asarray(header.shape) - 1) / 2)
        points = case.landmarks.ordered(names).points - center
        known = np.isfinite(points).all(axis=1, keepdims=True)
        total += np.where(known, points, 0.0)
        count += known
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
