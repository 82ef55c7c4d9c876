"""Whether the verdicts of a prediction find the cases that went wrong."""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import Any

import numpy as np

from auto_config.evaluation.comparison import Comparison
from auto_config.evaluation.report.sections import table
from auto_config.evaluation.tables import three_digits
from auto_config.wording import counted

WORDS = ("ok", "check", "failed")


def verdict_metrics(comparison: Comparison) -> dict[str, Any] | None:
    """For each verdict the number of cases, the mean and the largest of their mean errors, and every case.

    Args:
        comparison: of predictions and truth.

    Returns:
        ``{"ok": {"cases", "mre_mm", "largest_mm"}, "check": ..., "failed": ..., "per_case": {case: {"verdict",
        "reasons", "mre_mm"}}}``, ``px`` where lengths are in pixels, null where no error is known. None where there is
        no verdict.
    """
    if not comparison.verdicts:
        return None
    key, errors = f"mre_{comparison.unit}", dict(zip(comparison.cases, _case_errors(comparison.errors), strict=True))
    per_case = {case: {**said, key: errors[case]} for case, said in comparison.verdicts.items()}
    return {**{word: _summary(per_case, word, comparison.unit) for word in WORDS}, "per_case": per_case}


def verdict_line(found: Mapping[str, Any] | None, unit: str) -> list[str]:
    """A line for the terminal and the page: how many cases of each verdict, with their mean error."""
    if not found:
        return []
    parts = []
    for word in WORDS:
        row = found[word]
        if row["cases"]:
            mean = "" if row[f"mre_{unit}"] is None else f" (mean error {row[f'mre_{unit}']:.3g} {unit})"
            parts.append(f"{word} {counted(row['cases'], 'case')}{mean}")
    return [f"Verdicts: {', '.join(parts)}."] if parts else []


def verdict_section(found: Mapping[str, Any] | None, unit: str) -> str:
    """A part of the page: the cases that the prediction calls check or failed, with their errors."""
    if not found:
        return ""
    doubtful = [(case, row) for case, row in found["per_case"].items() if row["verdict"] != "ok"]
    doubtful.sort(key=lambda item: (item[1]["verdict"] != "failed", item[0]))
    rows = [
        (
            case,
            row["verdict"],
            f"{three_digits(row[f'mre_{unit}'])} {unit}",
            row["reasons"][0] if row["reasons"] else "",
        )
        for case, row in doubtful
    ]
    lines = "".join(f"<p>{html.escape(line)}</p>" for line in verdict_line(found, unit))
    listed = table(("case", "verdict", "mean error", "reason"), rows) if rows else ""
    return f'<h2>Does the prediction know which cases went wrong?</h2>{lines}<div class="wide">{listed}</div>'


def _case_errors(errors: np.ndarray) -> list[float | None]:
    """Mean error of each case of (N, L), None where no landmark has one."""
    return [float(row[np.isfinite(row)].mean()) if np.isfinite(row).any() else None for row in errors]


def _summary(per_case: Mapping[str, Mapping[str, Any]], word: str, unit: str) -> dict[str, Any]:
    own = [row[f"mre_{unit}"] for row in per_case.values() if row["verdict"] == word]
    known = [error for error in own if error is not None]
    return {
        "cases": len(own),
        f"mre_{unit}": float(np.mean(known)) if known else None,
        f"largest_{unit}": max(known, default=None),
    }
