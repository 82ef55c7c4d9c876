"""What is planned otherwise where few cases are labelled: pure functions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from auto_config.methods.base import Method
from auto_config.methods.plan import Decision

FEW = 10
"""Fewer labelled cases than this are few: a fifth of them would be one or two cases, which say nothing of others."""

USUAL_FOLDS, USUAL_TEST = 5, 0.2

WIDER = 4 / 3
"""Ranges of turns, zooms and grey values are this much wider where labels are few."""

DEFORMED_SHARE, AMPLITUDE, CONTROL_SHARE = 0.5, 0.1, 0.25
"""Share of the patches that are deformed, largest move of a control point in distances between them, and that distance
as a share of the anatomy's extent."""


def are_few(labelled: int, wanted: bool | None) -> bool:
    """Whether a data set is planned as one with few labels.

    Args:
        labelled: number of cases with landmarks.
        wanted: what the user says; None leaves it to the number.
    """
    return labelled < FEW if wanted is None else wanted


def folds_and_test(few: bool, labelled: int, folds: int | None, test_fraction: float | None) -> tuple[int, float]:
    """How many folds, and which share is held back for the test.

    Args:
        few: whether labels are few: then each case is a fold of its own, and none is held back.
        labelled: number of cases with landmarks.
        folds: what the user says, None for nothing.
        test_fraction: likewise.
    """
    usual_folds, usual_test = (max(2, labelled), 0.0) if few else (USUAL_FOLDS, USUAL_TEST)
    return usual_folds if folds is None else folds, usual_test if test_fraction is None else test_fraction


def split_decisions(
    decisions: Mapping[str, Decision], few: bool, labelled: int, folds: int | None, test_fraction: float | None
) -> dict[str, Decision]:
    """The decisions ``test`` and ``folds`` of a split, with the reasons of few labels.

    Args:
        decisions: of `splits.Split`.
        few: as for `folds_and_test`, as the next three.
        labelled: number of cases with landmarks.
        folds: what the user says.
        test_fraction: what the user says.
    """
    test, made = decisions["test"], decisions["folds"]
    if few and test_fraction is None and test.value["from"] == "fraction":
        why = f"{labelled} labelled cases are few: none is held back, each is judged by the fold that did not see it"
        test = Decision(test.value, why)
    if few and folds is None and made.value["from"] == "seed":
        why = f"{labelled} labelled cases are few, so each is left out once (groups stay together)"
        made = Decision(
            {**made.value, "from": "leave_one_out"}, f"{why}; `train --fold all` trains them; {made.reason}"
        )
    return {"test": test, "folds": made}


def regions(few: bool) -> Decision:
    """Whether `calibrate` makes one region for all landmarks."""
    if few:
        why = (
            "so few cases bound no region of a single landmark; one for all landmarks holds for a landmark drawn at "
            "random, not for each. `calibrate --no_pooled` makes one for each"
        )
        return Decision({"pooled": True}, why)
    return Decision({"pooled": False}, "each landmark has its own, from its own errors; `calibrate --pooled` makes one")


def augmentation(
    planned: Decision, method: Method, few: bool, deformation: bool | None, extents_mm: Sequence[Sequence[float]]
) -> Decision:
    """Augmentation as the method plans it, stronger and with deformations where labels are few.

    Args:
        planned: by the method.
        method: one that follows a publication keeps its own augmentation (`Method.more_augmentation`).
        few: whether labels are few.
        deformation: whether patches are deformed, as the user says; None leaves it to `few`.
        extents_mm: (N, D) of the anatomy in each case.
    """
    adapts = few and method.more_augmentation
    value, reason = dict(planned.value), planned.reason
    if adapts:
        value = stronger(value)
        reason = f"{reason}; ranges a third wider, because few cases are labelled"
    if adapts if deformation is None else deformation:
        value["deformation"] = deformation_of(extents_mm)
        why = "given by the user" if deformation else "because few cases are labelled; not measured yet"
        reason = f"{reason}; half of the patches are deformed smoothly, {why}"
    elif deformation is False and adapts:
        reason = f"{reason}; no deformation, as the user says"
    return Decision(value, reason)


def stronger(rule: Mapping[str, Any]) -> dict[str, Any]:
    """An augmentation with ranges that are `WIDER`: angles, and the distance of each factor from 1, as a logarithm."""
    wider = {}
    for name, effect in rule.items():
        change = dict(effect) if isinstance(effect, Mapping) else effect
        if isinstance(change, dict):
            for bound in {"low", "high"} & set(change):
                change[bound] = round(math.exp(WIDER * math.log(change[bound])), 4)
            for amount in {"max_rad", "max_std"} & set(change):
                change[amount] = round(WIDER * change[amount], 4)
        wider[name] = change
    return wider


def deformation_of(extents_mm: Sequence[Sequence[float]]) -> dict[str, float]:
    """Deformation of patches: a quarter of the anatomy lies between two control points, and moves by a tenth of that.

    Args:
        extents_mm: (N, D) of the anatomy in each case; their mean over cases and axes counts.

    Returns:
        ``{"prob", "amplitude", "control_mm"}``, as `scripts.training.deformation` takes them.
    """
    known = [float(extent) for case in extents_mm for extent in case if extent > 0]
    extent = sum(known) / len(known) if known else 1.0
    return {"prob": DEFORMED_SHARE, "amplitude": AMPLITUDE, "control_mm": round(CONTROL_SHARE * extent, 3)}
