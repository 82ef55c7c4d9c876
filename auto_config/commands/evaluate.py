"""`evaluate`: read predictions and truth, compare, write metrics, tables and a report, print the key numbers."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from auto_config.bundle_scripts.landmark_files import atomic_write_text
from auto_config.datasets import Case, Problem, read_dataset
from auto_config.datasets.checks.cases import Outside, check_header, outside_absent
from auto_config.datasets.formats.shared.options import Coordinates, NameField
from auto_config.datasets.images import read_header
from auto_config.datasets.reading import Missing
from auto_config.errors import UserError
from auto_config.evaluation.baseline import verdict
from auto_config.evaluation.comparison import Comparison, compare, renamed
from auto_config.evaluation.instances import instance_lines, instance_metrics, instances_csv
from auto_config.evaluation.level_sets import KIND as LEVEL_SET
from auto_config.evaluation.level_sets import level_set_coverage
from auto_config.evaluation.measures import measured, unit_of
from auto_config.evaluation.metrics import metrics
from auto_config.evaluation.predictions import read_predictions
from auto_config.evaluation.report.page import notes, report_page, worst_points
from auto_config.evaluation.tables import (
    measures_csv,
    other_model_csv,
    presence_csv,
    regions_csv,
    summary_csv,
    terminal_table,
)
from auto_config.evaluation.two_models import common_errors, compare_models
from auto_config.inspection.problems import counted

# Of the field in mm (ISBI 2015); in pixels of unknown size there is no custom, so a wide range.
THRESHOLDS = {"mm": (2.0, 2.5, 3.0, 4.0), "px": (2.0, 5.0, 10.0, 20.0)}
WORST_NAMED = 3
SPLITS = ("training", "test")


def evaluate(
    predictions: str | Path,
    source: str | Path,
    *,
    output: str | Path | None = None,
    report: str | Path | None = None,
    thresholds: Sequence[float] | None = None,
    format: str | None = None,
    split: str | None = None,
    cases: Sequence[str] | None = None,
    missing: Missing = "unknown",
    outside: Outside = "error",
    coordinates: Coordinates | None = None,
    missing_value: str | None = None,
    names: NameField | None = None,
    pixel_spacing: Sequence[float] | None = None,
    compare_with: str | Path | None = None,
) -> int:
    """Compare predicted landmarks with true ones.

    Writes ``metrics.json``, ``per_landmark.csv``, ``per_case.csv`` and ``report.html``, and ``instances.csv`` where a
    landmark has many instances: these are matched within the largest of the thresholds. Cases and landmarks are matched
    by name; what only one side has is said and counts nowhere, and so are errors in the files of ``source``.

    Args:
        predictions: folder that `predict` wrote, or its ``predictions.csv``.
        source: data set with the true landmarks.
        output: folder for the results; that of the predictions if None.
        report: file of the page; ``report.html`` in ``output`` if None.
        thresholds: for the success rates, in mm, or in pixels where their size is not known; an error of exactly a
            threshold counts as a success. None takes those of `THRESHOLDS`.
        format: read ``source`` as this format instead of detecting it.
        split: only the cases that ``source`` puts into ``training`` or ``test``.
        cases: only these cases.
        missing: what a name that a case lacks means, as for `create`.
        outside: ``"absent"`` takes true points outside their image as absent, as `create` does when told so.
        coordinates: what the numbers of a table are, as for `create`.
        missing_value: coordinates that mark a missing point, as for `create`.
        names: what points of Slicer's files are called by, as for `create`.
        pixel_spacing: pixel size of pictures in mm, as for `create`; errors are in pixels where it is not known.
        compare_with: predictions of another model of the same cases, with which these are compared.

    Returns:
        0.

    Raises:
        UserError: wrong input, or nothing in common.
    """
    given_limits = None if thresholds is None else _checked(thresholds)
    if report is not None and not Path(report).absolute().parent.is_dir():
        raise UserError(f"--report {report}: the folder does not exist; create it or choose another")
    if split is not None and split not in SPLITS:
        raise UserError(f"--split {split}: allowed are {' and '.join(SPLITS)}")
    predicted = read_predictions(Path(predictions))
    if outside not in ("error", "absent"):
        raise UserError(f"--outside is {outside!r}; allowed are error and absent")
    dataset, problems = read_dataset(
        source,
        format=format,
        missing=missing,
        coordinates=coordinates,
        missing_value=missing_value,
        pixel_spacing=pixel_spacing,
        names=names,
    )
    _tell_errors(problems)
    if outside == "absent":
        dataset = replace(dataset, cases=tuple(_outside_absent(case) for case in dataset.cases))
    comparison = compare(predicted, dataset, split=split, cases=cases)
    limits = given_limits or THRESHOLDS[comparison.unit]
    numbers = metrics(comparison, limits)
    given = Path(predictions)
    place = given.parent if given.is_file() else given
    files = dict(zip(renamed(predicted, dataset.cases).cases, predicted.cases, strict=True))
    if numbers["regions"] and (found := level_set_coverage(place, comparison, files)):
        numbers["regions"][LEVEL_SET] = found
    unit, key = comparison.unit, f"mre_{comparison.unit}"
    evaluated = [case for case in dataset.cases if case.name in comparison.cases]
    several = instance_metrics(renamed(predicted, dataset.cases), evaluated, comparison.many, limits[-1])
    if several is not None:
        numbers["instances"] = several
    other_errors = None
    if compare_with is not None:
        other = compare(read_predictions(Path(compare_with)), dataset, split=split, cases=cases)
        numbers["other_model"] = compare_models(comparison, other, str(compare_with))
        other_errors = common_errors(comparison, other)

    folder = Path(output) if output is not None else place
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(numbers, indent=1, ensure_ascii=False, allow_nan=False)
    atomic_write_text(folder / "metrics.json", text + "\n")
    atomic_write_text(folder / "per_landmark.csv", summary_csv("landmark", numbers["per_landmark"], unit))
    atomic_write_text(folder / "per_case.csv", summary_csv("case", numbers["per_case"], unit))
    if several is not None:
        atomic_write_text(folder / "instances.csv", instances_csv(several, unit))
    for name, content in further_tables(comparison, numbers).items():
        if content is None:
            (folder / name).unlink(missing_ok=True)  # of an earlier evaluation
        else:
            atomic_write_text(folder / name, content)
    page = report_page(comparison, numbers, worst_points(comparison), predicted.bundle, other_errors)
    page_file = folder / "report.html" if report is None else Path(report)
    atomic_write_text(page_file, page)

    console = Console()
    console.print(terminal_table(numbers))
    baseline = numbers["mean_shape_baseline"]
    said = verdict(numbers[key]["mean"], baseline[key]["mean"] if baseline else None, unit)
    lines = [said, *worst_lines(numbers), *key_lines(numbers), *instance_lines(several, unit), *notes(comparison)]
    for line in [*lines, f"Report: {page_file}"]:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    return 0


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
    }


def worst_lines(numbers: Mapping[str, Any]) -> list[str]:
    """A line for the terminal with the landmarks of the largest mean errors, where there are several to choose from."""
    unit = numbers["unit"]
    means = {name: row[f"mre_{unit}"]["mean"] for name, row in numbers["per_landmark"].items()}
    known = {name: mean for name, mean in means.items() if mean is not None}
    if len(known) < 2:
        return []
    worst = sorted(known, key=lambda name: -known[name])[: min(WORST_NAMED, len(known) - 1)]
    return [f"Largest mean errors: {', '.join(f'{name} {known[name]:.3g} {unit}' for name in worst)}."]


def key_lines(numbers: Mapping[str, Any]) -> list[str]:
    """A line for the terminal on presence, regions and the other model, where there are any."""
    lines = []
    presence, regions, other = numbers["presence"], numbers["regions"], numbers.get("other_model")
    if presence["auroc"] is not None:
        lines.append(
            f"Presence: AUROC {presence['auroc']:.3f}, F1 {presence['f1_present']:.3f} present and "
            f"{presence['f1_absent']:.3f} absent."
        )
    if regions:
        shares = [_share_line(row, level) for level, row in regions["ball"].items() if row["count"]]
        drawn = [
            f"; of level sets, {_share_line(row, level)}"
            for level, row in regions.get(LEVEL_SET, {}).items()
            if row["count"]
        ]
        lines.append(f"True points inside of their regions: {', '.join(shares)}{''.join(drawn)}.")
    if other:
        row = other["all"]
        ends = "" if row["interval"] is None else f" ({row['interval'][0]:.3g} to {row['interval'][1]:.3g})"
        lines.append(
            f"Compared with {other['name']}, in {counted(row['cases'], 'case')} of both: "
            f"{row['difference']:+.3g}{ends} {numbers['unit']} mean error; below 0 these predictions are better."
        )
    return lines


def _share_line(row: Mapping[str, Any], level: str) -> str:
    """How many points a kind of region holds; a region without a bound holds everything, and says nothing by that."""
    infinite = row["infinite"]
    said = "" if not infinite else " (all infinite)" if infinite == 1 else f" ({100 * infinite:.0f} % infinite)"
    return f"{100 * row['share']:.0f} % at {level}{said}"


def _tell_errors(problems: Sequence[Problem]) -> None:
    """One line on standard error for each case of the truth that cannot be read, and so is not evaluated."""
    console = Console(stderr=True)
    for problem in problems:
        if problem.severity == "error":
            console.print(f"error: {problem.message}", markup=False, highlight=False, soft_wrap=True)


def _outside_absent(case: Case) -> Case:
    header = read_header(case.image, case.pixel_spacing)
    usable = not any(problem.severity == "error" for problem in check_header(case.name, header))
    return outside_absent(case, header) if usable else case


def _checked(thresholds: Sequence[float]) -> tuple[float, ...]:
    """Thresholds in ascending order, each once."""
    if not thresholds:
        raise UserError("--thresholds: is empty; give distances in mm (pixels, if their size is not known): 2,2.5,3,4")
    for threshold in thresholds:
        if not (math.isfinite(threshold) and threshold > 0):
            raise UserError(f"--thresholds: {threshold} is not a distance above 0")
    return tuple(sorted({float(threshold) for threshold in thresholds}))
