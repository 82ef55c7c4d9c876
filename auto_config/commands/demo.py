"""`demo`: the whole way on built-in data, by the commands that a person's own data takes."""

import json
from pathlib import Path

from auto_config.arguments import Place
from auto_config.commands.calibrate import calibrate
from auto_config.commands.create import create
from auto_config.commands.evaluate import evaluate
from auto_config.commands.predict import predict
from auto_config.commands.train import train

DEFAULT_DIRECTORY = "demo_run"
BUNDLE_NAME = "brain_mri_afids32_demo"


def demo(directory: Place | None = None, *, minutes: float = 5.0, cases: int = 30, seed: int = 0) -> int:
    """Run the whole way on built-in data: synthetic brains with 32 landmarks.

    Makes the data, creates a bundle, trains and calibrates it, predicts, evaluates and draws a picture, in about ten
    minutes on two cores. Needs the extra `demo`.

    Args:
        directory: new or empty folder for everything, demo_run if not given
        minutes: of training
        cases: number of brains to make, a fifth of them for the test
        seed: of the random brains

    Returns:
        The exit status: that of the first step that failed, else 0.

    Raises:
        UserError: the extra `demo` is not installed, the folder is not empty, or a number is too small.

    Examples:
        auto_config demo
        auto_config demo my_demo --minutes 30
    """
    from rich.console import Console

    from auto_config.demo.steps import check_start, draw_cases, farewell, write_data

    directory = Path(DEFAULT_DIRECTORY if directory is None else directory)
    check_start(directory, minutes, cases)
    console = Console()
    console.print(
        "[bold]A demonstration on synthetic data:[/bold] one real brain (the MNI152 template) with 32 landmarks, "
        "warped at random. The numbers show that everything works; they say nothing of real scans.\n"
    )
    train_data, test_data, bundle = directory / "data" / "train", directory / "data" / "test", directory / BUNDLE_NAME
    predictions, picture = directory / "predictions", directory / "demo.png"
    write_data(console, train_data, test_data, cases, seed)

    steps = (
        (
            f"auto_config create {train_data} {bundle} --network tiny --test_fraction 0 --atlas nearest",
            lambda: create(train_data, bundle, network="tiny", test_fraction=0.0, atlas="nearest", seed=seed),
        ),
        (
            f"auto_config train {bundle} --time_budget {minutes:g}m --calibrate false",
            lambda: train(bundle, time_budget=f"{minutes:g}m", calibrate=False),
        ),
        # With a time of its own: within that of so short a training it would take many of its steps.
        (
            f"auto_config calibrate {bundle} --time_budget {minutes / 2:g}m",
            lambda: calibrate(bundle, time_budget=f"{minutes / 2:g}m"),
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
    draw_cases(picture, test_data, predictions, metrics)
    farewell(console, picture, bundle, metrics, minutes)
    return 0
