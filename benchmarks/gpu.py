"""What a GPU makes of a training and of a prediction: one command, under 8 minutes, a table and a JSON file.

python benchmarks/gpu.py OUT.json [--data DATASET] [--device cuda:0] [--seconds 450] [--quick]

For each network with each method, at the planned spacing: steps a second, share of the time in which the GPU works,
peak memory beside the plan's, loss beside network and beside the memory's bandwidth, host synchronisations, a case
predicted. Then a volume of 300^3 in one stage, by slabs and by whole maps, and a picture of 1935 x 2400; at last what
channels last, CUDA graphs and `torch.compile` change. A part that fails, or that takes longer than its share of the
time, is a row with its error and with what it had found before. ``--quick`` does each kind of row once with narrow
networks on small data, in seconds and on a CPU too: a look at the program and at nothing else. Without a data set six
volumes of 128^3 voxels are made.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import torch
from costing.bundles import pictures
from on_gpu.card import Card
from on_gpu.losses import loss_ratio
from on_gpu.made import Made, first_image, volumes
from on_gpu.prediction import prediction
from on_gpu.rows import Part, Row, rows_of, shown
from on_gpu.training import steps
from on_gpu.ways import ways

from auto_config.bundle_scripts.files.text import atomic_write_text

NETWORKS, METHODS = ("tiny", "plain", "resenc_m"), ("default", "nnlandmark")
PAIRS = [(network, method) for network in NETWORKS for method in METHODS]
QUICK_PAIRS = [("tiny", "default"), ("plain", "nnlandmark"), ("resenc_m", "default")]
"""Each network and each method once."""

PICTURE, PICTURE_LANDMARKS = [1935, 2400], 19


class Plan:
    """Which rows there are.

    Args:
        card: what is measured.
        data: volumes.
        folder: for what is made.
        end: time of `time.perf_counter` at which all is to be over.
        quick: small.
    """

    def __init__(self, card: Card, data: Path, folder: Path, end: float, *, quick: bool) -> None:
        self.card, self.data, self.folder, self.end, self.quick = card, data, folder, end, quick
        self.made: dict[str, Made] = {}

    def parts(self) -> list[Part]:
        """The rows, the most important first: where the time ends early, the last ones are missing."""
        edge, times = (24, 1) if self.quick else (128, 5)
        found: list[Part] = [("loss, fused, naive and floor", lambda row: loss_ratio(self.card, row, edge, times))]
        for network, method in QUICK_PAIRS if self.quick else PAIRS:
            found += self.both(f"{network}, {method}", self.data, network=network, method=method)
        found += self.large_volume()
        found += (
            self.large_picture("tiny") if self.quick else [*self.large_picture("tiny"), *self.large_picture("plain")]
        )
        # The method changes the heads alone.
        for network, method in QUICK_PAIRS if self.quick else [(network, "nnlandmark") for network in NETWORKS]:
            name = f"{network}, {method}"
            found.append((f"ways: {name}", lambda row, name=name: ways(self.made[name], row)))
        return found

    def small(self, dims: int) -> dict[str, object]:
        """Options of a quick look."""
        return {"patch_size": [16 if dims == 3 else 32] * dims} if self.quick else {}

    def both(self, name: str, data: Path, dims: int = 3, **options: object) -> list[Part]:
        """A training and a prediction."""

        def training(row: Row) -> None:
            root = self.folder / name.replace(", ", "_").replace(" ", "_")
            made = Made(self.card, self.source(data), root, quick=self.quick, **self.small(dims), **options)
            self.made[name] = made
            warm_up, count = (1, 2) if self.quick else (10, 60)
            left = self.end - time.perf_counter()
            steps(made, row, warm_up=warm_up, count=count, seconds=max(5.0, left / (3 * len(PAIRS))))

        def predicting(row: Row) -> None:
            prediction(self.made[name], row, first_image(data))

        return [(f"training: {name}", training), (f"prediction: {name}", predicting)]

    def source(self, data: Path) -> Path:
        """A data set, made where it is not there yet."""
        if not data.exists() and data == self.folder / "pictures":
            size = [96, 120] if self.quick else PICTURE
            pictures(data, 4, size, PICTURE_LANDMARKS)
        return data

    def large_picture(self, network: str) -> list[Part]:
        """A cephalogram."""
        wide, high = [96, 120] if self.quick else PICTURE
        options = {"network": network, "method": "default", "pixel_spacing": [0.1, 0.1]}
        return self.both(f"{network}, {wide} x {high}", self.folder / "pictures", 2, **options)

    def large_volume(self) -> list[Part]:
        """One stage on a volume of 300^3, planned for a GPU of 8 GB: what is held of its heatmaps."""
        edge = 32 if self.quick else 300

        def predicting(row: Row) -> None:
            data = volumes(self.folder / "large", edge, 3)
            options = {"network": "plain", "method": "default", "stages": 1, "gpu_memory_gb": 8.0}
            made = Made(self.card, data, self.folder / "large_bundle", quick=self.quick, **self.small(3), **options)
            row["patch"] = "x".join(map(str, made.decided("stages")[-1]["patch_size"]))
            prediction(made, row, first_image(data), whole=True)

        return [(f"prediction: plain, one stage, {edge}^3", predicting)]


def main(argv: list[str] | None = None) -> int:
    """Measure, print and write."""
    started = time.perf_counter()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", type=Path, help="a data set of volumes that `create` reads")
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--seconds", type=float, default=450.0)
    parser.add_argument("--quick", action="store_true", help="each kind of row once, small")
    options = parser.parse_args(argv)
    device = torch.device(options.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        print("error: torch finds no GPU here; --device cpu --quick tries the program", file=sys.stderr)
        return 2
    card = Card(device)
    result: Row = {**card.about(), "parts": []}
    print("  ".join(f"{name} {value}" for name, value in card.about().items()), flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder, end = Path(name), started + options.seconds
        small = (32, 4) if options.quick else (128, 6)
        data = options.data or volumes(folder / "data", *small)
        for row in rows_of(Plan(card, data, folder, end, quick=options.quick).parts(), end):
            result["parts"].append(row)
            print(shown(row), flush=True)
            # After each part, so that a machine that is taken away leaves what was measured.
            atomic_write_text(options.out, json.dumps(result, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
