"""Where the time of a prediction goes, part by part: a skull, a cephalogram of 1935 x 2400, a volume of 300^3."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def journeys(command: Path, own: tuple[Path, Path] | None, threads: int, rounds: int, *, quick: bool) -> int:
    """Print a table of predictions, each in a process of its own.

    Args:
        command: ``benchmarks/runtimes.py``, which measures one with ``parts``.
        own: a trained bundle and an image; the other two bundles are of noise with random weights, as `create` plans
            them for CPUs, so they say how long and not how well.
        threads: of torch.
        rounds: predictions of the same image in one process.
        quick: small images, to see that it works.

    Returns:
        1 if one failed.
    """
    found, failed = {}, 0
    with tempfile.TemporaryDirectory() as folder:
        predicted = {} if own is None else {"own": own}
        predicted |= {name: made(name, Path(folder) / name, quick) for name in ("cephalogram", "volume")}
        for journey, (bundle, image) in predicted.items():
            words = [sys.executable, command, "parts", bundle, image, "--threads", threads, "--rounds", rounds]
            done = subprocess.run(list(map(str, words)), capture_output=True, text=True, check=False)
            if done.returncode:
                failed = 1
                print(f"{journey}: {done.stderr.strip().splitlines()[-1:]}", file=sys.stderr)
                continue
            found[journey] = json.loads(done.stdout.splitlines()[-1])
    print("\n".join(table(found)))
    return failed


def table(found: dict[str, dict[str, float]]) -> list[str]:
    """Markdown: a row for each part, seconds and share of the whole in a column for each journey."""
    parts = [*dict.fromkeys(part for seconds in found.values() for part in seconds if part != "all"), "all"]
    rows = [f"| | {' | '.join(found)} |", "|---|" + "---|" * len(found)]
    for part in parts:
        cells = []
        for seconds in found.values():
            value = seconds.get(part)
            cells.append("" if value is None else f"{value:.2f} s ({100 * value / seconds['all']:.0f} %)")
        rows.append(f"| {part} | {' | '.join(cells)} |")
    return rows


def parts_of(bundle: Path, image: Path, threads: int, rounds: int) -> dict[str, float]:
    """Seconds of each part of one journey, from the start of Python to the written files, in this process.

    Args:
        bundle: with weights.
        image: of its kind.
        threads: of torch.
        rounds: predictions of the image after a first one; parts that a server repeats are their medians.
    """
    seconds: dict[str, float] = {}

    def timed(part: str, work: Callable[[], Any]) -> Any:
        began = time.perf_counter()
        result = work()
        seconds[part] = time.perf_counter() - began
        return result

    timed("import torch", lambda: __import__("torch").set_num_threads(threads))
    timed("import what opens a bundle", opener)
    import numpy as np

    from auto_config.bundle.opened import open_bundle
    from auto_config.bundle_scripts.inference.prediction_files import PredictionFolder

    opened = timed("open the bundle", lambda: open_bundle(bundle, device="cpu"))
    kept: dict[str, list[float]] = {}
    for number in range(rounds + 1):
        result, parts = timed_prediction(opened, image)
        if number:  # the first one asks for memory and prepares kernels
            for part, value in parts.items():
                kept.setdefault(part, []).append(value)
    seconds |= {part: statistics.median(values) for part, values in kept.items()}
    with tempfile.TemporaryDirectory() as folder:
        writer = PredictionFolder(folder, bundle)
        timed(
            "write files", lambda: writer.write("case", result, image_center=np.zeros(opened.spatial_dims), seconds=1.0)
        )
    return seconds | {"all": sum(seconds.values())}


def opener() -> None:
    """Import what `auto_config predict` imports, as it does: modules of MONAI when they are used."""
    from auto_config.bundle import light_monai

    light_monai.install()
    import auto_config.bundle.opened  # noqa: F401


def timed_prediction(opened: Any, image: Path) -> tuple[dict[str, Any], dict[str, float]]:
    """The ``result`` of one prediction, and seconds: reading, each stage's network, decoding and the rest."""
    spent = dict.fromkeys(opened.network.stages, 0.0)
    hooks = []
    for name, stage in opened.network.stages.items():
        began: list[float] = []
        hooks += [
            stage.register_forward_pre_hook(lambda *_, began=began: began.append(time.perf_counter())),
            stage.register_forward_hook(
                lambda *_, name=name, began=began: spent.update({name: spent[name] + time.perf_counter() - began.pop()})
            ),
        ]
    start = time.perf_counter()
    data = opened.preprocess(image)
    read = time.perf_counter()
    done = opened.predict(data)
    end = time.perf_counter()
    for hook in hooks:
        hook.remove()
    networks = {f"network of stage {name}": value for name, value in spent.items()}
    rest = {"windows, crops, decoding, verdict": end - read - sum(spent.values())}
    return done["result"], {"read and preprocess": read - start, **networks, **rest}


def made(journey: str, folder: Path, quick: bool) -> tuple[Path, Path]:
    """A bundle with random weights and an image of its data set."""
    from costing.bundles import bundle_of, pictures, volumes, with_random_weights

    if journey == "cephalogram":
        size = [240, 300] if quick else [1935, 2400]
        source = pictures(folder / "data", 12, size, 19)
        bundle = bundle_of(source, folder / "bundle", pixel_spacing=[0.1, 0.1], network="tiny", workers=1)
        return with_random_weights(bundle), source / "images" / "case_000.png"
    size = [60, 60, 60] if quick else [300, 300, 300]
    source = volumes(folder / "data", 6, size, 32)
    bundle = bundle_of(source, folder / "bundle", network="tiny", workers=1)
    return with_random_weights(bundle), source / "images" / "case_000.nii.gz"
