"""The few SVG elements that charts are made of, and their colours."""

from __future__ import annotations

import html

MODEL, BASELINE, GRID, TEXT = "#1b6ca8", "#9a9a9a", "#e3e3e3", "#333"
OTHER, RATERS = "#b3541e", "#2a8a4a"


def line(x1: float, y1: float, x2: float, y2: float, colour: str, *, width: float = 1, dash: str = "") -> str:
    """A straight line between two places in pixels."""
    place = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
    return f'<line {place} stroke="{colour}" stroke-width="{width}" stroke-dasharray="{dash}"/>'


def text(x: float, y: float, words: str, anchor: str = "start", title: str = "") -> str:
    """Words at a place; `title` shows when a pointer rests on them."""
    hint = f"<title>{html.escape(title)}</title>" if title else ""
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f'<text {place} font-size="12" fill="{TEXT}">{html.escape(words)}{hint}</text>'


def svg(width: float, height: float, content: str, label: str) -> str:
    """The whole picture; `label` is read out to those who do not see it."""
    size = f'viewBox="0 0 {width:.0f} {height:.0f}" font-family="sans-serif"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label="{html.escape(label)}">{content}</svg>'
    )
