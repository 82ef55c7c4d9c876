"""Charts of presence, regions and measures, as inline SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from auto_config.evaluation.report.svg import BASELINE, GRID, MODEL, OTHER, RATERS, line, svg, text

SIZE, LEFT, TOP = 260, 52, 12
"""Pixels of a square chart without its words."""
_COLOURS = (MODEL, OTHER, RATERS)


def roc_chart(false_rate: np.ndarray, true_rate: np.ndarray, area: float) -> str:
    """ROC curve of presence: rates in [0, 1]; `area` is written beside it."""
    parts = [_square("absent landmarks called present", "present landmarks found"), _diagonal()]
    parts += [_polyline([_place(x, y) for x, y in zip(false_rate, true_rate, strict=True)], MODEL)]
    parts.append(text(LEFT + SIZE - 8, TOP + SIZE - 12, f"AUROC {area:.3f}", "end"))
    return _picture(parts, "ROC curve of presence")


def reliability_chart(rows: Sequence[Mapping[str, Any]]) -> str:
    """How often landmarks are present where the model says so with a probability; rows as `reliability` gives them."""
    parts = [_square("probability of presence", "share that is present"), _diagonal()]
    places = [_place(row["probability"], row["share"]) for row in rows]
    parts.append(_polyline(places, MODEL))
    most = max((row["count"] for row in rows), default=1)
    for (x, y), row in zip(places, rows, strict=True):
        radius = 2.5 + 5 * (row["count"] / most) ** 0.5
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}" fill="{MODEL}" fill-opacity="0.6"/>')
    return _picture(parts, "reliability of the probability of presence")


def coverage_chart(regions: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    """Share of true points inside of their regions against the share that was promised, for each kind of region."""
    parts = [_square("promised", "inside"), _diagonal()]
    for number, (kind, levels) in enumerate(regions.items()):
        known = [(float(level), row["share"]) for level, row in levels.items() if row["share"] is not None]
        colour = _COLOURS[number % len(_COLOURS)]
        places = [_place(x, y) for x, y in known]
        parts.append(_polyline(places, colour))
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"/>' for x, y in places]
        y = TOP + 20 + 18 * number
        parts += [line(LEFT + 10, y - 4, LEFT + 30, y - 4, colour, width=2), text(LEFT + 36, y, kind)]
    return _picture(parts, "coverage of the regions")


def bland_altman(predicted: np.ndarray, true: np.ndarray, agreement: Mapping[str, Any], name: str, unit: str) -> str:
    """Bland-Altman plot: difference of predicted and true measures against their mean, with bias and limits.

    Args:
        predicted: (N,), NaN where not known.
        true: (N,).
        agreement: What `measures.agreement` made of them.
        name: Name of the measure.
        unit: Its unit.

    Returns:
        SVG; empty where no case has both.
    """
    both = np.isfinite(predicted) & np.isfinite(true)
    if not both.any():
        return ""
    mean, difference = ((predicted + true) / 2)[both], (predicted - true)[both]
    lines = [agreement["bias"], *(agreement["limits"] or [])]
    x_axis, y_axis = _range(mean), _range(np.concatenate([difference, np.array(lines), [0.0]]))

    def place(x: float, y: float) -> tuple[float, float]:
        return _place((x - x_axis[0]) / (x_axis[1] - x_axis[0]), (y - y_axis[0]) / (y_axis[1] - y_axis[0]))

    parts = [_frame(f"mean of both {unit}".strip(), f"predicted - true {unit}".strip())]
    for value, position in ((x_axis[0], "start"), (x_axis[1], "end")):
        parts.append(text(place(value, y_axis[0])[0], TOP + SIZE + 16, f"{value:.4g}", position))
    for value, dash in [(0.0, ""), *zip(lines, ("", "6 4", "6 4"), strict=False)]:
        y = place(x_axis[0], value)[1]
        parts.append(line(LEFT, y, LEFT + SIZE, y, MODEL if value in lines else GRID, dash=dash))
        parts.append(text(LEFT - 6, y + 4, f"{value:.3g}", "end"))
    for x, y in (place(a, b) for a, b in zip(mean, difference, strict=True)):
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{MODEL}" fill-opacity="0.6"/>')
    parts.append(text(LEFT + SIZE / 2, TOP + 14, name, "middle"))
    return _picture(parts, f"agreement of {name}")


def _range(values: np.ndarray) -> tuple[float, float]:
    """Ends of an axis with some room beside the values."""
    low, high = float(values.min()), float(values.max())
    room = 0.08 * (high - low) or max(abs(high), 1.0) * 0.05
    return low - room, high + room


def _place(x: float, y: float) -> tuple[float, float]:
    """Pixels of a place in the unit square."""
    return LEFT + x * SIZE, TOP + (1 - y) * SIZE


def _frame(below: str, beside: str) -> str:
    corners = [_place(*corner) for corner in ((0, 0), (1, 0), (1, 1), (0, 1), (0, 0))]
    middle = TOP + SIZE / 2
    turned = f'<g transform="rotate(-90 12 {middle:.0f})">{text(12, middle, beside, "middle")}</g>'
    return _polyline(corners, BASELINE, width=1) + text(LEFT + SIZE / 2, TOP + SIZE + 34, below, "middle") + turned


def _square(below: str, beside: str) -> str:
    """The unit square with its grid."""
    parts = []
    for value in (0.25, 0.5, 0.75):
        parts += [line(*_place(value, 0), *_place(value, 1), GRID), line(*_place(0, value), *_place(1, value), GRID)]
    for value in (0.0, 0.5, 1.0):
        parts.append(text(_place(value, 0)[0], TOP + SIZE + 16, f"{value:.0%}", "middle"))
        parts.append(text(LEFT - 6, _place(0, value)[1] + 4, f"{value:.0%}", "end"))
    return "".join(parts) + _frame(below, beside)


def _diagonal() -> str:
    return line(*_place(0, 0), *_place(1, 1), BASELINE, dash="4 4")


def _polyline(places: Sequence[tuple[float, float]], colour: str, width: float = 2) -> str:
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    return f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="{width}"/>'


def _picture(parts: Sequence[str], label: str) -> str:
    return svg(LEFT + SIZE + 26, TOP + SIZE + 44, "".join(parts), label)
