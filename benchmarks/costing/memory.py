"""What a plan states of main memory beside what processes take: a few steps of a training, and one case predicted.

The kernel keeps the largest memory of a process; it is read while the process runs, as is what workers have for
themselves. Neither depends on what else the machine does.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from auto_config.prediction.cost import process_memory
from auto_config.running.training import command
from costing.bundles import bundle_of, pictures, volumes

STEPS = 3
_PAUSE_S = 0.1


@dataclass(frozen=True)
class PlannedCase:
    """A data set and how it is planned.

    Args:
        name: for the table.
        make: writes the data set into a folder and gives its source.
        options: of `create`.
    """

    name: str
    make: Callable[[Path], Path]
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Taken:
    """Memory in MB.

    Args:
        process: the largest that the process had.
        beside: the largest that its workers had for themselves, all together.
        together: the largest sum at a time.
    """

    process: float
    beside: float
    together: float


def planned_cases(*, quick: bool, real: Path | None) -> list[PlannedCase]:
    """What is measured.

    Args:
        quick: the smallest one alone.
        real: a data set of volumes.
    """

    def noise(size: list[int], landmarks: int) -> Callable[[Path], Path]:
        return lambda folder: volumes(folder, 10, size, landmarks)

    tiny: dict[str, Any] = {"network": "tiny"}
    small = PlannedCase("tiny, 32^3, 3 landmarks", noise([32, 32, 32], 3), tiny)
    if quick:
        return [small]
    found = [
        small,
        PlannedCase("tiny, 96 x 160 x 80, 4 landmarks", noise([96, 160, 80], 4), tiny),
        PlannedCase("tiny, 96 x 160 x 80, 32 landmarks", noise([96, 160, 80], 32), tiny),
        PlannedCase("tiny, 96 x 160 x 80, 51 landmarks", noise([96, 160, 80], 51), tiny),
        PlannedCase("tiny, 256 x 256 x 200, 32 landmarks", noise([256, 256, 200], 32), tiny),
        PlannedCase(
            "tiny, 256 x 256 x 200 at 1.5 mm, 32 landmarks",
            noise([256, 256, 200], 32),
            tiny | {"spacing": [1.5, 1.5, 1.5]},
        ),
        PlannedCase(
            "tiny, pictures of 1200 x 1000, 19 landmarks",
            lambda folder: pictures(folder, 10, [1200, 1000], 19),
            tiny | {"pixel_spacing": [0.1, 0.1]},
        ),
        PlannedCase(
            "plain for 4 GB, 128^3, 8 landmarks", noise([128] * 3, 8), {"network": "plain", "gpu_memory_gb": 4.0}
        ),
    ]
    return [*found, *([] if real is None else [PlannedCase(f"tiny, {real.name}", lambda _: real, tiny)])]


def table(*, quick: bool, real: Path | None = None, only: Sequence[str] = ()) -> None:
    """Print a row of a Markdown table for the training and for the prediction of each plan.

    Args:
        quick: the smallest plan alone.
        real: a data set of volumes that is measured too.
        only: parts of names; none for all.
    """
    print("| plan | what | stated | measured | of which workers | stated / measured |")
    print("|---|---|---|---|---|---|", flush=True)
    cases = planned_cases(quick=quick, real=real)
    for case in [case for case in cases if not only or any(word in case.name for word in only)]:
        for what, stated, taken in _measured(case):
            beside = f"{taken.beside:.0f} MB" if what == "training" else ""
            ratio = stated / taken.together
            print(
                f"| {case.name} | {what} | {stated:.0f} MB | {taken.together:.0f} MB | {beside} | {ratio:.2f} |",
                flush=True,
            )


def _measured(case: PlannedCase) -> Iterator[tuple[str, float, Taken]]:
    """For training and prediction what is stated, MB, and what was taken."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        source = case.make(folder / "data")
        options = {"folds": 2, "test_fraction": 0.0, "few_labels": False, "workers": 1} | case.options
        bundle = bundle_of(source, folder / "bundle", **options)
        stated = json.loads((bundle / "configs" / "plan.json").read_text(encoding="utf-8"))["decisions"]["memory"]
        # Stated in single precision; CPUs with half precision take less.
        short = {"train#trainer#max_epochs": 1, "iterations_per_epoch": STEPS, "val_interval": 1, "amp": False}
        yield "training", stated["value"]["training_cpu_mb"], run(command(bundle, short))
        words = ["-m", "auto_config", "predict", str(bundle), str(_largest_image(bundle)), str(folder / "results")]
        yield "prediction", stated["value"]["prediction_cpu_mb"], run([sys.executable, *words])


def run(line: list[str]) -> Taken:
    """Run a command and look at it and at its children.

    Raises:
        RuntimeError: it failed.
    """
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(line, stdout=said, stderr=subprocess.STDOUT)
        largest = beside = together = 0.0
        while process.poll() is None:
            largest = max(largest, process_memory(process.pid) or 0.0)
            own = _kilobytes(Path(f"/proc/{process.pid}/status"), "VmRSS:")
            others = sum(private_mb(child) for child in children(process.pid))
            beside, together = max(beside, others), max(together, own / 1024 + others)
            time.sleep(_PAUSE_S)
        if process.returncode:
            said.seek(0)
            last = said.read().decode(errors="replace").strip().splitlines()[-3:]
            raise RuntimeError(f"{' '.join(line[:6])}: {' '.join(last)}")
    return Taken(largest, beside, max(largest, together))


def children(parent: int) -> list[int]:
    """Processes that a process started, and theirs."""
    found: list[int] = []
    for task in Path(f"/proc/{parent}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in task.read_text(encoding="ascii").split():
                found += [int(child), *children(int(child))]
    return found


def private_mb(process: int) -> float:
    """Memory that a process shares with no other one, MB: a forked one shares what its parent had."""
    place = Path(f"/proc/{process}/smaps_rollup")
    return sum(_kilobytes(place, name) for name in ("Private_Clean:", "Private_Dirty:")) / 1024


def _kilobytes(place: Path, name: str) -> float:
    """A number of a file of the kernel; 0 where the process is gone."""
    with contextlib.suppress(OSError):
        for line in place.read_text(encoding="utf-8").splitlines():
            if line.startswith(name):
                return float(line.split()[1])
    return 0.0


def _largest_image(bundle: Path) -> Path:
    data = json.loads((bundle / "data" / "datalist.json").read_text(encoding="utf-8"))
    images = [Path(data["dataset_dir"]) / item["image"] for item in data["training"]]
    return max(images, key=lambda path: path.stat().st_size)
