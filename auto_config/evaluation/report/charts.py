"""Charts of an evaluation as inline SVG: no script, no font, no library needed to look at them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from auto_config.evaluation.report.svg import BASELINE, GRID, MODEL, OTHER, RATERS, line, svg, text

WIDTH, LEFT, RIGHT = 640, 60, 20
ROW_HEIGHT, MAX_DOTS, MAX_NAME = 18, 4000, 28
_FLOOR_MM = 1e-3  # a logarithmic axis has no zero; nobody measures below a micrometre


def log_ticks(low: float, high: float) -> list[float]:
    """Ticks 1, 2, 5, 10, ... so that the first is at most ``low`` and the last at least ``high``; both above 0."""
    exponents = range(int(np.floor(np.log10(low))) - 1, int(np.ceil(np.log10(high))) + 2)
    ticks = [round(m * 10.0**e, 12) for e in exponents for m in (1, 2, 5)]
    first = max(i for i, tick in enumerate(ticks) if tick <= low)
    last = min(i for i, tick in enumerate(ticks) if tick >= high)
    return ticks[first : max(last, first + 1) + 1]


class _LogAxis:
    """Horizontal logarithmic axis in mm."""

    def __init__(self, values: np.ndarray, left: float = LEFT) -> None:
        self.left = left
        low, high = max(float(np.percentile(values, 2)), _FLOOR_MM), max(float(values.max()), 2 * _FLOOR_MM)
        self.ticks = log_ticks(min(low, high / 2), high)

    def __call__(self, value: float) -> float:
        """Pixels of a value; smaller ones than the first tick lie on it."""
        low, high = np.log10(self.ticks[0]), np.log10(self.ticks[-1])
        share = (np.log10(max(value, self.ticks[0])) - low) / (high - low)
        return float(self.left + share * (WIDTH - self.left - RIGHT))

    def draw(self, top: float, bottom: float, title: str) -> str:
        """Grid lines, ticks and title below."""
        lines = [line(self(t), top, self(t), bottom, GRID) for t in self.ticks]
        labels = [text(self(t), bottom + 16, f"{t:g}", "middle") for t in self.ticks]
        return "".join([*lines, *labels, text((self.left + WIDTH - RIGHT) / 2, bottom + 34, title, "middle")])


@dataclass(frozen=True)
class Curve:
    """Errors that are drawn as one curve: what it is called, colour and dashes."""

    label: str
    errors: np.ndarray
    colour: str
    dash: str = ""


def success_curve(
    errors: np.ndarray,
    baseline: np.ndarray,
    unit: str = "mm",
    raters: np.ndarray | None = None,
    other: np.ndarray | None = None,
) -> str:
    """Percent of landmarks within each distance of the truth, beside the mean-shape baseline.

    Args:
        errors: mm, NaN is left out.
        baseline: mm of the mean shape, NaN is left out; may have no number at all.
        unit: of all, if it is not mm.
        raters: distances between raters; None where there are none.
        other: errors of another model on the same cases; None where there is none.

    Returns:
        SVG; empty where there is no error.
    """
    if not np.isfinite(errors).any():
        return ""
    curves = [
        Curve("predicted", errors, MODEL),
        Curve("mean shape of the training cases", baseline, BASELINE, "6 4"),
        Curve("other model", other if other is not None else np.array([]), OTHER, "8 2"),
        Curve("between raters", raters if raters is not None else np.array([]), RATERS, "2 3"),
    ]
    curves = [Curve(c.label, c.errors[np.isfinite(c.errors)], c.colour, c.dash) for c in curves]
    curves = [curve for curve in curves if curve.errors.size]
    top, bottom = 14, 264
    axis = _LogAxis(np.concatenate([curve.errors for curve in curves]))

    def height(percent: float) -> float:
        return bottom - percent / 100 * (bottom - top)

    parts = [axis.draw(top, bottom, f"distance to the true point in {unit} (logarithmic)")]
    for percent in (0, 25, 50, 75, 100):
        parts += [line(LEFT, height(percent), WIDTH - RIGHT, height(percent), GRID)]
        parts += [text(LEFT - 8, height(percent) + 4, f"{percent} %", "end")]
    place = float(LEFT)
    for curve in reversed(curves):  # the model on top
        steps = [(float(LEFT), height(0))]
        percents = np.linspace(0, 100, curve.errors.size + 1)[1:]
        for value, percent in zip(np.sort(curve.errors), percents, strict=True):
            steps += [(axis(value), steps[-1][1]), (axis(value), height(percent))]
        steps.append((WIDTH - RIGHT, height(100)))
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in steps)
        style = f'fill="none" stroke="{curve.colour}" stroke-width="2" stroke-dasharray="{curve.dash}"'
        parts.append(f'<polyline points="{points}" {style}/>')
    for curve in curves:
        parts.append(line(place, bottom + 52, place + 24, bottom + 52, curve.colour, width=2, dash=curve.dash))
        parts.append(text(place + 30, bottom + 56, curve.label))
        place += 44 + 6.6 * len(curve.label)
    return svg(WIDTH, bottom + 66, "".join(parts), "share of landmarks found within a distance")


def landmark_chart(names: Sequence[str], errors: np.ndarray, unit: str = "mm") -> str:
    """One row for each landmark: a box from the 25th to the 75th percentile, the median, and a dot for each case.

    Args:
        names: (L,) landmark names.
        errors: (N, L) mm, NaN is left out.
        unit: of the errors, if it is not mm.

    Returns:
        SVG; empty where there is no error. Beyond 4000 errors only those outside of the boxes' whiskers get a dot.
    """
    known = errors[np.isfinite(errors)]
    if not known.size:
        return ""
    shown = [name if len(name) <= MAX_NAME else name[: MAX_NAME - 1] + "…" for name in names]
    axis = _LogAxis(known, left=max(LEFT, 16 + 7 * max(map(len, shown))))
    top, bottom = 8, 8 + ROW_HEIGHT * len(names)
    parts = [axis.draw(top, bottom, f"radial error in {unit} (logarithmic)")]
    for k, name in enumerate(names):
        y = top + ROW_HEIGHT * (k + 0.5)
        parts.append(text(axis.left - 8, y + 4, shown[k], "end", title=name))
        row = errors[:, k][np.isfinite(errors[:, k])]
        if row.size:
            parts.append(_box(axis, row, y, all_dots=known.size <= MAX_DOTS))
    return svg(WIDTH, bottom + 46, "".join(parts), "radial errors of each landmark")


def _box(axis: _LogAxis, row: np.ndarray, y: float, *, all_dots: bool) -> str:
    low, middle, high = np.percentile(row, [25, 50, 75])
    whisker = 1.5 * (high - low)
    dots = row if all_dots else row[(row < low - whisker) | (row > high + whisker)]
    width = max(axis(high) - axis(low), 1.0)
    size = f'width="{width:.1f}" height="10"'
    parts = [
        f'<rect x="{axis(low):.1f}" y="{y - 5:.1f}" {size} fill="{MODEL}" fill-opacity="0.25"/>',
        line(axis(middle), y - 6, axis(middle), y + 6, MODEL, width=2),
    ]
    parts += [f'<circle cx="{axis(e):.1f}" cy="{y:.1f}" r="2" fill="{MODEL}" fill-opacity="0.6"/>' for e in dots]
    return "".join(parts)
