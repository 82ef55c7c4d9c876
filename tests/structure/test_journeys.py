"""`benchmarks/runtimes.py parts` and `journeys`: parts of a prediction, and their table."""

import importlib.util
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "benchmarks" / "runtimes.py"


def test_shares_are_those_of_the_whole():
    spec = importlib.util.spec_from_file_location("journeys", SCRIPT.parent / "costing" / "journeys.py")
    journeys = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(journeys)
    found = {"skull": {"read": 0.5, "network": 1.5, "all": 2.0}, "picture": {"read": 0.25, "all": 0.25}}
    assert journeys.table(found) == [
        "| | skull | picture |",
        "|---|---|---|",
        "| read | 0.50 s (25 %) | 0.25 s (100 %) |",
        "| network | 1.50 s (75 %) |  |",
        "| all | 2.00 s (100 %) | 0.25 s (100 %) |",
    ]


def test_each_journey_is_made_and_measured():
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "journeys", "--quick", "--rounds", "1", "--threads", "1"],
        capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    head, _, *rows = done.stdout.splitlines()
    assert head == "| | cephalogram | volume |"
    assert rows[0].startswith("| import torch |")
    assert rows[-1].startswith("| all |") and rows[-1].count("(100 %)") == 2


def test_a_bundle_alone_is_refused():
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "journeys", "bundle"],
        capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.endswith("journeys with a bundle needs an image, too\n")


def test_parts_of_a_prediction_are_all_of_it(tmp_path):
    image = tmp_path / "image.nii.gz"
    voxels = np.random.default_rng(0).integers(0, 1000, (44, 40, 42), dtype=np.int16)
    nib.save(nib.Nifti1Image(voxels, np.diag([3.0, 3.0, 3.0, 1.0])), image)
    bundle = ROOT / "bundles" / "brain_mri_afids32_demo"
    command = [sys.executable, SCRIPT, "parts", bundle, image, "--threads", "1", "--rounds", "1"]
    began = time.perf_counter()
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    lasted = time.perf_counter() - began
    seconds = json.loads(done.stdout.splitlines()[-1])
    whole = seconds.pop("all")
    assert whole == pytest.approx(sum(seconds.values()))
    # Less the start of Python and the first of two predictions, of which the second counts.
    assert lasted / 4 < whole < lasted
    assert min(seconds.values()) > 0
    assert {"network of stage coarse", "network of stage fine", "read and preprocess", "write files"} < set(seconds)
