"""Evaluation where a landmark has many instances, or two landmarks may change places."""

from __future__ import annotations

import csv
import html
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from auto_config.bundle_scripts.points.landmarks import UNKNOWN
from auto_config.bundle_scripts.points.matching import best_order, distances, match
from auto_config.datasets import Case
from auto_config.evaluation.predictions import Predictions

COUNTS = ("precision", "recall", "f1", "found", "missed", "invented")


def best_columns(
    points: np.ndarray, truth: np.ndarray, names: Sequence[str], pairs: Sequence[tuple[str, str]]
) -> np.ndarray:
    """For each landmark the column of its point: that of the other of a pair where both are then nearer to the truth.

    Args:
        points: (N, L, D).
        truth: (N, L, D), NaN where not present.
        names: (L,) landmark names.
        pairs: names that may change places; pairs of which a name is missing are left alone.

    Returns:
        (N, L), for `in_columns`.
    """
    found = np.tile(np.arange(len(names)), (len(points), 1))
    for pair in pairs:
        if not set(pair) <= set(names):
            continue
        columns = [list(names).index(name) for name in pair]
        for n in range(len(points)):
            if best_order(points[n, columns], truth[n, columns]):
                found[n, columns] = columns[::-1]
    return found


def in_columns(values: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Values (N, L, ...) of the columns (N, L) of each case."""
    return np.take_along_axis(values, columns.reshape(*columns.shape, *[1] * (values.ndim - 2)), axis=1)


def in_best_order(
    points: np.ndarray, truth: np.ndarray, names: Sequence[str], pairs: Sequence[tuple[str, str]]
) -> np.ndarray:
    """Points with exchangeable ones changed over where that brings them nearer to the truth; see `best_columns`."""
    return in_columns(points, best_columns(points, truth, names, pairs))


@dataclass(frozen=True)
class MatchedInstances:
    """Predicted instances that a true one was found for.

    Attributes:
        names: (M,) landmarks.
        predicted: (M, D) world mm.
        truth: (M, D) world mm.
        covariance: (M, D, D) mm² of the heatmaps, NaN where not known.
    """

    names: tuple[str, ...]
    predicted: np.ndarray
    truth: np.ndarray
    covariance: np.ndarray


def matched_instances(predictions: Predictions, cases: Sequence[Case], limits: Mapping[str, float]) -> MatchedInstances:
    """Predicted instances and the true ones that they are matched with, as a calibration matched them.

    Args:
        predictions: with the predicted instances.
        cases: the cases with truth that were predicted.
        limits: landmarks with many instances, and the largest distance of a match of each.
    """
    dims = predictions.spatial_dims
    names: list[str] = []
    predicted, truth, covariance = [np.zeros((0, dims))], [np.zeros((0, dims))], [np.zeros((0, dims, dims))]
    for case in cases:
        row = predictions.cases.index(case.name)
        for name in (name for name in limits if name in predictions.instances):
            points, true = predictions.instances[name][row], _true_points(case, name)
            found, partners = match(points, true, limits[name])
            names += [name] * len(found)
            predicted.append(points[found])
            truth.append(true[partners])
            covariance.append(predictions.instance_covariance[name][row][found])
    return MatchedInstances(tuple(names), np.concatenate(predicted), np.concatenate(truth), np.concatenate(covariance))


def instance_metrics(
    predictions: Predictions, cases: Sequence[Case], names: Sequence[str], limit: float
) -> dict[str, Any] | None:
    """Precision, recall, F1 and the errors of matches for landmarks with many instances.

    Predicted and true points are matched one to one within a distance, as many as possible, with the smallest sum of
    distances (`scripts.points.matching.match`). Cases in which the landmark is unknown do not count.

    Args:
        predictions: with the predicted instances.
        cases: the cases with truth that were predicted.
        names: landmarks with many instances that both sides have.
        limit: largest distance of a match, in the unit of the points.

    Returns:
        ``{"match_<unit>": limit, "total": block, "per_landmark": {name: block}, "per_case": {case: block}}``, for JSON;
        a block has `COUNTS` (shares from 0 to 1, None where there is nothing to count) and ``mre_<unit>`` of the
        matches. None without such landmarks.
    """
    if not names:
        return None
    rows = [
        (case.name, name, *_matched(predictions, case, name, limit))
        for case in cases
        for name in names
        if case.landmarks is not None and name in case.landmarks.names and _status(case, name) != UNKNOWN
    ]
    unit = predictions.unit
    return {
        f"match_{unit}": limit,
        "total": _block(rows, unit),
        "per_landmark": {name: _block([row for row in rows if row[1] == name], unit) for name in names},
        "per_case": {case.name: _block([row for row in rows if row[0] == case.name], unit) for case in cases},
    }


def instances_csv(metrics: Mapping[str, Any], unit: str) -> str:
    """``instances.csv``: a row for each landmark with many instances, and one for all of them."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["landmark", *COUNTS, f"mre_{unit}"])
    for name, block in [*metrics["per_landmark"].items(), ("all", metrics["total"])]:
        numbers = [block[key] for key in (*COUNTS, f"mre_{unit}")]
        writer.writerow([name, *["" if number is None else round(number, 6) for number in numbers]])
    return stream.getvalue()


def instance_lines(metrics: Mapping[str, Any] | None, unit: str) -> list[str]:
    """What the terminal and the report say, one sentence for each landmark."""
    if metrics is None:
        return []
    return [
        f"{name}: {block['found']} of {block['found'] + block['missed']} instances found within "
        f"{metrics[f'match_{unit}']:g} {unit}, {block['invented']} invented; F1 {_shown(block['f1'])}, error of those "
        f"found {_shown(block[f'mre_{unit}'])} {unit}."
        for name, block in metrics["per_landmark"].items()
    ]


def instance_paragraphs(metrics: Mapping[str, Any] | None, unit: str) -> str:
    """`instance_lines` as HTML; empty without such landmarks."""
    return "".join(f"<p>{html.escape(line)}</p>" for line in instance_lines(metrics, unit))


def _status(case: Case, name: str) -> int:
    assert case.landmarks is not None
    return int(case.landmarks.status[case.landmarks.names.index(name)])


def _true_points(case: Case, name: str) -> np.ndarray:
    """(K, D) of a landmark; none where it is absent, unknown or not there."""
    assert case.landmarks is not None
    landmarks = case.landmarks.ordered([name])
    truth = landmarks.instances.get(name, landmarks.points)
    return truth[np.isfinite(truth).all(axis=1)]


def _matched(predictions: Predictions, case: Case, name: str, limit: float) -> tuple[np.ndarray, int, int]:
    """Distances of the matches of one case, and the numbers of predicted and of true points."""
    truth = _true_points(case, name)
    row = predictions.cases.index(case.name)
    if name in predictions.instances:
        predicted = predictions.instances[name][row]
    else:
        column = predictions.names.index(name)
        predicted = predictions.points[row, [column]][predictions.present[row, [column]]]
    rows, columns = match(predicted, truth, limit)
    return distances(predicted, truth)[rows, columns], len(predicted), len(truth)


def _block(rows: Sequence[tuple[str, str, np.ndarray, int, int]], unit: str) -> dict[str, Any]:
    errors = np.concatenate([row[2] for row in rows] or [np.zeros(0)])
    found, predicted, true = len(errors), sum(row[3] for row in rows), sum(row[4] for row in rows)
    return {
        "precision": found / predicted if predicted else None,
        "recall": found / true if true else None,
        "f1": 2 * found / (predicted + true) if predicted + true else None,
        "found": found,
        "missed": true - found,
        "invented": predicted - found,
        f"mre_{unit}": float(errors.mean()) if found else None,
    }


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"
