"""The unlabelled scans: predicted by the bundle, described, and chosen from."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import track

from auto_config.bundle.opened import OpenBundle
from auto_config.datasets.images import read_image
from auto_config.errors import UserError, one_line
from auto_config.review.cohort import Cohort
from auto_config.review.looks import grey_look, shape_looks
from auto_config.review.teaching import Choice, case_uncertainty, choose_scans, landmark_uncertainty, reason

_MOST_LABELLED = 60
"""Images of so many labelled cases are read for their grey values, spread over the list."""
_NAMED = 3
_SPREADS = ("radius_mm", "spread_mm", "disagreement_mm")


@dataclass(frozen=True)
class Scan:
    """An unlabelled scan with what was predicted.

    Args:
        name: of the case.
        image: its files.
        points: (L, D) world mm of the landmarks of the cohort, NaN where not predicted.
        spread: (L,) mm that a point may be off: the largest of radius, spread and disagreement; NaN where not known.
        confidence: (L,).
        grey: what `grey_look` says.
    """

    name: str
    image: tuple[Path, ...]
    points: np.ndarray
    spread: np.ndarray
    confidence: np.ndarray
    grey: np.ndarray


@dataclass(frozen=True)
class Suggested:
    """A scan to label next, and why."""

    scan: Scan
    choice: Choice
    reason: str


def predict_scans(
    opened: OpenBundle, images: Mapping[str, tuple[Path, ...]], names: Sequence[str]
) -> tuple[list[Scan], list[str]]:
    """Predict and describe scans; one that cannot be is left out with a line.

    Args:
        opened: the bundle.
        images: files of each case.
        names: landmarks of the cohort.
    """
    scans, failed = [], []
    for name, paths in track(images.items(), description="scans", transient=True, disable=not sys.stderr.isatty()):
        try:
            result = opened.predict(opened.preprocess(paths))["result"]
            grey = grey_look(read_image(list(paths)).array)
        except Exception as error:
            failed.append(f"{paths[0]}: {one_line(error)}")
            continue
        scans.append(Scan(name, paths, *_numbers(result, names, opened.spatial_dims), grey))
    return scans, failed


def _numbers(result: Mapping[str, Any], names: Sequence[str], dims: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points (L, D), spreads and confidences (L,) of the first row of each landmark of a result."""
    points, spread, confidence = (
        np.full((len(names), dims), np.nan),
        np.full(len(names), np.nan),
        np.full(len(names), np.nan),
    )
    for item in reversed(result["landmarks"]):
        if item["name"] in names:
            row = list(names).index(item["name"])
            points[row], confidence[row] = item["world"], item["confidence"]
            known = [value for key in _SPREADS if (value := item.get(key)) is not None and np.isfinite(value)]
            spread[row] = max(known) if known else np.nan
    return points, spread, confidence


def suggest(scans: Sequence[Scan], cohort: Cohort, images: Mapping[str, Sequence[Path]], count: int) -> list[Suggested]:
    """The scans that would teach most, the best first.

    Args:
        scans: unlabelled ones.
        cohort: the labelled cases.
        images: files of these.
        count: how many at most.

    Raises:
        UserError: there is no scan.
    """
    if not scans:
        raise UserError("no unlabelled scan could be predicted; see the lines above")
    own, labelled = shape_looks(np.array([scan.points for scan in scans]), cohort.labels)
    greys = np.array([scan.grey for scan in scans])
    known = _labelled_greys(cohort.cases, images, greys.shape[1])
    rows = np.flatnonzero(np.isfinite(known).all(-1))
    # With images of labelled cases gone, shapes alone say what is new.
    looks = np.concatenate([own, greys], axis=1) if rows.size else own if own.shape[1] else greys
    others = np.concatenate([labelled, known], axis=1)[rows] if rows.size else labelled
    if not rows.size and not own.shape[1]:
        others = np.zeros((0, looks.shape[1]))
    unsure = np.array([case_uncertainty(scan.spread, scan.confidence) for scan in scans])
    return [
        Suggested(scans[one.index], one, reason(one, _least_sure(scans[one.index], cohort.names)))
        for one in choose_scans(unsure, looks, others, count)
    ]


def _labelled_greys(cases: Sequence[str], images: Mapping[str, Sequence[Path]], width: int) -> np.ndarray:
    """(N, F) grey values of up to 60 labelled cases, NaN for the others and for images that cannot be read."""
    out = np.full((len(cases), width), np.nan)
    step = max(1, -(-len(cases) // _MOST_LABELLED))
    for row in range(0, len(cases), step):
        out[row] = _grey(images.get(cases[row], ()), width)
    return out


def _grey(paths: Sequence[Path], width: int) -> np.ndarray:
    try:
        return grey_look(read_image(list(paths)).array)
    except (UserError, OSError, ValueError, IndexError):
        return np.full(width, np.nan)


def _least_sure(scan: Scan, names: Sequence[str]) -> list[str]:
    values = landmark_uncertainty(scan.spread, scan.confidence)
    known = np.flatnonzero(np.isfinite(values))
    return [names[row] for row in known[np.argsort(-values[known], kind="stable")][:_NAMED]]
