"""From out-of-fold predictions to the content of ``models/calibration.json``: pure functions."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from auto_config.bundle_scripts.inference.calibration import (
    BORDER,
    EXPECTED,
    evidence,
    of_several_networks,
    shape_document,
)
from auto_config.bundle_scripts.inference.extent import Extent
from auto_config.bundle_scripts.points.instances import Instances
from auto_config.bundle_scripts.points.landmarks import ABSENT, PRESENT
from auto_config.bundle_scripts.points.peaks import Peaks
from auto_config.bundle_scripts.points.shape import ShapeModel
from auto_config.calibration.conformal import (
    LEVELS,
    ball_scores,
    conformal_rank,
    ellipsoid_scores,
    quantiles,
    smallest_n,
)
from auto_config.calibration.cuts import cases_of, cut_notes, with_cuts
from auto_config.calibration.instances import detection, instance_notes, rule, with_fixed_names, without_presence
from auto_config.calibration.matched import Rows
from auto_config.calibration.out_of_fold import OutOfFold
from auto_config.calibration.presence import (
    PresenceModel,
    all_are_judged_by_others,
    cross_fitted,
    cross_fitted_decisions,
    fit_presence,
    thresholds,
)
from auto_config.calibration.raters.points import RaterPoints
from auto_config.calibration.reliability import auroc, expected_calibration_error, f1_score, reliability
from auto_config.prediction.bundle_shape import KEY
from auto_config.prediction.shape_gaussian import fit_gaussian

FEW_ABSENT = 10
"""With fewer absent examples, probabilities of presence are little more than a guess; the file says so."""


def calibration_document(
    found: OutOfFold,
    names: Sequence[str],
    shapes: np.ndarray,
    *,
    pooled: bool = False,
    cost: float | None = None,
    ensemble: bool = False,
    notes: Sequence[str] = (),
    instances: Instances | None = None,
    cuts: OutOfFold | None = None,
    fold_shapes: Mapping[int, np.ndarray] | None = None,
    raters: RaterPoints | None = None,
) -> dict[str, Any]:
    """Everything that predictions of unseen cases say about the next prediction.

    Args:
        found: Out-of-fold predictions, or those of other cases by the networks in use.
        names: Landmarks in channel order.
        shapes: (N, L, D) world mm of all training cases, NaN where a landmark is not present.
        pooled: One region for all landmarks, finite with fewer cases.
        cost: Cost of calling an absent landmark present, where calling a present one absent costs 1; None chooses
            the thresholds with the best mean F1 of both.
        ensemble: The bundle averages several networks.
        notes: Further reservations about the cases.
        instances: Which rows belong to which landmark; None where each has one, its own.
        cuts: Predictions of cut fields of view of the same cases, for presence alone.
        fold_shapes: The shapes of the training cases of other folds, for each fold; else ``shapes``.
        raters: Points of single raters, of which the regions are to hold any one.

    Returns:
        The content of ``calibration.json``, JSON-able.
    """
    instances = instances or Instances.single(names)
    model = shape_of(shapes, instances)
    of_folds = {fold: shape_of(own, instances) for fold, own in (fold_shapes or {}).items()}
    known = [of_folds.get(fold, model) for fold in found.folds or (-1,) * len(found.cases)]
    presence, remark = presence_section(found, instances, cost=cost, cuts=cuts, shapes=known)
    if presence is not None and not presence["judged_by_others"]:
        remark = "too few cases lack a landmark to judge each by others: the figures of presence flatter"
    regions = region_section(found, instances, pooled=pooled, raters=raters)
    gaussian = fit_gaussian(with_fixed_names(shapes, instances))
    each = zip(names, instances.many, instances.match_limits, strict=True)
    limits = {name: limit for name, many, limit in each if many}
    return {
        "landmarks": list(names),
        "levels": list(LEVELS),
        "cases": len(found.cases),
        "source": "validation cases of the folds" if found.folds else "other cases",
        "folds": sorted(set(found.folds)),
        "notes": [
            *_notes(found, regions, instances, ensemble=ensemble, cuts=cuts),
            *cut_notes(found, cuts),
            *instance_notes(instances),
            *([] if raters is None else raters.notes(len(found.cases))),
            *notes,
            *([remark] if remark else []),
        ],
        **({"match_mm": limits} if limits else {}),
        "presence": presence,
        "shape": {**shape_document(model), **({} if gaussian is None else {KEY: gaussian.document()})},
        "regions": regions,
    }


def shape_of(shapes: np.ndarray, instances: Instances) -> ShapeModel:
    """The model of some shapes (N, L, D), of the landmarks whose place follows from their name."""
    model = ShapeModel(*shapes.shape[1:])
    model.fit(with_fixed_names(shapes, instances))
    return model


def region_section(
    found: OutOfFold, instances: Instances, *, pooled: bool, raters: RaterPoints | None = None
) -> dict[str, Any]:
    """Bounds of the regions, (levels, L) each, null where infinite.

    ``ball_mm`` is a radius; ``ellipsoid`` a factor on the standard deviations of the heatmap, with raters on those of
    its covariance plus theirs (``rater_covariance_mm2``, (L, D, D)); ``levelset`` the heatmap density above which a
    voxel belongs to the region (M-R2CCP), null for landmarks of which there are many, and with raters.
    """
    channels = np.array(instances.channels)
    present = found.status == PRESENT
    truth = np.where(present[..., None], found.truth, np.nan)[None] if raters is None else raters.points
    covariance = found.covariance if raters is None else found.covariance + raters.covariance[channels]
    weights = None if raters is None else _in_rows(raters.weights)
    scores = {
        "ball_mm": _in_rows(ball_scores(found.points, truth)),
        "ellipsoid": _in_rows(ellipsoid_scores(found.points, truth, covariance)),
    }
    bounds = {
        kind: quantiles(values, pooled=pooled, channels=channels, weights=weights) for kind, values in scores.items()
    }
    levelset = -quantiles(np.where(present, -found.density, np.nan), pooled=pooled, channels=channels)
    levelset = np.where(np.array(instances.many) | (raters is not None), np.inf, levelset)
    return {
        "pooled": pooled,
        "count": np.bincount(channels, present.sum(axis=0), len(instances.names)).astype(int).tolist(),
        **{kind: [[_number(bound) for bound in row] for row in rows] for kind, rows in bounds.items()},
        # A density of 0 is that of every place that nobody looked at.
        "levelset": [[_number(bound) if bound > 0 else None for bound in row] for row in levelset],
        **({} if raters is None else {"rater_covariance_mm2": raters.covariance.tolist()}),
    }


def _in_rows(values: np.ndarray) -> np.ndarray:
    """(K, N, R) as (K N, R)."""
    return values.reshape(-1, values.shape[-1])


def presence_section(
    whole: OutOfFold,
    instances: Instances,
    *,
    cost: float | None,
    cuts: OutOfFold | None = None,
    shapes: Sequence[ShapeModel] = (),
) -> tuple[dict[str, Any] | None, str | None]:
    """The presence model with its own test, or None and the reason why there is none.

    Args:
        whole: Predictions of whole images.
        instances: Which rows belong to which landmark.
        cost: As for `calibration_document`.
        cuts: Of cut images; with them, where a landmark lies in the image is evidence too.
        shapes: For each case of ``whole`` the shape of cases that it is not among.
    """
    found = with_cuts(whole, cuts)
    present = found.present
    absent = int((found.status == ABSENT).sum())
    if not absent or not (found.status == PRESENT).any():
        return None, without_presence(instances)
    features = presence_features(found, within=cuts is not None)
    by_case = dict(zip(whole.cases, shapes, strict=False))
    known_shapes = [by_case.get(case) for case in cases_of(whole, cuts)]
    rows, given = Rows.of(instances, found.all_missed), evidence_of(found, features, known_shapes, instances)
    model = fit_presence(given, present, rows)
    probability = cross_fitted(given, present, found.units, rows)
    limits = thresholds(probability, present, rows, cost)
    known = ~np.isnan(present)
    decided = cross_fitted_decisions(given, present, cost, found.units, rows)
    said, truth = decided[known], present[known] == 1
    section = {
        **_model_document(model, features),
        "thresholds": limits.tolist(),
        "rule": rule(instances, cost),
        "absent": absent,
        **({} if cuts is None else {"cuts": {"images": len(cuts.cases), "absent": int((cuts.status == ABSENT).sum())}}),
        "judged_by_others": all_are_judged_by_others(present, found.units),
        "auroc": auroc(probability[known], truth),
        "f1_present": f1_score(said, truth),
        "f1_absent": f1_score(~said, ~truth),
        "expected_calibration_error": expected_calibration_error(probability[known], truth),
        "reliability": reliability(probability[known], truth),
        **({"detection": detection(decided[: len(whole.cases)], whole, instances)} if any(instances.many) else {}),
    }
    if "views" in features:
        others = tuple(name for name in features if name != "views")
        section["without_views"] = _model_document(
            fit_presence(evidence_of(found, others, known_shapes, instances), present, rows), others
        )
    return section, None


def _model_document(model: PresenceModel, features: Sequence[str]) -> dict[str, Any]:
    """What prediction needs of a model."""
    return {
        "features": list(features),
        "mean": model.mean.tolist(),
        "scale": model.scale.tolist(),
        "weights": model.weights.tolist(),
        "intercept": model.intercept,
        "offsets": model.offsets.tolist(),
    }


def presence_features(found: OutOfFold, *, within: bool = False) -> tuple[str, ...]:
    """Evidence that means the same in prediction as it did for these cases.

    The agreement of an image with its mirror image is a network's own, so it counts for one and for several. How far
    the members of an ensemble agree is evidence where all of them predicted the cases and none had seen them; it cannot
    be learned out of fold, where there is one such member. Where a landmark lies in the field of view (``within``) is
    evidence where cuts show what that means.
    """
    known = ~np.isnan(found.present)
    mirrored = bool(np.isfinite(found.mirror_disagreement[known]).all())
    several = not found.folds and all(of_several_networks(peaks_of(found, i)) for i in range(len(found.cases)))
    views = several and bool(np.isfinite(found.disagreement[known]).all())
    place = (BORDER, EXPECTED) if within and all(one is not None for one in found.extents) else ()
    return ("peak", "spread", *(("mirror",) if mirrored else ()), *place, *(("views",) if views else ()))


def evidence_of(
    found: OutOfFold,
    features: Sequence[str],
    shapes: Sequence[ShapeModel | None] | None = None,
    instances: Instances | None = None,
) -> np.ndarray:
    """Evidence (N, R, F) of all cases, as prediction makes it of one.

    Args:
        found: Predictions.
        features: As `evidence` has them.
        shapes: (N,) what is known of the shape in each case.
        instances: Which rows belong to which landmark.
    """
    channels = None if instances is None else instances.channels
    extents: Sequence[Extent | None] = found.extents if EXPECTED in features else [None] * len(found.cases)
    known = [None] * len(found.cases) if shapes is None else shapes
    each = enumerate(zip(extents, known, strict=True))
    return np.stack([evidence(peaks_of(found, i), features, extent, shape, channels) for i, (extent, shape) in each])


def peaks_of(found: OutOfFold, case: int) -> Peaks:
    """The peaks of one case, in world mm."""
    fields = [field.name for field in dataclasses.fields(Peaks)]
    return Peaks(**{name: torch.from_numpy(getattr(found, name)[case]) for name in fields})


def _notes(
    found: OutOfFold, regions: dict[str, Any], instances: Instances, *, ensemble: bool, cuts: OutOfFold | None
) -> list[str]:
    cases, counts, groups = len(found.cases), regions["count"], len(set(found.units.tolist()))
    notes = []
    if len(set(found.folds)) == 1:
        notes.append(
            f"only fold {found.folds[0]} was trained: its {cases} validation cases are all there is to calibrate on; "
            "`auto_config train BUNDLE --fold all` gives every training case a part"
        )
    if ensemble and not found.folds:
        notes.append(
            "calibrated for the average of the bundle's networks, which `auto_config predict` and `serve` use; MONAI's "
            "own commands take models/model.pt alone, whose errors are larger"
        )
    if ensemble and found.folds:
        notes.append(
            "each case was predicted by the one fold that did not train on it, and the bundle averages the folds, with "
            "errors that are smaller as a rule: regions are then rather too large than too small"
        )
    least = min(counts, default=0)
    for level in LEVELS:
        if not regions["pooled"] and conformal_rank(least, level) is None:
            few = sum(conformal_rank(count, level) is None for count in counts)
            notes.append(
                f"level {level:g}: {few} of {len(counts)} landmarks have fewer than {smallest_n(level)} calibration "
                "cases, so their regions are infinite; --pooled makes one region for all landmarks"
            )
    if groups < cases:
        notes.append(
            f"{cases} cases are of {groups} groups (patients), and the cases of one err together: for a new patient "
            "the level of a region is kept only about, and high levels least"
        )
    # A candidate that is no instance says little of whether another landmark is there.
    absent = int((found.status == ABSENT)[:, ~np.array(instances.many)[list(instances.channels)]].sum())
    if cuts is not None:
        absent += int((cuts.status == ABSENT).sum())
    if 0 < absent < FEW_ABSENT:
        notes.append(f"only {absent} absent landmarks: the probabilities of presence are rough")
    if regions["pooled"]:
        notes.append(
            "one region for all landmarks: its level is that of a landmark drawn at random, and not of each; the "
            "landmarks of a case err together, so with few cases it holds only about so often"
        )
    return notes


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
