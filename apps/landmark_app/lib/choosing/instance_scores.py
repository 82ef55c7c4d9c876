"""How many instances of a landmark had to be moved, added and removed, where an image may have any number of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from auto_config.bundle_scripts.points.landmarks import UNKNOWN, LandmarkSet
from auto_config.bundle_scripts.points.matching import distances, match


@dataclass(frozen=True, eq=False)
class InstanceCount:
    """What was offered of a landmark in one image, and what a person saved.

    Args:
        errors: (M,) mm between the instances that were matched one to one.
        offered: Number of instances that a model found.
        true: Number of instances that a person saved.
    """

    errors: np.ndarray
    offered: int
    true: int


def count_instances(truth: LandmarkSet, offered: LandmarkSet, limit_mm: float) -> dict[str, InstanceCount]:
    """Match the instances of an image one to one, as many as possible and then with the smallest sum of distances.

    Args:
        truth: What a person saved, world mm.
        offered: What a model found, world mm.
        limit_mm: Largest distance of a match.

    Returns:
        By name, for the landmarks with any number of instances that the person said something about.
    """
    found = offered.ordered(truth.names)
    counts = {}
    for index, name in enumerate(truth.names):
        if name not in truth.instances or truth.status[index] == UNKNOWN:
            continue
        # A model of another bundle may have one of it only.
        one = found.points[[index]][[bool(found.present[index])]]
        points = found.instances.get(name, one)
        rows, columns = match(points, truth.instances[name], limit_mm)
        errors = distances(points, truth.instances[name])[rows, columns]
        counts[name] = InstanceCount(errors, len(points), len(truth.instances[name]))
    return counts


def instance_scores(counts: Sequence[InstanceCount]) -> dict[str, Any]:
    """The numbers of some images and landmarks, as JSON.

    Returns:
        ``precision``, ``recall`` and ``f1`` (0 to 1, None where there is nothing to count), ``found``, ``missed`` and
        ``invented`` (numbers of instances), and ``mre_mm`` of those found (None without any).
    """
    errors = np.concatenate([np.zeros(0), *(count.errors for count in counts)])
    found = int(errors.size)
    offered, true = sum(count.offered for count in counts), sum(count.true for count in counts)
    return {
        "precision": found / offered if offered else None,
        "recall": found / true if true else None,
        "f1": 2 * found / (offered + true) if offered + true else None,
        "found": found,
        "missed": true - found,
        "invented": offered - found,
        "mre_mm": float(errors.mean()) if found else None,
    }
