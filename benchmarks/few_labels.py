"""The curve of test error against the number of labelled cases, beside the mean shape and registration.

Of each draw the cases are put in a random order: the first N are labelled, and all behind the largest N (or the last
--tests of them) are the test, the same for every N of a draw. Each N is created, trained for a time, and evaluated by
command; numbers go to OUT/few_labels.json as they come, and the picture is drawn anew each time. What is there already
is not run again. 15 minutes for each of 5 numbers and 3 draws are four hours:
    python benchmarks/few_labels.py mouse_skull_ct runs/few --cases 3,5,10,20,34 --draws 3 --minutes 15
Without deformations, to compare:
    python benchmarks/few_labels.py mouse_skull_ct runs/few_plain --cases 3,5 --create --no_deformation
With a second round on predictions of the cases that are neither labelled nor tested, in half of the time:
    python benchmarks/few_labels.py mouse_skull_ct runs/few_self --cases 5,10 --tests 8 --fold 0 --self_training
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import registration

mpl.use("Agg")
import matplotlib.pyplot as plt

from auto_config.bundle_scripts.files.text import atomic_write_text
from auto_config.datasets import Dataset, read_dataset
from auto_config.datasets.images import image_suffix
from auto_config.datasets.writing import write_dataset
from auto_config.errors import UserError

MOST_TEMPLATES = 5
NAMES = ("error", "first_round", "mean_shape", "registration")


def drawn(names: Sequence[str], draw: int, numbers: Sequence[int], tests: int | None) -> tuple[list[str], list[str]]:
    """A draw: cases in the order in which they are labelled, and the test cases.

    Args:
        names: of all cases with landmarks.
        draw: its number, the seed.
        numbers: of labelled cases.
        tests: how many test cases; None for all that are never labelled.

    Raises:
        UserError: nothing is left to test on.
    """
    order = [str(name) for name in np.random.default_rng(draw).permutation(sorted(names))]
    most = max(numbers)
    rest = order[most:]
    test = rest if tests is None else rest[-tests:] if tests else []
    if not test:
        raise UserError(f"--cases {most}: leaves no test case of {len(order)}; give fewer, or a larger data set")
    return order[:most], test


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", help="any data set that `create` reads")
    parser.add_argument("out", type=Path, help="folder for bundles, predictions, numbers and the picture")
    parser.add_argument("--cases", default="3,5,10,20,34", help="numbers of labelled cases")
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=15.0, help="of each training")
    parser.add_argument("--tests", type=int, help="test cases of each draw; all that are never labelled if not given")
    parser.add_argument("--fold", default="none", help="as for `train`; none trains on every labelled case")
    parser.add_argument("--pixel_spacing", type=float, help="mm of a pixel of pictures")
    parser.add_argument("--self_training", action="store_true", help="a second round in half of the time; needs --fold")
    parser.add_argument("--registration", action="store_true", help="also register up to 5 labelled cases (slow)")
    parser.add_argument("--create", nargs=argparse.REMAINDER, default=[], help="further options of create, last")
    given = parser.parse_args()
    try:
        return run(given)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def run(given: argparse.Namespace) -> int:
    """Every draw and number that is not there yet."""
    numbers = sorted(int(part) for part in given.cases.split(","))
    if given.self_training and not given.fold.isdecimal():
        raise UserError("--self_training needs validation cases: give a number with --fold")
    pixels = None if given.pixel_spacing is None else [given.pixel_spacing]
    dataset, _ = read_dataset(given.source, pixel_spacing=pixels)
    labelled = [case.name for case in dataset.cases if case.landmarks is not None and case.landmarks.present.any()]
    given.out.mkdir(parents=True, exist_ok=True)
    path = given.out / "few_labels.json"
    rows: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["runs"] if path.is_file() else []
    for draw in range(given.draws):
        pool, test = drawn(labelled, draw, numbers, given.tests)
        for number in numbers:
            key = {"draw": draw, "cases": number, "self_training": given.self_training}
            if any({"self_training": False, **row}.items() >= key.items() for row in rows):
                continue
            rows.append({**key, **one(given, dataset, pool[:number], test, draw)})
            document = {"minutes": given.minutes, "fold": given.fold, "create": given.create, "unit": dataset.unit}
            document["registration"] = "run" if given.registration and registration.installed() else _why_not(given)
            atomic_write_text(path, json.dumps({**document, "runs": rows}, indent=1) + "\n")
            draw_picture(rows, given.out / "few_labels.png", dataset.unit, given.minutes)
            print(json.dumps(rows[-1]), flush=True)
    print(table(rows, dataset.unit))
    return 0


def _why_not(given: argparse.Namespace) -> str:
    return "SimpleITK is not installed" if given.registration else "not asked for (--registration)"


def one(
    given: argparse.Namespace, dataset: Dataset, labelled: Sequence[str], test: Sequence[str], draw: int
) -> dict[str, Any]:
    """Create, train, predict and evaluate; the numbers of one point of the curve.

    Raises:
        UserError: a command failed.
    """
    folder = given.out / f"draw_{draw}_cases_{len(labelled)}"
    splits = dict.fromkeys(labelled, "training") | dict.fromkeys(test, "test")
    chosen = [replace(case, split=splits[case.name], fold=None) for case in dataset.cases if case.name in splits]
    # Absolute, as the references of a data list to its images have to be.
    write_dataset(replace(dataset, cases=tuple(chosen)), (folder / "data").absolute(), "datalist", overwrite=True)
    bundle, listed = folder / "bundle", folder / "bundle" / "data" / "datalist.json"
    further = [] if given.pixel_spacing is None else ["--pixel_spacing", given.pixel_spacing]
    minutes = given.minutes
    if given.self_training:
        others = [case for case in dataset.cases if case.name not in splits]
        further, minutes = [*further, "--unlabelled", linked(others, folder / "unlabelled")], minutes / 2
    training = ["train", bundle, "--time_budget", f"{minutes}m", "--fold", given.fold]
    seconds = {"create": timed(["create", folder / "data", bundle, "--overwrite", *further, *given.create])}
    seconds["train"] = timed([*training, "--overwrite"])
    metrics = evaluated(bundle, listed, folder / "predictions", seconds)
    error = f"mre_{metrics['unit']}"
    row: dict[str, Any] = {
        "error": metrics[error],
        "mean_shape": (metrics["mean_shape_baseline"] or {}).get(error),
        "tests": len(test),
        "seconds": seconds,
    }
    if given.self_training:
        seconds["second"] = timed([*training, "--self_training"])
        row["first_round"], row["error"] = row["error"], evaluated(bundle, listed, folder / "second", seconds)[error]
    if given.registration and registration.installed():
        row["registration"] = registered(dataset, labelled[:MOST_TEMPLATES], test, given.pixel_spacing)
    return row


def timed(words: Sequence[Any]) -> float:
    """Seconds that a command took.

    Raises:
        UserError: it failed.
    """
    begun = time.perf_counter()
    line = [sys.executable, "-m", "auto_config", *map(str, words)]
    if subprocess.run(line, check=False, stdout=sys.stderr).returncode:
        raise UserError(f"`{' '.join(line[2:])}` failed; see above")
    return round(time.perf_counter() - begun, 1)


def evaluated(bundle: Path, listed: Path, predictions: Path, seconds: dict[str, float]) -> dict[str, Any]:
    """Metrics of the test cases; the seconds of the prediction are noted."""
    seconds[predictions.name] = timed(["predict", bundle, listed, predictions, "--overwrite"])
    timed(["evaluate", predictions, listed, "--split", "test"])
    found: dict[str, Any] = json.loads((predictions / "metrics.json").read_text(encoding="utf-8"))
    return found


def linked(cases: Sequence[Any], folder: Path) -> Path:
    """A folder with links to the images of some cases."""
    folder.mkdir(parents=True, exist_ok=True)
    for case, path in [(one, part) for one in cases for part in one.image]:
        # Files of one name in several folders are several cases.
        link = folder / (path.name if len(case.image) > 1 else f"{case.name}{image_suffix(path)}".replace("/", "_"))
        link.unlink(missing_ok=True)
        link.symlink_to(path.absolute())
    return folder


def registered(
    dataset: Dataset, templates: Sequence[str], test: Sequence[str], pixel_spacing: float | None
) -> dict[str, float]:
    """Mean and median error of registration with templates, over the present points of the test cases."""
    cases = {case.name: case for case in dataset.cases}
    pixels = None if pixel_spacing is None else (pixel_spacing, pixel_spacing)
    points = {name: case.landmarks.ordered(dataset.names).points for name, case in cases.items() if case.landmarks}
    known = [(cases[name].image, points[name]) for name in templates]
    errors = np.concatenate(
        [
            np.linalg.norm(registration.registered_points(known, cases[name].image, pixels) - points[name], axis=1)
            for name in test
        ]
    )
    return {"mean": float(np.nanmean(errors)), "median": float(np.nanmedian(errors)), "templates": len(templates)}


def curves(rows: Sequence[dict[str, Any]]) -> dict[str, dict[int, list[float]]]:
    """Errors by what found the points and by the number of labelled cases."""
    found: dict[str, dict[int, list[float]]] = {}
    for row in rows:
        for name in NAMES:
            if row.get(name):
                found.setdefault(name, {}).setdefault(int(row["cases"]), []).append(float(row[name]["mean"]))
    return found


def table(rows: Sequence[dict[str, Any]], unit: str) -> str:
    """The curve as lines of Markdown: mean over the draws, and the range."""
    by = curves(rows)
    lines = [f"| labelled | error, {unit} | first round alone | mean shape | registration |", "|---|---|---|---|---|"]
    for number in sorted({int(row["cases"]) for row in rows}):
        cells = []
        for name in NAMES:
            values = by.get(name, {}).get(number)
            spread = f" ({min(values):.3f} to {max(values):.3f})" if values and len(values) > 1 else ""
            cells.append(f"{np.mean(values):.3f}{spread}" if values else "not run")
        lines.append(f"| {number} | {' | '.join(cells)} |")
    return "\n".join(lines)


def draw_picture(rows: Sequence[dict[str, Any]], path: Path, unit: str, minutes: float) -> None:
    """Draw the curves: every draw a dot, their means a line."""
    titles = {
        "error": f"trained for {minutes:g} minutes",
        "first_round": "its first half, without unlabelled scans",
        "mean_shape": "mean shape",
        "registration": "registration",
    }
    figure, axes = plt.subplots(figsize=(7, 4), constrained_layout=True)
    colours = dict(zip(NAMES, ("C0", "C2", "grey", "C1"), strict=True))
    for name, by_number in sorted(curves(rows).items()):
        colour = colours[name]
        numbers = sorted(by_number)
        axes.plot(numbers, [np.mean(by_number[one]) for one in numbers], color=colour, label=titles[name])
        for number in numbers:
            axes.plot([number] * len(by_number[number]), by_number[number], ".", color=colour)
    axes.set(xlabel="labelled cases", ylabel=f"test error, {unit}", xscale="log", yscale="log")
    ticks = sorted({int(row["cases"]) for row in rows})
    axes.set_xticks(ticks, [str(tick) for tick in ticks], minor=False)
    axes.grid(alpha=0.3, which="both")
    axes.legend()
    figure.savefig(path, dpi=120)
    plt.close(figure)


if __name__ == "__main__":
    sys.exit(main())
