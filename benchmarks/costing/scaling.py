"""Seconds and memory against the number of landmarks, the volume and the number of cases."""

from __future__ import annotations

import json
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from costing.headers import make_cases
from costing.measuring import in_a_process

LANDMARKS = (5, 10, 20, 50, 100, 200)
EDGES = (64, 96, 128, 192, 256, 384, 512)
CASES = (10, 100, 1000, 10_000)
LIMIT_SECONDS = 120.0
"""A side that would take longer, by its last two values, is not asked."""

SIDES = ("ours", "usual")


@dataclass(frozen=True)
class Series:
    """One column of the picture.

    Args:
        title: what is counted along it.
        part: module of `costing`.
        name: option that is changed.
        values: of it.
        fixed: the other options.
        power: with which the work grows, at most.
        labels: of `SIDES`.
    """

    title: str
    part: str
    name: str
    values: tuple[int, ...]
    fixed: dict[str, Any]
    power: int
    labels: tuple[str, str]


Rows = dict[str, list[list[float]]]
"""For each side rows of ``[value, seconds, MB]``."""


def columns(cases: Path, *, quick: bool) -> list[Series]:
    """What is measured.

    Args:
        cases: folder with the most cases.
        quick: small sizes.
    """
    sizes = ((2, 4), (24, 32), (10, 20)) if quick else (LANDMARKS, EDGES, CASES)
    patch, size, few = (16, 32, 2) if quick else (64, 128, 5)
    merged = ("slabs (ours)", "whole map (MONAI)")
    read = ("inspect --headers_only, all checks", "nibabel and json, no check")
    return [
        Series(
            f"landmarks, volume {size}³", "inference", "landmarks", sizes[0], {"size": size, "patch": patch}, 1, merged
        ),
        Series(
            f"edge of the volume, {few} landmarks",
            "inference",
            "size",
            sizes[1],
            {"patch": patch, "landmarks": few},
            3,
            merged,
        ),
        Series(
            "cases, read by their headers", "headers", "cases", sizes[2], {"folder": str(cases), "repeats": 1}, 1, read
        ),
    ]


def measure_series(command: Path, series: Series) -> Rows:
    """Both sides at once, each on a core, so that what else the machine does slows both."""
    found: Rows = {side: [] for side in SIDES}
    with ThreadPoolExecutor(len(SIDES)) as pool:
        for value in series.values:
            asked = [side for side in SIDES if not _too_long(found[side], value, series.power)]
            measure = partial(_one, command, series, value)
            for side, one in zip(asked, pool.map(measure, asked), strict=True):
                found[side].append([value, one["seconds"], one["mb"]])
    return found


def _one(command: Path, series: Series, value: int, side: str) -> dict[str, float]:
    return in_a_process(command, f"{series.part}.{side}", series.fixed | {series.name: value})


def _too_long(rows: list[list[float]], value: float, power: int) -> bool:
    return bool(rows) and rows[-1][1] * (value / rows[-1][0]) ** power > LIMIT_SECONDS


def draw(command: Path, target: Path, *, quick: bool) -> None:
    """Measure, draw into `target` (SVG) and print the numbers."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot as plt

    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        cases = make_cases(Path(folder) / "all", 20 if quick else max(CASES))
        series = columns(cases, quick=quick)
        found = []
        for one in series:
            found.append(measure_series(command, one))
            # After each, so that a run that is ended leaves what was measured.
            print(json.dumps({one.name: found[-1]}), flush=True)
    figure, axes = plt.subplots(2, len(series), figsize=(12, 6), constrained_layout=True)
    for column, (one, sides) in enumerate(zip(series, found, strict=True)):
        for row, label in enumerate(("seconds", "memory, MB")):
            panel = axes[row][column]
            for side, name, style in zip(SIDES, one.labels, ("o-", "s--"), strict=True):
                values = sides[side]
                panel.plot(
                    [at[0] for at in values],
                    [max(at[1 + row], 0.1 if row else 1e-3) for at in values],
                    style,
                    label=name,
                )
            panel.set(xscale="log", yscale="log", xlabel=one.title, ylabel=label)
            panel.set_xticks(one.values, [f"{value:,}".replace(",", " ") for value in one.values])
            panel.minorticks_off()
            panel.grid(visible=True, alpha=0.3)
        axes[0][column].legend(fontsize="small")
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target, metadata={"Date": None})
    plt.close(figure)
    print(f"{target}: drawn after {time.perf_counter() - began:.0f} s")
