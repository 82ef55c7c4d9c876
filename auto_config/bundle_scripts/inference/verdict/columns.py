"""What is measured of a case for its verdict: a column for each number, and how it is said in words."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
"""Of the grey values of the body, after the bundle's normalisation."""


def _plain(value: float) -> str:
    return f"{value:.3g}"


def _of_log(value: float) -> str:
    return f"{math.exp(value):.3g}"


def _percent(value: float) -> str:
    return f"{100 * value:.0f} %"


def _of_logit(value: float) -> str:
    """Two digits of what is missing to 1: confidences of 0.9987 and 0.99996 are not alike."""
    missing = 1.0 / (1.0 + math.exp(-value))
    digits = min(max(1 - math.floor(math.log10(missing)), 2), 6)
    return f"{1.0 - missing:.{digits}f}"


def _times(value: float) -> str:
    return f"{math.exp(abs(value)):.3g} times"


@dataclass(frozen=True)
class Column:
    """One number of a case.

    Args:
        words: A sentence with ``{value}``, ``{low}``, ``{high}`` (what others had), ``{others}`` (who they are) and
            ``{unit}``.
        floor: Smallest standard deviation that it is given: below it, differences mean nothing.
        show: The number as text.
        both: Unusual where it is small, too.
        image: Said of the image, not of the points.
        what: What was not judged where a case has no such number.
    """

    words: str
    floor: float
    show: Callable[[float], str]
    what: str
    both: bool = False
    image: bool = False


COLUMNS: dict[str, Column] = {
    "shape": Column(
        "the points lie {value} {unit} from the training shapes ({others}: {low} to {high})", 0.1, _of_log, "shape"
    ),
    "worst": Column(
        "a point lies {value} times farther from the training shapes than that landmark strays ({others}: up to "
        "{high})",
        0.15,
        _of_log,
        "shape",
    ),
    "turn": Column(
        "the anatomy is turned by {value} degrees from the pose of the training cases ({others}: up to {high})",
        2.0,
        _plain,
        "pose",
    ),
    "size": Column(
        "the shape is {value} the size of the training shapes ({others}: {low} to {high})",
        0.03,
        lambda value: f"{math.exp(value):.3g} times",
        "pose",
        both=True,
    ),
    "place": Column(
        "the shape lies {value} of its size from its usual place in the image ({others}: up to {high})",
        0.05,
        _percent,
        "place in the image",
    ),
    "mirror": Column(
        "the image and its mirror image disagree by {value} {unit} ({others}: {low} to {high})",
        0.15,
        _of_log,
        "agreement with the mirror image",
    ),
    "views": Column(
        "the networks of the ensemble disagree by {value} {unit} ({others}: {low} to {high})",
        0.15,
        _of_log,
        "agreement of networks",
    ),
    "confidence": Column(
        "the evidence of the landmarks is low: confidence {value} ({others}: {high} to {low})",
        0.2,
        _of_logit,
        "confidence",
    ),
    "spread": Column(
        "the heatmaps are wide: {value} {unit} ({others}: {low} to {high})", 0.05, _of_log, "width of heatmaps"
    ),
    "coarse": Column(
        "the points of the coarse stage lie {value} {unit} from the training shapes ({others}: {low} to {high})",
        0.1,
        _of_log,
        "shape of the coarse points",
    ),
    "replaced": Column(
        "the shape took the place of {value} of the coarse points ({others}: up to {high})",
        0.03,
        _percent,
        "shape of the coarse points",
    ),
    "absent": Column("{value} of the landmarks were not found ({others}: up to {high})", 0.05, _percent, "presence"),
    "border": Column(
        "{value} of the points lie at the border of the image or beyond, the anatomy is cut off ({others}: up to "
        "{high})",
        0.03,
        _percent,
        "border of the image",
    ),
    "spacing": Column(
        "the voxels are {value} smaller or larger than any of the training cases", 0.08, _times, "spacing", image=True
    ),
    "extent": Column(
        "the image is {value} smaller or larger than any of the training cases", 0.08, _times, "extent", image=True
    ),
    "grey": Column(
        "the grey values are unusual: the {quantile} % quantile of the body is {value} after normalisation ({others}: "
        "{low} to {high})",
        0.1,
        _plain,
        "grey values",
        both=True,
        image=True,
    ),
}
"""By name. Those of grey values are called ``grey.CHANNEL.PERCENT``."""


def column(name: str) -> Column:
    """The column of a name."""
    return COLUMNS[name.partition(".")[0]]


def grey_names(channels: int) -> list[str]:
    """Names of the columns of grey values."""
    return [f"grey.{channel}.{100 * quantile:g}" for channel in range(channels) for quantile in QUANTILES]


def sentence(name: str, value: float, low: float, high: float, *, others: str, unit: str) -> str:
    """What a number says, beside those that others had."""
    one = column(name)
    shown = {"value": one.show(value), "low": one.show(low), "high": one.show(high)}
    return one.words.format(**shown, others=others, unit=unit, quantile=name.rpartition(".")[2])
