"""Where the landmarks of an image are by the newest knowledge: what was served, or what a person saved after it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from auto_config.bundle_scripts.points.landmarks import PRESENT, UNKNOWN, LandmarkSet

from ..core.served import Served, served
from .landmark_labels import LandmarkLabels

TAGS = ("final", "original")
"""Tags whose labels are looked at."""


@dataclass(frozen=True)
class KnownPoint:
    """What is known of a landmark, or of one of its instances.

    Attributes:
        world: (3,) RAS mm; None for a landmark that is absent.
        confidence: of the model; 1 where a person placed the landmark.
        radius_mm: how far off the model thinks it may be; None where it does not say.
        saved: whether it is of a label that a person saved as final.
    """

    world: np.ndarray | None
    confidence: float = 1.0
    radius_mm: float | None = None
    saved: bool = False


@dataclass(frozen=True)
class Known:
    """What is known of an image.

    Attributes:
        points: name to its points: one, or as many as it has instances; a landmark that nobody has said anything of is
            not in it.
        clicks: those that the newest answer has followed already, by name; only of landmarks with many instances.
    """

    points: Mapping[str, Sequence[KnownPoint]] = field(default_factory=dict)
    clicks: Mapping[str, Sequence[Sequence[float]]] = field(default_factory=dict)


def known_points(store: LandmarkLabels, image_id: str, names: Sequence[str]) -> Known:
    """The newest knowledge of each landmark of an image.

    Args:
        store: has the labels and the folder of what was served.
        image_id: of the image.
        names: landmarks of a bundle; what other bundles served does not count.
    """
    found: dict[str, list[KnownPoint]] = {}
    answers = [one for one in served(store.landmark_folder(), image_id) if one.landmarks.names == tuple(names)]
    sources = [*((one.time, _served(one)) for one in answers), *_saved(store, image_id)]
    for _, points in sorted(sources, key=lambda source: source[0], reverse=True):
        for name in names:
            if name in points:
                found.setdefault(name, points[name])
    return Known(found, answers[0].clicks if answers else {})


def _served(one: Served) -> dict[str, list[KnownPoint]]:
    """The points of an answer, with what it said of them."""
    found = {}
    for name, points in _points(one.landmarks).items():
        confidence = one.instance_confidence.get(name) or [one.confidence.get(name, 1.0)] * len(points)
        radius = one.calibrated_radius_mm.get(name)
        found[name] = [KnownPoint(point.world, value, radius) for point, value in zip(points, confidence, strict=True)]
    return found


def _saved(store: LandmarkLabels, image_id: str) -> Iterator[tuple[float, dict[str, list[KnownPoint]]]]:
    """Time and points of each label of the image."""
    for tag in TAGS:
        label = store.canonical(image_id, tag)
        path = store.canonical_path(image_id, tag)
        if label is not None and path.is_file():
            yield path.stat().st_mtime, _points(label, saved=tag == "final")


def _points(landmarks: LandmarkSet, *, saved: bool = False) -> dict[str, list[KnownPoint]]:
    found: dict[str, list[KnownPoint]] = {}
    for index, point, status in landmarks.rows():
        if status != UNKNOWN:
            world = np.asarray(point) if status == PRESENT else None
            found.setdefault(landmarks.names[index], []).append(KnownPoint(world, saved=saved))
    return found
