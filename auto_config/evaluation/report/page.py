"""``report.html``: one page with nothing outside of it, readable on a phone."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from string import Template
from typing import Any

import numpy as np

from auto_config.bundle_scripts.points.landmark_names import listed
from auto_config.datasets.images import read_image
from auto_config.errors import UserError
from auto_config.evaluation.baseline import is_clearly_better, verdict
from auto_config.evaluation.comparison import Comparison
from auto_config.evaluation.groups.table import group_section
from auto_config.evaluation.instances import instance_paragraphs
from auto_config.evaluation.metrics import STATISTICS
from auto_config.evaluation.report.charts import landmark_chart, success_curve
from auto_config.evaluation.report.pictures import error_picture
from auto_config.evaluation.report.sections import (
    comparison_section,
    measure_section,
    presence_section,
    region_section,
)
from auto_config.evaluation.report.verdicts import verdict_section
from auto_config.evaluation.tables import in_percent, key_numbers, three_digits, with_unit
from auto_config.wording import counted

_NAMED = 10
WORST = 6
"""So many cases, those with the largest error of one landmark, are shown with pictures."""


_PICTURES = {
    2: "Green ring: true point; red cross: predicted point.",
    3: "The upper row shows slices through the true point, the lower row through the predicted one. Green ring: true "
    "point; red cross: predicted point, both drawn where they fall on the slice. Patient right is on the left side; in "
    "sagittal slices anterior is on the right.",
}


@dataclass(frozen=True)
class WorstPoint:
    """The landmark with the largest error of a case, in the unit of the evaluation."""

    case: str
    landmark: str
    error: float
    picture: bytes | None


def worst_points(comparison: Comparison, count: int = WORST) -> list[WorstPoint]:
    """The landmark with the largest error in each of the ``count`` worst cases, worst first.

    A case whose image cannot be read has no picture.
    """
    if not comparison.names:
        return []
    errors = np.where(np.isfinite(comparison.errors), comparison.errors, -1.0)
    order = np.argsort(-errors.max(axis=1), kind="stable")[:count]
    found = []
    for n in order:
        k = int(errors[n].argmax())
        if errors[n, k] < 0:
            continue
        try:
            spacing = comparison.pixel_spacings[n] if comparison.pixel_spacings else None
            image = read_image(comparison.images[n], spacing)
            radius = comparison.radius[n, k] if comparison.radius.size else np.nan
            picture = error_picture(image, comparison.truth[n, k], comparison.predicted[n, k], radius)
        except (UserError, OSError, ValueError):
            picture = None
        found.append(WorstPoint(comparison.cases[n], comparison.names[k], float(errors[n, k]), picture))
    return found


def report_page(
    comparison: Comparison,
    metrics: Mapping[str, Any],
    worst: Sequence[WorstPoint],
    bundle: str,
    other_errors: np.ndarray | None = None,
) -> str:
    """The whole page.

    Args:
        comparison: predictions and truth.
        metrics: what `metrics` made of it.
        worst: what `worst_points` found.
        bundle: name and version of the bundle, empty where not known.
        other_errors: errors of another model on the same cases, None where there is none.

    Returns:
        HTML with inline style, SVG and pictures.
    """
    baseline, unit = metrics["mean_shape_baseline"], metrics["unit"]
    key = f"mre_{unit}"
    mean = metrics[key]["mean"]
    other = baseline[key]["mean"] if baseline else None
    is_good = mean is not None and other is not None and is_clearly_better(mean, other)
    template = Template(files(__package__).joinpath("report.html").read_text(encoding="utf-8"))
    return template.substitute(
        title=html.escape(f"Landmark errors of {bundle}" if bundle else "Landmark errors"),
        verdict=html.escape(verdict(mean, other, unit)),
        verdict_class="good" if is_good else "bad",
        counts=html.escape(counts(comparison, metrics)),
        notes="".join(f"<p>{html.escape(note)}</p>" for note in notes(comparison)),
        key_numbers=_rows(key_numbers(metrics, baseline)),
        instances=instance_paragraphs(metrics.get("instances"), unit),
        success_curve=success_curve(
            comparison.errors, comparison.baseline_errors, unit, comparison.rater_errors, other_errors
        ),
        by_group=group_section(metrics.get("by"), unit),
        verdicts=verdict_section(metrics.get("verdicts"), unit),
        presence=presence_section(metrics["presence"]),
        regions=region_section(metrics["regions"], comparison.calibration, comparison.truth.shape[-1], unit),
        measures=measure_section(comparison, metrics["measures"]),
        other_model=comparison_section(metrics.get("other_model"), unit),
        landmark_chart=landmark_chart(comparison.names, comparison.errors, unit),
        pictures=_PICTURES[comparison.truth.shape[-1]],
        worst="".join(_figure(point, unit) for point in worst),
        unit=unit,
        per_landmark=_table("landmark", metrics["per_landmark"], unit),
        per_case=_table("case", metrics["per_case"], unit),
    )


def counts(comparison: Comparison, metrics: Mapping[str, Any]) -> str:
    """One sentence: how much was compared."""
    presence = metrics["presence"]
    return (
        f"{counted(len(comparison.cases), 'case')} with {counted(len(comparison.names), 'landmark')} each: "
        f"{presence['present']} present, {presence['absent']} absent, {presence['unknown']} not annotated. "
        f"Errors are distances in {comparison.unit} between the predicted and the true points of present landmarks."
        + (" The size of a pixel is not known: --pixel_spacing gives it." if comparison.unit == "px" else "")
    )


def notes(comparison: Comparison) -> list[str]:
    """What to know of the numbers: training cases among them, and what was left out; one sentence for each."""
    failed = [f"{case} ({reason})" for case, reason in comparison.failed.items()]
    not_tried = [case for case in comparison.without_prediction if case not in comparison.failed]
    found = [
        ("Could not be predicted", failed),
        ("In the data set, but not predicted", not_tried),
        ("Predicted, but without truth", comparison.without_truth),
    ]
    texts = [f"{what}: {_count(names)} ({listed(names, _NAMED)})." for what, names in found if names]
    if seen := comparison.training_cases:
        texts.insert(
            0,
            f"NOT a test: {len(seen)} of the {_count(comparison.cases)} are training cases of the bundle "
            f"({listed(seen, _NAMED)}); for the error on its test cases, predict and evaluate the bundle's "
            "data/datalist.json with --split test.",
        )
    if comparison.implausible.any():
        places = [f"{comparison.names[k]} in {comparison.cases[n]}" for n, k in np.argwhere(comparison.implausible)]
        texts.append(f"Points that the shape of the others rules out: {listed(places, _NAMED)}.")
    if comparison.names_without_prediction:
        texts.append(f"Landmarks that the model does not know: {listed(comparison.names_without_prediction, _NAMED)}.")
    if comparison.names_without_truth:
        texts.append(
            f"Predicted landmarks that the truth does not have: {listed(comparison.names_without_truth, _NAMED)}."
        )
    return texts


def _count(names: Sequence[str]) -> str:
    return f"{len(names)} case{'' if len(names) == 1 else 's'}"


def _rows(rows: Sequence[tuple[str, ...]]) -> str:
    return "".join(
        f"<tr><th>{html.escape(head)}</th>{''.join(f'<td>{html.escape(cell)}</td>' for cell in cells)}</tr>\n"
        for head, *cells in rows
    )


def _table(kind: str, rows: Mapping[str, Any], unit: str) -> str:
    thresholds = list(next(iter(rows.values()))["sdr"]) if rows else []
    heads = [kind, *STATISTICS, *[f"within {threshold} {unit}" for threshold in thresholds]]
    key = f"mre_{unit}"
    body = _rows(
        [
            (
                name,
                *[three_digits(row[key][statistic]) for statistic in STATISTICS[:-1]],
                str(row[key]["n"]),
                *[in_percent(rate) for rate in row["sdr"].values()],
            )
            for name, row in rows.items()
        ]
    )
    head = "".join(f"<th>{html.escape(text)}</th>" for text in heads)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _figure(point: WorstPoint, unit: str) -> str:
    caption = f"<b>{html.escape(point.case)}</b>, landmark {html.escape(point.landmark)}: "
    caption += with_unit(point.error, unit)
    if point.picture is None:
        return f"<figure><figcaption>{caption} (the image is not at hand)</figcaption></figure>\n"
    data = base64.b64encode(point.picture).decode()
    name = html.escape(f"slices of {point.case} through landmark {point.landmark}")
    return (
        f'<figure><img alt="{name}" src="data:image/jpeg;base64,{data}"><figcaption>{caption}</figcaption></figure>\n'
    )
