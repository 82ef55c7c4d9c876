"""`evaluate`: read predictions and truth, compare, write metrics, tables and a report, print the key numbers."""

import math
from collections.abc import Sequence
from pathlib import Path

from auto_config.arguments import Names, Numbers, Place
from auto_config.choices import Coordinates, Missing, NameField, Outside
from auto_config.errors import UserError

# Of the field in mm (ISBI 2015); in pixels of unknown size there is no custom, so a wide range.
THRESHOLDS = {"mm": (2.0, 2.5, 3.0, 4.0), "px": (2.0, 5.0, 10.0, 20.0)}
SPLITS = ("training", "test")


def evaluate(
    predictions: Place,
    source: Place,
    *,
    output: Place | None = None,
    report: Place | None = None,
    thresholds: Numbers | None = None,
    format: str | None = None,
    split: str | None = None,
    cases: Names | None = None,
    missing: Missing = "unknown",
    outside: Outside = "error",
    coordinates: Coordinates | None = None,
    missing_value: str | None = None,
    names: NameField | None = None,
    pixel_spacing: Numbers | None = None,
    by: str | None = None,
    compare_with: Place | None = None,
    compare_published: str | None = None,
) -> int:
    """Compare predicted landmarks with true ones: errors in mm or pixels, tables, a report with pictures.

    The error of predicting the mean shape of the training cases stands beside that of the predictions.

    Args:
        predictions: the folder that `predict` wrote
        source: the data set with the true landmarks, as for `inspect`
        output: folder for the results, PREDICTIONS if not given
        report: write the HTML page to this file instead of OUTPUT/report.html
        thresholds: distances for the share of landmarks that are found; 2,2.5,3,4 mm if not given, or 2,5,10,20 pixels
            where their size is not known
        format: read SOURCE as this format instead of detecting it
        split: training or test: only the cases that SOURCE puts there
        cases: only these cases: anna,ben
        missing: what a name that one case's file lacks means, as for `create`
        outside: what a point outside its image is, as for `create`
        coordinates: what the numbers of a table are, as for `create`
        missing_value: coordinates that mark a missing point, as for `create`
        names: name of a point in Slicer's files: labels, descriptions or order (1, 2, ...); else chosen for all files
        pixel_spacing: mm of a pixel of pictures, as for `create`; errors are in pixels where it is not known
        by: a row of errors for each value of this column too: group, fold, split, or a further column of cases.csv
        compare_with: predictions of the same cases by another model, whose errors are compared case by case
        compare_published: a public data set, such as isbi2015: print what papers report of it, too

    Returns:
        The exit status: 0 once predictions and truth could be compared.

    Raises:
        UserError: wrong input, or nothing in common.

    Examples:
        auto_config evaluate results scans
        auto_config evaluate results scans --thresholds 0.5,1,2 --output report
        auto_config evaluate results scans --by group
        auto_config evaluate results scans --compare_with results_of_another_model
    """
    given_limits = None if thresholds is None else _checked(thresholds)
    if report is not None and not Path(report).absolute().parent.is_dir():
        raise UserError(f"--report {report}: the folder does not exist; create it or choose another")
    if split is not None and split not in SPLITS:
        raise UserError(f"--split {split}: allowed are {' and '.join(SPLITS)}")

    from auto_config.bundle_scripts.files.text import atomic_write_text
    from auto_config.datasets import read_dataset
    from auto_config.evaluation.comparison import compare
    from auto_config.evaluation.groups.columns import column_values
    from auto_config.evaluation.groups.table import by_column
    from auto_config.evaluation.predictions import read_predictions
    from auto_config.evaluation.published.rows import published_rows
    from auto_config.evaluation.report.page import report_page, worst_points
    from auto_config.evaluation.results import all_numbers, write_results
    from auto_config.evaluation.terminal import print_errors, print_results
    from auto_config.evaluation.truth import with_outside_absent
    from auto_config.evaluation.two_models import common_errors, compare_models

    papers = None if compare_published is None else published_rows(compare_published)
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
    print_errors(problems)
    if outside == "absent":
        dataset = with_outside_absent(dataset)
    comparison = compare(predicted, dataset, split=split, cases=cases)
    if papers is not None and comparison.unit != "mm":
        raise UserError("--compare_published: papers report mm and these are pixels; give --pixel_spacing")
    given = Path(predictions)
    place = given.parent if given.is_file() else given
    limits = given_limits or THRESHOLDS[comparison.unit]
    numbers = all_numbers(comparison, predicted, dataset, place, limits)
    if by is not None:
        numbers["by"] = by_column(comparison, by, column_values(dataset, by), limits)
    other_errors = None
    if compare_with is not None:
        other = compare(read_predictions(Path(compare_with)), dataset, split=split, cases=cases)
        numbers["other_model"] = compare_models(comparison, other, str(compare_with))
        other_errors = common_errors(comparison, other)
    folder = Path(output) if output is not None else place
    write_results(folder, comparison, numbers)
    page = folder / "report.html" if report is None else Path(report)
    text = report_page(comparison, numbers, worst_points(comparison), predicted.bundle, other_errors)
    atomic_write_text(page, text)
    print_results(comparison, numbers, page, papers)
    return 0


def _checked(thresholds: Sequence[float]) -> tuple[float, ...]:
    """Thresholds in ascending order, each once."""
    if not thresholds:
        raise UserError("--thresholds: is empty; give distances in mm (pixels, if their size is not known): 2,2.5,3,4")
    for threshold in thresholds:
        if not (math.isfinite(threshold) and threshold > 0):
            raise UserError(f"--thresholds: {threshold} is not a distance above 0")
    return tuple(sorted({float(threshold) for threshold in thresholds}))
