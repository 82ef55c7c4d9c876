"""What a calibration says of exchangeable pairs and of landmarks of which there are many."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from auto_config.bundle_scripts.points.instances import Instances
from auto_config.bundle_scripts.points.landmark_names import listed
from auto_config.bundle_scripts.points.landmarks import ABSENT, PRESENT
from auto_config.calibration.out_of_fold import OutOfFold


def with_fixed_names(shapes: np.ndarray, instances: Instances) -> np.ndarray:
    """Shapes (N, L, D) with NaN for landmarks whose place does not follow from their name.

    Those of a pair stand in any order, and which of many comes first means nothing, so a shape model would take the
    order for anatomy.
    """
    moved = {*np.flatnonzero(instances.many), *(channel for pair in instances.exchangeable for channel in pair)}
    out = shapes.copy()
    out[:, sorted(moved)] = np.nan
    return out


def detection(decided: np.ndarray, found: OutOfFold, instances: Instances) -> dict[str, dict[str, Any]]:
    """How well the instances of landmarks of which there are many are detected.

    Args:
        decided: (N, R) bool, candidates that count as present.
        found: predictions and truth.
        instances: which rows belong to which landmark.

    Returns:
        By name ``found``, ``missed`` and ``invented`` instances, and their ``f1`` (None where there are none).
    """
    out: dict[str, dict[str, Any]] = {}
    for channel in np.flatnonzero(instances.many):
        rows = np.array(instances.channels) == channel
        status, kept = found.status[:, rows], decided[:, rows]
        hits, invented = int((kept & (status == PRESENT)).sum()), int((kept & (status == ABSENT)).sum())
        missed = int((~kept & (status == PRESENT)).sum() + found.all_missed[:, channel].sum())
        total = 2 * hits + invented + missed
        f1 = 2 * hits / total if total else None
        out[instances.names[channel]] = {"found": hits, "missed": missed, "invented": invented, "f1": f1}
    return out


def detection_lines(found: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What `detection` says, a sentence for each landmark."""
    return [
        f"{name}: {row['found']} of {row['found'] + row['missed']} instances found, {row['invented']} invented"
        + ("" if row["f1"] is None else f", F1 {row['f1']:.3f}")
        for name, row in found.items()
    ]


def rule(instances: Instances, cost: float | None) -> str:
    """How thresholds were chosen."""
    if cost is not None:
        return f"cost {cost:g} of a false landmark"
    of_many = "; of instances the best F1 of detection" if any(instances.many) else ""
    return f"best mean F1 of present and absent{of_many}"


def without_presence(instances: Instances) -> str:
    """Why nothing is learned of presence, and what counts then."""
    if not any(instances.many):
        return "no calibration case lacks a landmark, so every landmark counts as present"
    return (
        "no calibration case lacks a landmark or has an invented instance (or none has a true one), so every landmark "
        "counts as present, and an instance from the confidence on that the training chose"
    )


def instance_notes(instances: Instances) -> list[str]:
    """What the promises mean where two landmarks may change places or there are many of one."""
    notes = []
    if pairs := [" and ".join(instances.names[channel] for channel in pair) for pair in instances.exchangeable]:
        notes.append(f"{listed(pairs)} may change places: each lies in the region of the one that it is matched with")
    if many := [instances.names[channel] for channel in np.flatnonzero(instances.many)]:
        notes.append(
            f"of {listed(many)} an image has any number: regions hold for an instance that is found, drawn at "
            "random, and its error is never above match_mm, within which it was matched; the instances of one "
            "image depend on each other, so the level is kept only about; there are no level sets of them"
        )
    return notes
