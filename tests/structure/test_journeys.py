"""`benchmarks/runtimes.py parts` and `journeys`: parts of a prediction, and their table."""

import importlib.util
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest
from torch import nn

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "benchmarks" / "runtimes.py"


@pytest.fixture
def journeys():
    spec = importlib.util.spec_from_file_location("journeys", SCRIPT.parent / "costing" / "journeys.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_what_is_not_a_network_or_reading_is_the_rest(journeys, monkeypatch):
    """By a clock that the parts set: reading 2, the networks 3 and twice 5, 7 for the rest."""
    now = [0.0]
    monkeypatch.setattr(journeys.time, "perf_counter", lambda: now[0])

    class Takes(nn.Module):
        def __init__(self, seconds):
            super().__init__()
            self.seconds = seconds

        def forward(self, image):
            now[0] += self.seconds
            return image

    stages = nn.ModuleDict({"coarse": Takes(3.0), "fine": Takes(5.0)})

    def predict(data):
        stages["fine"](stages["fine"](stages["coarse"](data)))
        now[0] += 7.0
        return {"result": "points"}

    def preprocess(image):
        now[0] += 2.0
        return image

    opened = SimpleNamespace(network=SimpleNamespace(stages=stages), preprocess=preprocess, predict=predict)
    for _ in range(2):  # nothing is left of the first
        assert journeys.timed_prediction(opened, "image") == (
            "points",
            {
                "read and preprocess": 2.0,
                "network of stage coarse": 3.0,
                "network of stage fine": 10.0,
                "windows, crops, decoding, verdict": 7.0,
            },
        )


def test_shares_are_those_of_the_whole(journeys):
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
