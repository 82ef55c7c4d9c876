"""How much annotators had to correct: radial errors between the labels ``original`` and ``final``."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.tasks.scoring import ScoringMethod

from auto_config.bundle_scripts.points.landmarks import ABSENT, PRESENT, LandmarkSet

from ..core.errors import ClientError
from ..core.requests import tag as checked_tag
from ..store.landmark_labels import FINAL, ORIGINAL, LandmarkLabels
from .instance_scores import InstanceCount, count_instances, instance_scores

logger = logging.getLogger(__name__)

THRESHOLDS_MM = (2.0, 2.5, 3.0, 4.0)
MATCH_MM = max(THRESHOLDS_MM)
"""Instances farther apart are not matched."""
INFO_KEY = "landmark_error"
"""Under which an image's scores are in its info."""


class LandmarkError(ScoringMethod):
    """Mean radial error (MRE, mm) and success rates (SDR, percent within 2, 2.5, 3 and 4 mm) of what was offered.

    Each image with both labels gets its scores into its info, under ``landmark_error``; an image that lost one of its
    labels since loses its scores. Landmarks of which an image may have any number are counted apart, see
    `instance_scores`.
    """

    def __init__(self) -> None:
        super().__init__("Radial error in mm between the landmarks that were offered and those that were saved")

    def __call__(self, request: Mapping[str, Any], datastore: Datastore) -> dict[str, Any]:
        """Score all images.

        Args:
            request: ``y`` and ``y_pred`` name other tags than ``final`` and ``original``.
            datastore: One whose labels are landmarks.

        Returns:
            ``images`` (id to its scores), ``all`` (the scores over all landmarks) and ``per_landmark``; see `scores`.
            Where there are landmarks with any number of instances, ``instances`` with ``all`` and ``per_landmark`` of
            their own, and the same in the scores of an image.

        Raises:
            ClientError: A data store or a tag that cannot be used.
        """
        if not isinstance(datastore, LandmarkLabels):
            raise ClientError("landmarks are scored in the data stores of the landmark app only")
        truth_tag = checked_tag(request.get("y") or FINAL)
        offered_tag = checked_tag(request.get("y_pred") or ORIGINAL)
        errors: dict[str, dict[str, float]] = {}
        counts: dict[str, dict[str, InstanceCount]] = {}
        images: dict[str, dict[str, Any]] = {}
        for image_id in datastore.list_images():
            truth = datastore.canonical(image_id, truth_tag)
            offered = datastore.canonical(image_id, offered_tag)
            if truth is not None and offered is not None:
                errors[image_id] = radial_errors(truth, offered)
                counts[image_id] = count_instances(truth, offered, MATCH_MM)
                several = {name: instance_scores([count]) for name, count in counts[image_id].items()}
                images[image_id] = {**image_scores(errors[image_id]), **({"instances": several} if several else {})}
                extra = {"absent_but_offered": surplus(truth, offered)}
                datastore.update_image_info(image_id, {INFO_KEY: {**images[image_id], **extra}})
            elif INFO_KEY in datastore.get_image_info(image_id):
                datastore.update_image_info(image_id, {INFO_KEY: None})
        result: dict[str, Any] = {
            "images": images,
            "all": scores([value for one in errors.values() for value in one.values()]),
            "per_landmark": per_landmark(errors),
        }
        if names := dict.fromkeys(name for one in counts.values() for name in one):
            each = {name: [one[name] for one in counts.values() if name in one] for name in names}
            result["instances"] = {
                "all": instance_scores([count for found in each.values() for count in found]),
                "per_landmark": {name: instance_scores(found) for name, found in each.items()},
            }
        logger.info("landmark error of %d images: %s", len(errors), result["all"])
        return result


def radial_errors(truth: LandmarkSet, offered: LandmarkSet) -> dict[str, float]:
    """Distance in mm from each landmark that is present to where it was offered.

    Args:
        truth: What a person saved, world mm.
        offered: What a model found, world mm.

    Returns:
        Name to mm, infinite for a landmark that was not offered at all or offered as absent. Landmarks that are not
        present in the truth are left out, and those with any number of instances.
    """
    found = offered.ordered(truth.names)
    distances = np.linalg.norm(found.points - truth.points, axis=1)
    return {
        name: float(distance) if np.isfinite(distance) else float("inf")
        for name, distance, status in zip(truth.names, distances, truth.status, strict=True)
        if status == PRESENT and name not in truth.instances
    }


def surplus(truth: LandmarkSet, offered: LandmarkSet) -> list[str]:
    """Names that a model found and a person called absent."""
    found = offered.ordered(truth.names)
    return [
        name
        for name, one, other in zip(truth.names, truth.status, found.status, strict=True)
        if one == ABSENT and other == PRESENT
    ]


def scores(errors: Sequence[float], thresholds: Sequence[float] = THRESHOLDS_MM) -> dict[str, Any]:
    """The numbers of some landmarks, as JSON.

    Args:
        errors: mm; infinite for a landmark that was not found, which counts as a failure of every threshold and is left
            out of the mean.
        thresholds: mm; an error of exactly a threshold is a success.

    Returns:
        ``mre_mm`` (None where no landmark was found), ``sdr`` (percent for each threshold, None without landmarks),
        ``n`` and ``not_found``.
    """
    values = np.asarray(errors, dtype=np.float64)
    found = values[np.isfinite(values)]
    return {
        "mre_mm": float(found.mean()) if found.size else None,
        "sdr": {f"{t:g}": float(100.0 * np.mean(values <= t)) if values.size else None for t in thresholds},
        "n": int(values.size),
        "not_found": int(values.size - found.size),
    }


def image_scores(errors: Mapping[str, float]) -> dict[str, Any]:
    """The `scores` of an image, and ``errors_mm`` of each landmark (None for one that was not found)."""
    each = {name: value if np.isfinite(value) else None for name, value in errors.items()}
    return {**scores(list(errors.values())), "errors_mm": each}


def per_landmark(errors: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, Any]]:
    """The `scores` of each landmark over all images."""
    names = dict.fromkeys(name for one in errors.values() for name in one)
    return {name: scores([one[name] for one in errors.values() if name in one]) for name in names}
