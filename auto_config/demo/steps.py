"""The steps of the demonstration that are no commands: data, a picture, and words."""

import importlib.util
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track

from auto_config.errors import UserError
from auto_config.wording import install_line

FEWEST_CASES = 10
# Landmarks to cut the picture at, a test case each: in the midline and at the side, near the middle and far from it.
SHOWN = ("AC", "R LV at PC", "genu of CC", "L AL temporal horn", "culmen")


def check_start(directory: Path, minutes: float, cases: int) -> None:
    """Refuse what would fail later.

    Raises:
        UserError: Packages of the extra `demo` are not installed, the folder is not empty, or a number is too small.
    """
    missing = [name for name in ("nilearn", "matplotlib") if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(f"the demo needs {' and '.join(missing)}, not installed here; {install_line(*missing)}")
    if cases < FEWEST_CASES:
        raise UserError(f"--cases is {cases}, the demo needs {FEWEST_CASES} or more")
    if minutes <= 0:
        raise UserError(f"--minutes is {minutes:g}, it must be above 0")
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise UserError(
            f"{directory} is not an empty folder; delete it, or name a new one: auto_config demo NEW_FOLDER"
        )


def write_data(console: Console, train_data: Path, test_data: Path, cases: int, seed: int) -> None:
    """Make the brains, a fifth of them for the test."""
    from auto_config.demo.brains import load_template, write_brains, write_definitions

    template = load_template()
    tests = cases // 5
    for folder, indices in ((train_data, range(cases - tests)), (test_data, range(cases - tests, cases))):
        written = write_brains(folder, template, indices, seed=seed)
        for _ in track(written, f"Synthetic brains in {folder}", total=len(indices), console=console):
            pass
    write_definitions(train_data)


def draw_cases(picture: Path, test_data: Path, predictions: Path, metrics: dict[str, Any]) -> None:
    """A landmark of each test case in turn, true and predicted."""
    from auto_config.bundle_scripts.points.landmark_files import read_markups
    from auto_config.demo.picture import PictureCase, draw

    cases = []
    for image in sorted((test_data / "images").glob("*.nii.gz")):
        name = image.name.removesuffix(".nii.gz")
        truth = read_markups(test_data / "landmarks" / f"{name}.mrk.json")
        cases.append(PictureCase(image, truth, read_markups(predictions / f"{name}.mrk.json").ordered(truth.names)))
    columns = [(cases[number % len(cases)], landmark) for number, landmark in enumerate(SHOWN)]
    mean, baseline = metrics["mre_mm"]["mean"], metrics["mean_shape_baseline"]["mre_mm"]["mean"]
    title = f"Synthetic brains, {len(cases)} test cases: mean error {mean:.2f} mm (mean shape: {baseline:.2f} mm)"
    draw(picture, columns, title=title)


def farewell(console: Console, picture: Path, bundle: Path, metrics: dict[str, Any], minutes: float) -> None:
    """Say what was made, whether the machine had the time for it, and what to do next."""
    mean, baseline = metrics["mre_mm"]["mean"], metrics["mean_shape_baseline"]["mre_mm"]["mean"]
    if mean > baseline / 2:
        console.print(
            f"\n{minutes:g} minutes are too few for this machine: the points are {mean:.3g} mm off, those of the mean "
            f"shape {baseline:.3g} mm. Everything ran; for a model that has learnt it, give more time:\n"
            f"  auto_config demo NEW_FOLDER --minutes {4 * minutes:g}",
            highlight=False,
            soft_wrap=True,
        )
    console.print(
        f"\nPicture: {picture}\nBundle:  {bundle}\n\n"
        "These data are synthetic: all cases are one brain, warped. Next, with your own scans and Slicer points:\n"
        "  auto_config inspect YOUR_FOLDER",
        highlight=False,
        soft_wrap=True,
    )
