"""Draw validation error against steps of several trainings from their TensorBoard files.

Example, the figure of docs/method.md:
    python benchmarks/curves.py docs/images/curves.png default=runs/default/bundle nnlandmark=runs/nnlandmark/bundle
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def curve(bundle: Path) -> tuple[list[int], list[float]]:
    """Steps that were done at each validation, and its error in mm."""
    # Every handler writes a file of its own.
    steps, points = [], []
    for file in sorted((bundle / "eval").glob("events.*")):
        events = EventAccumulator(str(file), size_guidance={"scalars": 0})
        events.Reload()
        tags = events.Tags()["scalars"]
        steps += events.Scalars("train_loss") if "train_loss" in tags else []
        points += events.Scalars("mre_mm") if "mre_mm" in tags else []
    return [sum(s.wall_time <= p.wall_time for s in steps) for p in points], [p.value for p in points]


def main() -> int:
    """Draw and print the curves."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("picture", type=Path)
    parser.add_argument("trainings", nargs="+", help="NAME=BUNDLE")
    parser.add_argument("--baseline", type=float, help="error of the mean shape in mm, drawn as a line")
    given = parser.parse_args()
    figure, axes = plt.subplots(figsize=(7, 4), constrained_layout=True)
    for training in given.trainings:
        name, _, bundle = training.partition("=")
        steps, errors = curve(Path(bundle))
        print(name, " ".join(f"{n}:{e:.3f}mm" for n, e in zip(steps, errors, strict=True)))
        axes.plot(steps, errors, marker="o", markersize=3, label=name)
    if given.baseline:
        axes.axhline(given.baseline, color="grey", linestyle="--", label="mean shape")
    axes.set(xlabel="steps", ylabel="validation error, mm", yscale="log")
    axes.legend()
    axes.grid(alpha=0.3, which="both")
    given.picture.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(given.picture, dpi=120)
    return 0


if __name__ == "__main__":
    sys.exit(main())
