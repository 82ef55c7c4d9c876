"""The results of an evaluation: all numbers of ``metrics.json``, and the files beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from auto_config.bundle_scripts.files.text import atomic_write_text
from auto_config.datasets.model.dataset import Dataset
from auto_config.evaluation.comparison import Comparison, renamed
from auto_config.evaluation.instances import instance_metrics, instances_csv
from auto_config.evaluation.level_sets import KIND as LEVEL_SET
from auto_config.evaluation.level_sets import level_set_coverage
from auto_config.evaluation.measures import measured, unit_of
from auto_config.evaluation.metrics import metrics
from auto_config.evaluation.predictions import Predictions
from auto_config.evaluation.report.verdicts import verdict_metrics
from auto_config.evaluation.tables import measures_csv, other_model_csv, presence_csv, regions_csv, summary_csv
from auto_config.prediction.cost import cost


def all_numbers(
    comparison: Comparison, predicted: Predictions, dataset: Dataset, place: Path, limits: Sequence[float]
) -> dict[str, Any]:
    """The content of ``metrics.json``, but for a comparison with another model.

    Args:
        comparison: Of `predicted` and the truth.
        predicted: As it was read from `place`.
        dataset: The truth.
        place: Folder of the predictions, where level sets may be.
        limits: Thresholds in ascending order.
    """
    numbers = metrics(comparison, limits)
    theirs = renamed(predicted, dataset.cases)
    files = dict(zip(theirs.cases, predicted.cases, strict=True))
    if numbers["regions"] and (found := level_set_coverage(place, comparison, files)):
        numbers["regions"][LEVEL_SET] = found
    evaluated = [case for case in dataset.cases if case.name in comparison.cases]
    if theirs.seconds:
        numbers["cost"] = cost(theirs.seconds, theirs.peak_memory)
    several = instance_metrics(theirs, evaluated, comparison.many, limits[-1])
    if several is not None:
        numbers["instances"] = several
    return {**numbers, "verdicts": verdict_metrics(comparison)}


def write_results(folder: Path, comparison: Comparison, numbers: Mapping[str, Any]) -> None:
    """Write ``metrics.json`` and the tables, each atomically; tables of an earlier evaluation go."""
    unit = comparison.unit
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(numbers, indent=1, ensure_ascii=False, allow_nan=False)
    atomic_write_text(folder / "metrics.json", text + "\n")
    atomic_write_text(folder / "per_landmark.csv", summary_csv("landmark", numbers["per_landmark"], unit))
    atomic_write_text(folder / "per_case.csv", summary_csv("case", numbers["per_case"], unit))
    if several := numbers.get("instances"):
        atomic_write_text(folder / "instances.csv", instances_csv(several, unit))
    for name, content in further_tables(comparison, numbers).items():
        if content is None:
            (folder / name).unlink(missing_ok=True)
        else:
            atomic_write_text(folder / name, content)


def further_tables(comparison: Comparison, numbers: Mapping[str, Any]) -> dict[str, str | None]:
    """Tables by file name; None where there is nothing to write."""
    regions, other, unit = numbers["regions"], numbers.get("other_model"), numbers["unit"]
    measures = {
        measure.name: (
            unit_of(measure, unit),
            measured(comparison.predicted, comparison.names, measure),
            measured(comparison.truth, comparison.names, measure),
        )
        for measure in comparison.measures
    }
    return {
        "presence.csv": presence_csv(comparison) if numbers["presence"]["absent"] else None,
        "regions.csv": regions_csv(regions) if regions else None,
        "measures.csv": measures_csv(comparison.cases, measures) if measures else None,
        "other_model.csv": other_model_csv(other, unit) if other else None,
        "by_group.csv": summary_csv(by["column"], by["values"], unit) if (by := numbers.get("by")) else None,
    }
