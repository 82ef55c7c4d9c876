"""Make bundles/brain_mri_afids32_demo: the demo's way with more brains and time, calibrated, without data and paths.

python benchmarks/release/demo_bundle.py WORK_FOLDER bundles/brain_mri_afids32_demo --cases 60 --minutes 25
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path
from typing import Any

from ready_bundle import halve

from auto_config.bundle.documentation import UNKNOWN_ACCURACY
from auto_config.bundle.json_text import json_text
from auto_config.bundle_scripts.files.text import atomic_write_text
from auto_config.commands.calibrate import calibrate
from auto_config.commands.create import create
from auto_config.commands.evaluate import evaluate
from auto_config.commands.predict import predict
from auto_config.commands.train import train
from auto_config.demo.brains import load_template, write_brains, write_definitions
from auto_config.packaging.card import reliability, robustness, with_section

SHARED = ("LICENSE", "atlas", "configs", "docs", "scripts", "models/model.pt", "models/calibration.json")
PLACE = "/path/to/dataset"
AUTHORS = "The authors of landmark-bundles"
COPYRIGHT = "The authors of landmark-bundles"


def main() -> int:
    """Run it; exit status of the first step that fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--cases", type=int, default=60, help="brains to train on; 10 more are for the test")
    parser.add_argument("--minutes", type=float, default=25)
    given = parser.parse_args()
    data, tests = given.work / "train", given.work / "test"
    made, predictions = given.work / given.bundle.name, given.work / "predictions"
    template = load_template()
    list(write_brains(data, template, range(100, 100 + given.cases), seed=1))
    write_definitions(data)
    list(write_brains(tests, template, range(10), seed=2))
    status = create(
        data, made, network="tiny", test_fraction=0.0, atlas="nearest", authors=AUTHORS, copyright=COPYRIGHT
    ) or train(made, time_budget=f"{given.minutes}m", calibrate=False)
    if status:
        return int(status)
    for weights in sorted((made / "models").rglob("model.pt")):  # that of the fold too, by which calibrate knows it
        halve(weights)
    status = calibrate(made) or predict(made, tests / "images", predictions) or evaluate(predictions, tests)
    if status:
        return int(status)
    shutil.rmtree(given.bundle, ignore_errors=True)
    for name in SHARED:
        target = given.bundle / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if (made / name).is_dir():
            shutil.copytree(made / name, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(made / name, target)
    metrics = json.loads((predictions / "metrics.json").read_text(encoding="utf-8"))
    label(given.bundle, metrics, given.cases, given.minutes)
    return 0


def label(bundle: Path, metrics: dict[str, Any], cases: int, minutes: float) -> None:
    """Say that the data are synthetic, what was measured, and name no path."""
    train_file, meta_file, readme = (
        bundle / "configs/train.json",
        bundle / "configs/metadata.json",
        bundle / "docs/README.md",
    )
    config = json.loads(train_file.read_text(encoding="utf-8"))
    config["dataset_dir"] = PLACE
    atomic_write_text(train_file, json_text(config))
    meta = json.loads(meta_file.read_text(encoding="utf-8"))
    meta["description"] = f"SYNTHETIC training data, for demonstration only. {meta['description']}"
    atomic_write_text(meta_file, json_text(meta))
    text = readme.read_text(encoding="utf-8")
    before, _, after = text.partition("## Performance\n")
    error, baseline = metrics["mre_mm"], metrics["mean_shape_baseline"]["mre_mm"]
    measured = (
        f"**Synthetic data.** {cases} training and 10 test cases are all warps of one template (MNI152 2009a "
        "symmetric, skull-stripped) with its 32 AFID points; nothing is known about real scans.\n"
        f"After {minutes:g} minutes of training on a CPU: mean error {error['mean']:.2f} mm, median "
        f"{error['median']:.2f} mm, worst {error['max']:.2f} mm on the test cases; always predicting the mean shape "
        f"gives {baseline['mean']:.2f} mm.\n"
    )
    rest = after[after.index("\n## ") :]
    text = f"{before.replace(UNKNOWN_ACCURACY, '')}## Performance\n{measured}{rest}"
    text = with_section(text, "Intended Use", meta["intended_use"], before="Limitations")
    calibration = json.loads((bundle / "models" / "calibration.json").read_text(encoding="utf-8"))
    text = with_section(text, "Reliability", reliability(calibration), before="Usage")
    spoiled = robustness(calibration)
    if spoiled is not None:
        text = with_section(text, "Robustness", spoiled, before="Usage")
    atomic_write_text(readme, text)


if __name__ == "__main__":
    sys.exit(main())
