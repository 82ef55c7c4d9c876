"""What work costs outside of networks, ours beside today's usual way, in one run.

Each side runs in a process of its own, by turns, so that a busy machine slows both: read the ratios. The figures of
docs/performance.md:
    python benchmarks/costs.py
    python benchmarks/costs.py --windows
    python benchmarks/costs.py --scaling docs/images/scaling.svg
    python benchmarks/costs.py --memory
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from costing.aims import NONE, Aim, verdict  # noqa: E402
from costing.measuring import in_a_process, measured  # noqa: E402


@dataclass(frozen=True)
class Row:
    """One kind of work.

    Args:
        work: what it is.
        part: module of `costing` whose `ours` and `usual` are compared.
        options: sizes.
        quick: sizes of a run that only shows that it works.
        share: of the work that a side does to what is said, such as samples; seconds are divided by it.
        aim: what was to be reached.
    """

    work: str
    part: str
    options: dict[str, Any]
    quick: dict[str, Any]
    share: int = 1
    aim: Aim = NONE


ROWS = (
    Row(
        "target + BCE top 20 % loss, forward and backward, 2 x 32 x 128^3",
        "loss",
        {"size": 128, "landmarks": 32},
        {"size": 24, "landmarks": 2},
        aim=Aim(faster=5, memory_share=1 / 3),
    ),
    Row(
        "points of 300^3, 32 landmarks, 216 windows of 96^3",
        "inference",
        {"size": 300, "patch": 96, "landmarks": 32},
        {"size": 40, "patch": 16, "landmarks": 3},
        aim=Aim(seconds=1, memory_mb=500),
    ),
    Row(
        "the same with two views, 200^3, 16 landmarks",
        "inference",
        {"size": 200, "patch": 64, "landmarks": 16, "views": 2},
        {"size": 40, "patch": 16, "landmarks": 3, "views": 2},
    ),
    Row(
        "the same with places that spread by 6 mm in an anatomy of 180 mm (usual: all windows), cones as a network",
        "windows",
        {"size": 300, "patch": 96, "landmarks": 32, "extent": 180, "spread": 6.0},
        {"size": 64, "patch": 24, "landmarks": 3, "extent": 24, "spread": 0.5},
        aim=Aim(seconds=1, memory_mb=500, windows=40),
    ),
    # 16 cores are to feed 10 steps a second of two samples.
    Row(
        "a training sample of 128^3 with augmentation, one core",
        "samples",
        {"size": 128},
        {"size": 16},
        share=4,
        aim=Aim(seconds=0.8),
    ),
    *(
        Row(
            f"plan and preprocess {cases} volumes of 45 x 90 x 55 (usual: nothing is planned)",
            "preparation",
            {"cases": cases, "size": [45, 90, 55], "landmarks": 10},
            {"cases": cases // 2, "size": [24, 24, 24], "landmarks": 3},
            aim=Aim(seconds=9 * cases / 20),
        )
        for cases in (20, 40, 80)
    ),
    Row(
        "a cephalogram of 1935 x 2400, 19 points, with the network",
        "cephalogram",
        {"size": [1935, 2400], "landmarks": 19},
        {"size": [320, 288], "landmarks": 3},
        aim=Aim(seconds=1),
    ),
    Row(
        "the cache of an image of 256 x 256 x 200: write it, read 20 patches of 128^3",
        "cache",
        {"size": [256, 256, 200], "patch": 128},
        {"size": [40, 40, 30], "patch": 16},
    ),
)


def side(name: str, options: dict[str, Any], repeats: int) -> dict[str, float]:
    """Measure one side, such as ``loss.ours``, in this process."""
    part, _, which = name.partition(".")
    module = importlib.import_module(f"costing.{part}")
    import torch

    torch.set_num_threads(1)
    found = measured(getattr(module, which)(options), repeats)
    # Files count where there are any, and windows.
    return found | getattr(module, "FILES", {}) | getattr(module, "COUNTS", {})


def compare(row: Row, *, quick: bool, turns: int) -> dict[str, dict[str, float]]:
    """Both sides of a row by turns: the shortest time and the largest memory of each."""
    options = row.quick if quick else row.options
    found: dict[str, dict[str, float]] = {}
    for _ in range(turns):
        for which in ("ours", "usual"):
            one = in_a_process(Path(__file__), f"{row.part}.{which}", options)
            best = found.setdefault(which, one)
            best["seconds"] = min(best["seconds"], one["seconds"])
            best["mb"] = max(best["mb"], one["mb"])
    return found


def table(rows: Sequence[Row], *, quick: bool, turns: int) -> None:
    """Print a row of a Markdown table for each kind of work."""
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores, one thread a side, best of {turns} turns\n")
    print("| work | ours | usual | times faster | memory ours | usual | share | aim |")
    print("|---|---|---|---|---|---|---|---|", flush=True)
    for row in rows:
        found = compare(row, quick=quick, turns=turns)
        ours, usual = found["ours"], found["usual"]
        for one in (ours, usual):
            one["seconds"] /= row.share
        work = row.work
        if "windows" in ours:
            work = f"{work}: {ours['windows']:.0f} windows, {usual['windows']:.0f} windows"
        print(
            f"| {work} | {ours['seconds']:.3g} s | {usual['seconds']:.3g} s | {usual['seconds'] / ours['seconds']:.2f} "
            f"| {ours['mb']:.0f} MB | {usual['mb']:.0f} MB | {ours['mb'] / max(usual['mb'], 1.0):.2f} "
            f"| {verdict(row.aim, ours, usual)} |",
            flush=True,
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table, draw the scaling, or measure one side."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small sizes: shows that it works, and measures nothing")
    parser.add_argument("--turns", type=int, default=2, help="how often each side runs")
    parser.add_argument(
        "--only",
        nargs="*",
        help="parts: loss, inference, windows, samples, preparation, cephalogram, cache; with --memory, words of plans",
    )
    parser.add_argument(
        "--scaling", type=Path, help="draw seconds and memory against landmarks, volume and cases into a file"
    )
    parser.add_argument("--memory", action="store_true", help="memory that plans state beside what processes take")
    parser.add_argument("--data", type=Path, help="a data set of volumes that --memory measures too")
    parser.add_argument("--windows", action="store_true", help="count windows where landmarks are expected, no seconds")
    parser.add_argument("--side", help="measure one side in this process, such as loss.ours")
    parser.add_argument("--options", type=json.loads, default={}, help="its sizes, JSON")
    given = parser.parse_args(arguments)
    if given.side:
        print(json.dumps(side(given.side, given.options, repeats=given.options.get("repeats", 2))))
        return 0
    if given.windows:
        importlib.import_module("costing.windows").counts()
        return 0
    if given.scaling:
        from costing.scaling import draw

        draw(Path(__file__), given.scaling, quick=given.quick)
        return 0
    if given.memory:
        from costing.memory import table as memory_table

        memory_table(quick=given.quick, real=given.data, only=given.only or ())
        return 0
    rows = [row for row in ROWS if given.only is None or row.part in given.only]
    table(rows, quick=given.quick, turns=given.turns)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
