"""`demo`: the whole way on built-in data, by the same functions that a person's own data takes."""

import importlib.util
import json
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track

from auto_config.errors import UserError

DEFAULT_DIRECTORY = "demo_run"
BUNDLE_NAME = "brain_mri_afids32_demo"
FEWEST_CASES = 10
# Landmarks to cut the picture at, a test case each: in the midline and at the side, near the middle and far from it.
SHOWN = ("AC", "R LV at PC", "genu of CC", "L AL temporal horn", "culmen")


def demo(directory: str | Path | None = None, *, minutes: float = 5.0, cases: int = 30, seed: int = 0) -> int | None:
    """Make synthetic brains, create a bundle, train, predict, evaluate, and show a table and a picture.

    Args:
        directory: New or empty folder for everything, `demo_run` if not given.
        minutes: Time to train for; the rest takes about two more on two cores.
        cases: Number of brains, a fifth of them to test on.
        seed: Of the brains and the split.

    Returns:
        The exit status: that of the first step that failed, else 0.

    Raises:
        UserError: The extra `demo` is not installed, the folder is not empty, or a number is too small.
    """
    directory = Path(DEFAULT_DIRECTORY if directory is None else directory)
    _check(directory, minutes, cases)
    console = Console()
    console.print(
        "[bold]A demonstration on synthetic data:[/bold] one real brain (the MNI152 template) with 32 landmarks, "
        "warped at random. The numbers show that everything works; they say nothing of real scans.\n"
    )
    train_data, test_data, bundle = directory / "data" / "train", directory / "data" / "test", directory / BUNDLE_NAME
    predictions, picture = directory / "predictions", directory / "demo.png"
    _write_data(console, train_data, test_data, cases, seed)

    from auto_config.commands.create import create
    from auto_config.commands.evaluate import evaluate
    from auto_config.commands.predict import predict
    from auto_config.commands.train import train

    steps = (
        (
            f"auto_config create {train_data} {bundle} --network tiny --test_fraction 0",
            lambda: create(train_data, bundle, network="tiny", test_fraction=0.0, seed=seed),
        ),
        (
            f"auto_config train {bundle} --time_budget {minutes:g}m",
            lambda: train(bundle, time_budget=f"{minutes:g}m"),
        ),
        (
            f"auto_config predict {bundle} {test_data / 'images'} {predictions}",
            lambda: predict(bundle, test_data / "images", predictions),
        ),
        (f"auto_config evaluate {predictions} {test_data}", lambda: evaluate(predictions, test_data)),
    )
    for command, run in steps:
        console.print(f"\n[bold cyan]$ {command}[/bold cyan]", highlight=False, soft_wrap=True)
        if status := run():
            return status
    metrics = json.loads((predictions / "metrics.json").read_text(encoding="utf-8"))
    _draw(picture, test_data, predictions, metrics)
    _farewell(console, picture, bundle)
    return 0


def _check(directory: Path, minutes: float, cases: int) -> None:
    for package in ("nilearn", "matplotlib"):
        if importlib.util.find_spec(package) is None:
            raise UserError(f"the demo needs {package}; run: pip install 'landmark-bundles[demo]'")
    if cases < FEWEST_CASES:
        raise UserError(f"--cases is {cases}, the demo needs {FEWEST_CASES} or more")
    if minutes <= 0:
        raise UserError(f"--minutes is {minutes:g}, it must be above 0")
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise UserError(
            f"{directory} is not an empty folder; delete it, or name a new one: auto_config demo NEW_FOLDER"
        )


def _write_data(console: Console, train_data: Path, test_data: Path, cases: int, seed: int) -> None:
    from auto_config.demo.brains import load_template, write_brains

    template = load_template()
    tests = cases // 5
    for folder, indices in ((train_data, range(cases - tests)), (test_data, range(cases - tests, cases))):
        written = write_brains(folder, template, indices, seed=seed)
        for _ in track(written, f"Synthetic brains in {folder}", total=len(indices), console=console):
            pass


def _draw(picture: Path, test_data: Path, predictions: Path, metrics: dict[str, Any]) -> None:
    from auto_config.bundle_scripts.landmark_files import read_markups
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


def _farewell(console: Console, picture: Path, bundle: Path) -> None:
    console.print(
        f"\nPicture: {picture}\nBundle:  {bundle}\n\n"
        "These data are synthetic: all cases are one brain, warped. Next, with your own scans and Slicer points:\n"
        "  auto_config inspect YOUR_FOLDER",
        highlight=False,
        soft_wrap=True,
    )
