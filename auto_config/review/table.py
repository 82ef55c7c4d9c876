"""The review as a table: ``review.csv``."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence

import numpy as np

from auto_config.review.cohort import Cohort, Finding
from auto_config.review.kinds import KINDS
from auto_config.review.scans import Suggested

_NUMBERS = re.compile(r"-?[0-9.]+(e[+-][0-9]+)?( -?[0-9.]+(e[+-][0-9]+)?)*")

COLUMNS = (
    "what",
    "rank",
    "case",
    "landmarks",
    "kind",
    "distance",
    "unit",
    "score",
    "basis",
    "label",
    "expected",
    "detail",
)


def review_table(
    cohort: Cohort, suspects: Sequence[Finding], others: Sequence[Finding], scans: Sequence[Suggested]
) -> str:
    """Rows ``label`` (beyond the threshold), ``below`` (not beyond it) and ``scan`` (to label next), each ranked.

    Points are world mm (RAS), numbers with blanks between; several landmarks are separated by semicolons, and empty
    ones mean all points of the case.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for what, findings in (("label", suspects), ("below", others)):
        for rank, one in enumerate(findings, start=1):
            names = ";".join(cohort.names[landmark] for landmark in one.landmarks)
            kind = one.kind if what == "label" else ""
            detail = one.detail or (KINDS[one.kind].title if what == "label" else "")
            label, distance = cohort.labels[one.case, one.landmark], f"{one.distance:.6g}"
            row = [what, rank, cohort.cases[one.case], names, kind, distance if np.isfinite(one.distance) else ""]
            row += [cohort.unit, f"{one.score:.4g}", one.basis, _point(label), _point(one.predicted), detail]
            writer.writerow([_safe(cell) for cell in row])
    for rank, scan in enumerate(scans, start=1):
        row = [
            "scan",
            rank,
            scan.scan.name,
            "",
            "",
            "",
            cohort.unit,
            f"{scan.choice.value:.4g}",
            "",
            "",
            "",
            scan.reason,
        ]
        writer.writerow([_safe(cell) for cell in row])
    return text.getvalue()


def _safe(cell: object) -> object:
    """A text that no spreadsheet takes for a formula; numbers, also several and negative ones, stay as they are."""
    if not isinstance(cell, str) or cell[:1] not in ("=", "+", "-", "@", "\t", "\r"):
        return cell
    return cell if _NUMBERS.fullmatch(cell) else f"'{cell}"


def _point(point: np.ndarray) -> str:
    return " ".join(f"{value:.6g}" for value in point) if np.isfinite(point).all() else ""
