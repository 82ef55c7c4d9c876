"""Compare predictions with true points."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from auto_config.api.data import read_dataset
from auto_config.api.plotting import errors_figure, regions_figure
from auto_config.api.predicting import Predictions, pandas_package
from auto_config.commands.evaluate import THRESHOLDS
from auto_config.datasets import Dataset
from auto_config.evaluation.comparison import Comparison, compare
from auto_config.evaluation.groups.columns import column_values
from auto_config.evaluation.groups.table import by_column
from auto_config.evaluation.predictions import read_predictions
from auto_config.evaluation.report.page import report_page, worst_points
from auto_config.evaluation.results import all_numbers, write_results

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Evaluation:
    """Errors of predictions.

    Attributes:
        comparison: cases, names, points and errors as arrays.
        numbers: content of ``metrics.json``.
        bundle: name and version of the bundle.
    """

    comparison: Comparison
    numbers: dict[str, Any]
    bundle: str = ""

    @property
    def errors(self) -> np.ndarray:
        """(N, L) distances in ``unit``, NaN where there is no true point."""
        return self.comparison.errors

    @property
    def unit(self) -> str:
        """``"mm"``, or ``"px"`` where the size of pixels is not known."""
        return self.comparison.unit

    @property
    def mean(self) -> float:
        """Mean radial error."""
        return float(self.numbers[f"mre_{self.unit}"]["mean"])

    @property
    def mean_shape(self) -> float | None:
        """Mean error of predicting the mean shape of the training cases, which looks at no image."""
        baseline = self.numbers["mean_shape_baseline"]
        return None if not baseline else float(baseline[f"mre_{self.unit}"]["mean"])

    def to_pandas(self) -> pandas.DataFrame:
        """Errors with a row for each case and a column for each landmark.

        Raises:
            UserError: pandas is not installed.
        """
        pandas = pandas_package()
        return pandas.DataFrame(self.errors, index=list(self.comparison.cases), columns=list(self.comparison.names))

    def plot(self) -> Figure:
        """Errors of each landmark in each case, beside those of the mean shape.

        Raises:
            UserError: no landmark has a true point, or matplotlib is not installed.
        """
        return errors_figure(self.comparison)

    def plot_regions(self) -> Figure:
        """The error of each point against the size of its region.

        Raises:
            UserError: the bundle is not calibrated, or matplotlib is not installed.
        """
        return regions_figure(self.comparison)

    def save(self, folder: str | Path) -> Path:
        """Write what `auto_config evaluate` writes: ``metrics.json``, tables and ``report.html``; gives the page."""
        write_results(Path(folder), self.comparison, self.numbers)
        page = Path(folder) / "report.html"
        text = report_page(self.comparison, self.numbers, worst_points(self.comparison), self.bundle, None)
        page.write_text(text, encoding="utf-8")
        return page


def evaluate(
    predictions: Predictions | str | Path,
    truth: Dataset | str | Path,
    *,
    thresholds: Sequence[float] | None = None,
    cases: Sequence[str] | None = None,
    by: str | None = None,
) -> Evaluation:
    """Compare predicted with true landmarks.

    Args:
        predictions: what `predict` gave, or a folder that `auto_config predict` wrote.
        truth: a data set, or its path.
        thresholds: distances for the share of landmarks that are found, in mm (pixels where their size is not known).
        cases: only these cases.
        by: ``numbers["by"]`` has the errors for each value of this column too: ``group``, ``fold``, ``split``, or a
            further column of the data set's ``cases.csv``.

    Raises:
        UserError: they have no case or landmark in common, or cannot be read.
    """
    dataset = truth if isinstance(truth, Dataset) else read_dataset(truth)
    if isinstance(predictions, Predictions):
        with tempfile.TemporaryDirectory() as folder:
            return _compared(predictions.save(folder), dataset, thresholds, cases, by)
    return _compared(Path(predictions), dataset, thresholds, cases, by)


def _compared(
    folder: Path, dataset: Dataset, thresholds: Sequence[float] | None, cases: Sequence[str] | None, by: str | None
) -> Evaluation:
    found = read_predictions(folder)
    comparison = compare(found, dataset, cases=cases)
    limits = sorted(thresholds) if thresholds is not None else THRESHOLDS[comparison.unit]
    place = folder.parent if folder.is_file() else folder
    numbers = all_numbers(comparison, found, dataset, place, limits)
    if by is not None:
        numbers["by"] = by_column(comparison, by, column_values(dataset, by), limits)
    return Evaluation(comparison, numbers, found.bundle)
