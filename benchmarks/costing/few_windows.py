"""Does looking only where landmarks are expected cost accuracy? One trained network, both ways.

python benchmarks/costing/few_windows.py WORK_FOLDER --minutes 12

Brains that lie in a common space, as after an affine registration: the template, each warped (points move by some 3 mm)
and turned, scaled and shifted a little, on one grid. One stage, whose windows cover a small part of the image.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from pathlib import Path

import nibabel as nib
import numpy as np

from auto_config.bundle.json_text import json_text
from auto_config.bundle_scripts.files.text import atomic_write_text
from auto_config.bundle_scripts.points.landmark_files import write_markups
from auto_config.bundle_scripts.points.landmarks import PRESENT, LandmarkSet
from auto_config.commands.create import create
from auto_config.commands.evaluate import evaluate
from auto_config.commands.predict import predict
from auto_config.commands.train import train
from auto_config.demo.afids import NAMES, afid_points
from auto_config.demo.brains import Template, load_template, sample
from auto_config.demo.warp import random_warp

VOXEL_MM, PATCH = 2.0, 32


def main() -> int:
    """Run it; exit status of the first step that fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path, help="folder; must not exist")
    parser.add_argument("--cases", type=int, default=40, help="brains to train on; 12 more are for the test")
    parser.add_argument("--minutes", type=float, default=12)
    given = parser.parse_args()
    bundle, tests = given.work / "bundle", given.work / "test"
    template = load_template()
    for folder, numbers in ((given.work / "train", range(12, 12 + given.cases)), (tests, range(12))):
        write_registered(folder, template, numbers)
    status = create(given.work / "train", bundle, network="tiny", stages=1, patch_size=(PATCH,) * 3, test_fraction=0.0)
    if status:
        return int(status)
    plan = json.loads((bundle / "configs" / "plan.json").read_text(encoding="utf-8"))
    places = plan["decisions"]["places"]
    if places["value"] is None:
        print(f"error: nothing to compare: {places['reason']}; give more --cases", file=sys.stderr)
        return 2
    if status := train(bundle, time_budget=f"{given.minutes}m"):
        return int(status)
    print("| windows | mean | median | 95 % | worst | s a case |\n|---|---|---|---|---|---|")
    for every, name in ((False, "where landmarks are expected"), (True, "all")):
        one = given.work / ("all" if every else "few")
        shutil.copytree(bundle, one, ignore=shutil.ignore_patterns("cache"))
        config = one / "configs" / "inference.json"
        settings = json.loads(config.read_text(encoding="utf-8"))
        atomic_write_text(config, json_text(settings | {"all_windows": every}))
        began = time.perf_counter()
        status = predict(one, tests / "images", one / "predictions")
        seconds = (time.perf_counter() - began) / 12
        if status := status or evaluate(one / "predictions", tests):
            return int(status)
        found = json.loads((one / "predictions" / "metrics.json").read_text(encoding="utf-8"))
        mm = [f"{found['mre_mm'][value]:.3f}" for value in ("mean", "median", "p95", "max")]
        print(f"| {name} | {' | '.join(mm)} | {seconds:.2f} |")
    return 0


def write_registered(folder: Path, template: Template, numbers: range) -> None:
    """Brains on one grid of `VOXEL_MM`, as a data set.

    Args:
        folder: to write.
        template: that is warped.
        numbers: of the brains, their seeds.
    """
    for name in ("images", "landmarks"):
        (folder / name).mkdir(parents=True)
    outline = template.outline()
    low, high = outline.min(0) - 12, outline.max(0) + 12
    affine = np.diag([VOXEL_MM] * 3 + [1.0])
    affine[:3, 3] = low
    shape = tuple(int(n) for n in np.ceil((high - low) / VOXEL_MM))
    for number in numbers:
        random = np.random.default_rng([7, number])
        warp = random_warp(random, rotation_sd_deg=2.0, scale_sd=0.02, shift_sd_mm=1.0)
        values = sample(template.t1, template.affine, warp, shape, affine) + random.normal(0, 0.03, shape)
        grey = np.round(values * random.uniform(300, 1500)).astype(np.int16)
        nib.save(nib.Nifti1Image(grey, affine), folder / "images" / f"brain_{number:03d}.nii.gz")
        points = LandmarkSet(NAMES, warp.from_template(afid_points()), np.full(len(NAMES), PRESENT, dtype=np.int8))
        write_markups(folder / "landmarks" / f"brain_{number:03d}.mrk.json", points)


if __name__ == "__main__":
    raise SystemExit(main())
