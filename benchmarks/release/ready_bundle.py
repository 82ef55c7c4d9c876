"""Make a bundle of bundles/ from a data set: trained, halved, calibrated, measured on held-back cases, packaged.

python benchmarks/release/ready_bundle.py mouse_skull_ct WORK bundles/mouse_skull_ct_51 --tests tests.txt --minutes 60

--options FILE is a JSON with further options: {"create": {"network": "tiny"}, "package": {"data_source": "..."}}.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import zipfile
from pathlib import Path
from typing import Any

import torch

from auto_config.bundle_scripts.files.weights import atomic_save
from auto_config.commands.calibrate import calibrate
from auto_config.commands.create import create
from auto_config.commands.evaluate import evaluate
from auto_config.commands.package import package
from auto_config.commands.predict import predict
from auto_config.commands.train import train


def main() -> int:
    """Run it; exit status of the first step that fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--tests", type=Path, required=True, help="file with the names of the cases to hold back")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--options", type=Path, help="JSON with further options of create and package")
    given = parser.parse_args()
    options = {"create": {}, "package": {}}
    options |= json.loads(given.options.read_text(encoding="utf-8")) if given.options else {}
    made, results = given.work / given.bundle.name, given.work / "results"
    status = create(given.source, made, test=given.tests, **options["create"]) or train(
        made, time_budget=f"{given.minutes}m", calibrate=False
    )
    return int(status or finish(made, given.bundle, results, options["package"]))


def finish(made: Path, bundle: Path, results: Path, card: dict[str, Any]) -> int:
    """Halve the weights, calibrate and measure what is left, and put the package in the place of the bundle."""
    for weights in sorted((made / "models").rglob("model.pt")):  # that of the fold too, by which calibrate knows it
        halve(weights)
    tests = made / "data" / "datalist.json"
    status = calibrate(made) or predict(made, tests, results, overwrite=True) or evaluate(results, tests, split="test")
    if status:
        return int(status)
    archive = results.parent / "package.zip"
    status = package(made, archive, results=results, overwrite=True, **card)
    if status:
        return int(status)
    shutil.rmtree(bundle, ignore_errors=True)
    with zipfile.ZipFile(archive) as content:
        content.extractall(bundle.parent)
    return 0


def halve(weights: Path) -> None:
    """Store network weights in float16, half the size; the shape model stays as it is. Loading makes float32 again."""
    state = torch.load(weights, weights_only=True)
    # MONAI's DynUNet has its layers under two names: what is one tensor stays one.
    halves = {v.data_ptr(): v.half() if v.dtype.itemsize < 8 else v for v in state.values()}
    atomic_save({k: halves[v.data_ptr()] for k, v in state.items()}, weights)


if __name__ == "__main__":
    sys.exit(main())
