"""Charts of an evaluation as inline SVG: no script, no font, no library needed to look at them."""

from __future__ import annotations

import html
from collections.abc import Sequence

import numpy as np

WIDTH, LEFT, RIGHT = 640, 60, 20
MODEL, BASELINE, GRID, TEXT = "#1b6ca8", "#9a9a9a", "#e3e3e3", "#333"
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
        lines = [_line(self(t), top, self(t), bottom, GRID) for t in self.ticks]
        labels = [_text(self(t), bottom + 16, f"{t:g}", "middle") for t in self.ticks]
        return "".join([*lines, *labels, _text((self.left + WIDTH - RIGHT) / 2, bottom + 34, title, "middle")])


def success_curve(errors: np.ndarray, baseline: np.ndarray, unit: str = "mm") -> str:
    """Percent of landmarks within each distance of the truth, beside the mean-shape baseline.

    Args:
        errors: mm, NaN is left out.
        baseline: mm of the mean shape, NaN is left out; may have no number at all.
        unit: of both, if it is not mm.

    Returns:
        SVG; empty where there is no error.
    """
    known, other = errors[np.isfinite(errors)], baseline[np.isfinite(baseline)]
    if not known.size:
        return ""
    top, bottom = 14, 264
    axis = _LogAxis(np.concatenate([known, other]))

    def height(percent: float) -> float:
        return bottom - percent / 100 * (bottom - top)

    parts = [axis.draw(top, bottom, f"distance to the true point in {unit} (logarithmic)")]
    for percent in (0, 25, 50, 75, 100):
        parts += [_line(LEFT, height(percent), WIDTH - RIGHT, height(percent), GRID)]
        parts += [_text(LEFT - 8, height(percent) + 4, f"{percent} %", "end")]
    for values, colour, dash in ((other, BASELINE, "6 4"), (known, MODEL, "")):
        if values.size:
            steps = [(float(LEFT), height(0))]
            percents = np.linspace(0, 100, values.size + 1)[1:]
            for value, percent in zip(np.sort(values), percents, strict=True):
                steps += [(axis(value), steps[-1][1]), (axis(value), height(percent))]
            steps.append((WIDTH - RIGHT, height(100)))
            points = " ".join(f"{x:.1f},{y:.1f}" for x, y in steps)
            style = f'fill="none" stroke="{colour}" stroke-width="2" stroke-dasharray="{dash}"'
            parts.append(f'<polyline points="{points}" {style}/>')
    parts += [
        _line(LEFT, bottom + 52, LEFT + 24, bottom + 52, MODEL, width=2),
        _text(LEFT + 30, bottom + 56, "predicted"),
    ]
    if other.size:
        parts += [_line(LEFT + 120, bottom + 52, LEFT + 144, bottom + 52, BASELINE, width=2, dash="6 4")]
        parts += [_text(LEFT + 150, bottom + 56, "mean shape of the training cases")]
    return _svg(WIDTH, bottom + 66, "".join(parts), "share of landmarks found within a distance")


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
        parts.append(_text(axis.left - 8, y + 4, shown[k], "end", title=name))
        row = errors[:, k][np.isfinite(errors[:, k])]
        if row.size:
            parts.append(_box(axis, row, y, all_dots=known.size <= MAX_DOTS))
    return _svg(WIDTH, bottom + 46, "".join(parts), "radial errors of each landmark")


def _box(axis: _LogAxis, row: np.ndarray, y: float, *, all_dots: bool) -> str:
    low, middle, high = np.percentile(row, [25, 50, 75])
    whisker = 1.5 * (high - low)
    dots = row if all_dots else row[(row < low - whisker) | (row > high + whisker)]
    width = max(axis(high) - axis(low), 1.0)
    size = f'width="{width:.1f}" height="10"'
    parts = [
        f'<rect x="{axis(low):.1f}" y="{y - 5:.1f}" {size} fill="{MODEL}" fill-opacity="0.25"/>',
        _line(axis(middle), y - 6, axis(middle), y + 6, MODEL, width=2),
    ]
    parts += [f'<circle cx="{axis(e):.1f}" cy="{y:.1f}" r="2" fill="{MODEL}" fill-opacity="0.6"/>' for e in dots]
    return "".join(parts)


def _line(x1: float, y1: float, x2: float, y2: float, colour: str, *, width: float = 1, dash: str = "") -> str:
    place = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
    return f'<line {place} stroke="{colour}" stroke-width="{width}" stroke-dasharray="{dash}"/>'


def _text(x: float, y: float, text: str, anchor: str = "start", title: str = "") -> str:
    hint = f"<title>{html.escape(title)}</title>" if title else ""
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f'<text {place} font-size="12" fill="{TEXT}">{html.escape(text)}{hint}</text>'


def _svg(width: float, height: float, content: str, label: str) -> str:
    size = f'viewBox="0 0 {width:.0f} {height:.0f}" font-family="sans-serif"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label="{html.escape(label)}">{content}</svg>'
    )
