"""Draw validation error against time of several trainings from their TensorBoard files.

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


def curve(bundle: Path) -> tuple[list[float], list[float]]:
    """Minutes since the training began, and validation error in mm."""
    events = EventAccumulator(str(bundle / "eval"))
    events.Reload()
    start = min(event.wall_time for event in events.Scalars("train_loss"))
    points = events.Scalars("mre_mm")
    return [(event.wall_time - start) / 60 for event in points], [event.value for event in points]


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
        minutes, errors = curve(Path(bundle))
        print(name, " ".join(f"{m:.1f}min:{e:.3f}mm" for m, e in zip(minutes, errors, strict=True)))
        axes.plot(minutes, errors, marker="o", markersize=3, label=name)
    if given.baseline:
        axes.axhline(given.baseline, color="grey", linestyle="--", label="mean shape")
    axes.set(xlabel="minutes of training", ylabel="validation error, mm", yscale="log")
    axes.legend()
    axes.grid(alpha=0.3, which="both")
    given.picture.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(given.picture, dpi=120)
    return 0


if __name__ == "__main__":
    sys.exit(main())
