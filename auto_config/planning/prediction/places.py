"""Whether landmarks are looked for where the training cases have them, before the whole image is looked at."""

from __future__ import annotations

from typing import Any

import numpy as np

from auto_config.bundle_scripts.inference.expected.places import (
    MOST_SHARE,
    WHOLE,
    ExpectedPlaces,
    few_windows,
)
from auto_config.bundle_scripts.inference.streaming.window_grid import regular_windows
from auto_config.fingerprint.summary import Fingerprint
from auto_config.methods.base import Backbone, Method
from auto_config.methods.combining.boxes import ARGMAX, box_radius
from auto_config.methods.plan import Decision

MIN_CASES = 10
"""A spread over fewer cases does not tell where a further case may have a landmark."""

_PROBABILITIES = ("bce_and_cross_entropy", "top_k_bce")
"""Losses of which the sigmoid of a logit is the probability that a landmark is there, by which doubts are told."""


def plan_places(
    fingerprint: Fingerprint, method: Method, network: Backbone, stages: list[dict[str, Any]], decided: dict[str, Any]
) -> dict[str, Decision]:
    """The decision ``places``, where there is one stage; with two, the coarse stage looks where landmarks are.

    Args:
        fingerprint: numbers of the training cases.
        method: of the plan.
        network: of the plan.
        stages: of the plan.
        decided: values of the decisions ``pose``, ``instances`` and ``overlap``.

    Returns:
        Nothing with two stages; else a decision whose value is what `ExpectedPlaces` is made of, or None.
    """
    if len(stages) != 1:
        return {}
    stage, where = stages[0], fingerprint.places
    why = _never(fingerprint, method, network, decided)
    if why is not None:
        return {"places": Decision(None, f"all windows are looked at: {why}")}
    spacing = np.asarray(stage["spacing"], dtype=np.float64)
    extents = np.asarray(fingerprint.extents_mm, dtype=np.float64)
    # No training case lies outside of the boxes.
    spread = np.maximum(np.array(where["spread_mm"]), np.array(where["largest_mm"]) / WHOLE)
    value = {
        "mean_mm": where["mean_mm"],
        "spread_mm": np.round(spread, 3).tolist(),
        "extent_mm": [np.round(bound, 3).tolist() for bound in (extents.min(0), extents.max(0))],
        "absent": [mark for mark, count in enumerate(fingerprint.absent) if count],
    }
    size = np.maximum(np.round(np.median(extents, axis=0) / spacing), 1).astype(int).tolist()
    windows = regular_windows(size, stage["patch_size"], decided["overlap"])
    corners = few_windows(ExpectedPlaces(**value, spacing=stage["spacing"]), windows, box_radius(ARGMAX) or 0)
    if corners is None:
        reason = (
            f"all windows are looked at: places spread by up to {spread.max():.3g} mm along an axis, and windows of "
            f"{stage['patch_size']} voxels on all of them would be more than {MOST_SHARE:.0%} of the {windows.count} "
            "of a whole image"
        )
        return {"places": Decision(None, reason)}
    reason = (
        f"cases have their landmarks in places that spread by up to {spread.max():.3g} mm along an axis: in an image "
        f"of the median size {len(corners)} windows show them, in place of {windows.count}; all are looked at in doubt"
    )
    return {"places": Decision(value, reason)}


def _never(fingerprint: Fingerprint, method: Method, network: Backbone, decided: dict[str, Any]) -> str | None:
    """The first thing for which places are not used, whatever they are."""
    if not fingerprint.places:
        return "an earlier version measured no places"
    if decided["pose"]["kind"] == "free":
        return "cases lie in any pose"
    if decided["instances"]["many"] or decided["instances"]["exchangeable"]:
        return "there are several instances of a landmark, or landmarks that may change places"
    if method.loss not in _PROBABILITIES or method.decoder != "argmax" or network.distribution or network.stride != 1:
        return f"of method {method.name} with network {network.name} no confidence says that a landmark is not there"
    if min(fingerprint.places["cases"]) < MIN_CASES:
        return f"fewer than {MIN_CASES} cases have one of the landmarks"
    return None
