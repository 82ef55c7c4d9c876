"""Bring predictions and truth together: the same cases, the same landmarks, arrays of errors in mm."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from auto_config.bundle_scripts.images.files import image_names
from auto_config.datasets import Case, Dataset
from auto_config.datasets.model.properties import Measure
from auto_config.errors import UserError
from auto_config.evaluation.baseline import mean_shape_points
from auto_config.evaluation.instances import (
    MatchedInstances,
    best_columns,
    in_best_order,
    in_columns,
    matched_instances,
)
from auto_config.evaluation.predictions import Predictions
from auto_config.evaluation.raters import rater_errors


@dataclass(frozen=True)
class Comparison:
    """Predictions and truth of N cases and L landmarks that both have.

    Attributes:
        names: (L,) landmark names, in the order of the predictions.
        cases: (N,) case names, in the order of the predictions.
        images: image files of each case.
        truth: (N, L, D) world mm, NaN where not present.
        status: (N, L) status of the truth: 1 present, 0 absent, -1 unknown.
        predicted: (N, L, D) world mm.
        predicted_present: (N, L) whether the model calls the landmark present.
        baseline: (N, L, D) world mm of the mean shape, NaN where not known.
        without_prediction: names of cases of the truth that have no prediction.
        failed: reason for each of them that could not be predicted.
        training_cases: names of those of ``cases`` that the bundle was trained on.
        without_truth: names of predicted cases that the truth does not have.
        names_without_prediction: landmarks that only the truth has.
        names_without_truth: landmarks that only the predictions have.
        unit: ``"px"`` where all lengths are in pixels, because the pixel size is not known, else ``"mm"``.
        pixel_spacings: pixel size (x, y) in mm of each case, None where its file says it.
        many: names of landmarks with many instances, which both have; they are not among ``names``.
        confidence: (N, L) probability of presence, NaN where not known.
        radius: (N, L) mm of the predicted regions, NaN where there is none.
        covariance: (N, L, D, D) mm² of the heatmaps, NaN where not known.
        implausible: (N, L) whether the shape of the others rules the predicted point out.
        rater_errors: (N, L) mean distance between the raters of a case, NaN where there are fewer than two.
        calibration: of the bundle, as ``run.json`` has it; None where there is none.
        measures: between landmarks that both have.
        columns: (N, L) index in ``names`` of what the prediction calls each point: another where two changed places.
            Empty where none may.
        matched: instances of calibrated landmarks with many that a true one was found for.
        verdicts: ``verdict`` and ``reasons`` of the cases, where the prediction has them.
    """

    names: tuple[str, ...]
    cases: tuple[str, ...]
    images: tuple[tuple[Path, ...], ...]
    truth: np.ndarray
    status: np.ndarray
    predicted: np.ndarray
    predicted_present: np.ndarray
    baseline: np.ndarray
    without_prediction: tuple[str, ...]
    failed: Mapping[str, str]
    training_cases: tuple[str, ...]
    without_truth: tuple[str, ...]
    names_without_prediction: tuple[str, ...]
    names_without_truth: tuple[str, ...]
    unit: str = "mm"
    pixel_spacings: tuple[tuple[float, float] | None, ...] = ()
    many: tuple[str, ...] = ()
    confidence: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))
    radius: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))
    covariance: np.ndarray = field(default_factory=lambda: np.zeros((0, 0, 0, 0)))
    implausible: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), dtype=bool))
    rater_errors: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))
    calibration: Mapping[str, Any] | None = None
    measures: tuple[Measure, ...] = ()
    columns: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), dtype=int))
    matched: MatchedInstances | None = None
    verdicts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def errors(self) -> np.ndarray:
        """Radial errors (N, L) in `unit`, NaN where the truth has no point."""
        return np.linalg.norm(self.predicted - self.truth, axis=-1)

    @property
    def baseline_errors(self) -> np.ndarray:
        """Radial errors (N, L) in mm of the mean shape, NaN where the truth has no point or the mean is not known."""
        return np.linalg.norm(self.baseline - self.truth, axis=-1)


def compare(
    predictions: Predictions, dataset: Dataset, *, split: str | None = None, cases: Sequence[str] | None = None
) -> Comparison:
    """Match predictions and truth by the names of cases and landmarks.

    A predicted case whose name the truth does not have is the one whose image file has that name, where only one has.

    Args:
        predictions: what was predicted.
        dataset: what is true.
        split: only the truth of this split, ``training`` or ``test``; None for all.
        cases: only these cases; None for all.

    Returns:
        What both have, and what only one has.

    Raises:
        UserError: a case that is asked for and not there, 2D against 3D, or no case or landmark that both have.
    """
    wanted = _wanted(dataset, split, cases)
    predictions = renamed(predictions, dataset.cases)
    predicted = set(predictions.cases)
    both = [case for case in predictions.cases if case in wanted]
    if not both:
        raise UserError(
            f"{dataset.source}: none of its cases ({_some(list(wanted))}) was predicted ({_some(predictions.cases)}); "
            "cases are matched by name, give the data set of these images"
        )
    _check_comparable(predictions, dataset)
    known = [name for name in predictions.names if name in dataset.names]
    several = set(predictions.instances) | set(dataset.properties.many)
    many = [name for name in known if name in several]
    names = [name for name in known if name not in several]
    rows = np.array([predictions.cases.index(case) for case in both])
    columns = np.array([predictions.names.index(name) for name in names], dtype=int)
    truth = [landmarks.ordered(names) for case in both if (landmarks := wanted[case].landmarks) is not None]
    pick = np.ix_(rows, columns)
    status = np.stack([landmarks.status for landmarks in truth]).astype(int)
    points = np.stack([landmarks.points for landmarks in truth])
    baseline = mean_shape_points(predictions.mean_shape[columns], predictions.centers[rows])
    exchangeable = _exchangeable(predictions, dataset)
    order = best_columns(predictions.points[pick], points, names, exchangeable)
    limits = (predictions.calibration or {}).get("match_mm", {})
    return Comparison(
        names=tuple(names),
        cases=tuple(both),
        images=tuple(wanted[case].image for case in both),
        truth=points,
        status=status,
        predicted=in_columns(predictions.points[pick], order),
        predicted_present=in_columns(predictions.present[pick], order),
        baseline=in_best_order(baseline, points, names, exchangeable),
        without_prediction=tuple(case for case in wanted if case not in predicted),
        failed={case: reason for case, reason in predictions.failed.items() if case in wanted},
        training_cases=tuple(case for case in both if case in predictions.training_cases),
        without_truth=tuple(case for case in predictions.cases if case not in wanted),
        names_without_prediction=tuple(name for name in dataset.names if name not in predictions.names),
        names_without_truth=tuple(name for name in predictions.names if name not in dataset.names),
        unit=dataset.unit,
        pixel_spacings=tuple(wanted[case].pixel_spacing for case in both),
        many=tuple(many),
        confidence=in_columns(predictions.confidence[pick], order),
        radius=in_columns(predictions.radius[pick], order),
        covariance=in_columns(predictions.covariance[pick], order),
        implausible=in_columns(predictions.implausible[pick], order),
        rater_errors=rater_errors([wanted[case] for case in both], names, exchangeable),
        calibration=predictions.calibration,
        measures=dataset.properties.for_names(tuple(names)).measures,
        columns=order,
        matched=matched_instances(
            predictions, [wanted[case] for case in both], {name: limits[name] for name in many if name in limits}
        ),
        verdicts={case: predictions.verdicts[case] for case in both if case in predictions.verdicts},
    )


def renamed(predictions: Predictions, cases: Sequence[Case]) -> Predictions:
    """Predictions with the names of the truth for cases that are known by the name of their image file only.

    Args:
        predictions: what was predicted.
        cases: the truth.

    Returns:
        The predictions; a name stays where the truth has it, where several images are called so, and where the case
        that it would stand for is predicted under its own name.
    """
    own, taken = {case.name for case in cases}, {*predictions.cases, *predictions.failed}
    others = {case.name: (case.name.replace("/", "_"), *image_names(case.image)) for case in cases}
    count = Counter(other for both in others.values() for other in set(both))
    names: dict[str, str] = {}
    for case in own - taken:
        found = [other for other in others[case] if other in taken - own and count[other] == 1]
        names |= dict.fromkeys(found[:1], case)
    return replace(
        predictions,
        cases=tuple(names.get(case, case) for case in predictions.cases),
        failed={names.get(case, case): reason for case, reason in predictions.failed.items()},
        training_cases=tuple(names.get(case, case) for case in predictions.training_cases),
        verdicts={names.get(case, case): said for case, said in predictions.verdicts.items()},
    )


def _check_comparable(predictions: Predictions, dataset: Dataset) -> None:
    """Refuse points of another dimension, unit or of other landmarks."""
    if dataset.spatial_dims != predictions.spatial_dims:
        raise UserError(
            f"{dataset.source}: has {dataset.spatial_dims}D points, the predictions are {predictions.spatial_dims}D; "
            "give the data set of these images"
        )
    if dataset.unit != predictions.unit:
        remedy = (
            "give --pixel_spacing as to `create`"
            if dataset.unit == "px"
            else "evaluate without --pixel_spacing, or create the bundle with it"
        )
        raise UserError(
            f"{dataset.source}: its points are in {dataset.unit}, the predictions in {predictions.unit}; {remedy}"
        )
    if not set(predictions.names) & set(dataset.names):
        raise UserError(
            f"{dataset.source}: has no landmark of the predictions ({_some(predictions.names)}), "
            f"but {_some(dataset.names)}; landmarks are matched by name"
        )


def _wanted(dataset: Dataset, split: str | None, cases: Sequence[str] | None) -> dict[str, Case]:
    """Cases with landmarks that are asked for, by name."""
    known = {case.name: case for case in dataset.cases if case.landmarks is not None}
    for name in cases or ():
        if name not in known:
            raise UserError(f"--cases: '{name}' is not in {dataset.source}; it has {_some(list(known))}")
    chosen = {name: case for name, case in known.items() if cases is None or name in cases}
    wanted = {name: case for name, case in chosen.items() if split is None or case.split == split}
    if chosen and not wanted:
        raise UserError(
            f"--split {split}: {dataset.source} puts {'none of --cases' if cases else 'no case'} there; leave it out "
            "or give the data/datalist.json of the bundle"
        )
    return wanted


def _exchangeable(predictions: Predictions, dataset: Dataset) -> list[tuple[str, str]]:
    """Pairs that may change places, each once, as the bundle or the truth says it."""
    pairs = {tuple(sorted(pair)): pair for pair in (*predictions.exchangeable, *dataset.properties.exchangeable)}
    return list(pairs.values())


def _some(names: Sequence[str]) -> str:
    """A few names for a message."""
    return ", ".join([*names[:3], "..."] if len(names) > 3 else names) or "none"
