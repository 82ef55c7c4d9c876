"""Where the landmarks of an image are by the newest knowledge: what was served, or what a person saved after it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from auto_config.bundle_scripts.landmarks import PRESENT, UNKNOWN, LandmarkSet

from .landmark_labels import LandmarkLabels
from .served import served

TAGS = ("final", "original")
"""Tags whose labels are looked at."""


@dataclass(frozen=True)
class KnownPoint:
    """What is known of a landmark.

    Attributes:
        world: (3,) RAS mm; None for a landmark that is absent.
        confidence: of the model; 1 where a person placed the landmark.
        radius_mm: how far off the model thinks it may be; None where it does not say.
    """

    world: np.ndarray | None
    confidence: float = 1.0
    radius_mm: float | None = None


def known_points(store: LandmarkLabels, image_id: str, names: Sequence[str]) -> dict[str, KnownPoint]:
    """The newest knowledge of each landmark of an image; a landmark that nobody has said anything of is not in it.

    Args:
        store: has the labels and the folder of what was served.
        image_id: of the image.
        names: landmarks of a bundle; what other bundles served does not count.
    """
    found: dict[str, KnownPoint] = {}
    sources = [*_served(store, image_id, names), *_saved(store, image_id)]
    for _, points in sorted(sources, key=lambda source: source[0], reverse=True):
        for name in names:
            if name in points:
                found.setdefault(name, points[name])
    return found


def _served(
    store: LandmarkLabels, image_id: str, names: Sequence[str]
) -> Iterator[tuple[float, Mapping[str, KnownPoint]]]:
    """Time and points of each answer that was about these landmarks."""
    for one in served(store.landmark_folder(), image_id):
        if one.landmarks.names == tuple(names):
            yield (
                one.time,
                {
                    name: KnownPoint(point.world, one.confidence.get(name, 1.0), one.calibrated_radius_mm.get(name))
                    for name, point in _points(one.landmarks).items()
                },
            )


def _saved(store: LandmarkLabels, image_id: str) -> Iterator[tuple[float, Mapping[str, KnownPoint]]]:
    """Time and points of each label of the image."""
    for tag in TAGS:
        label = store.canonical(image_id, tag)
        path = store.canonical_path(image_id, tag)
        if label is not None and path.is_file():
            yield path.stat().st_mtime, _points(label)


def _points(landmarks: LandmarkSet) -> dict[str, KnownPoint]:
    return {
        name: KnownPoint(np.asarray(point) if status == PRESENT else None)
        for name, point, status in zip(landmarks.names, landmarks.points, landmarks.status, strict=True)
        if status != UNKNOWN
    }
