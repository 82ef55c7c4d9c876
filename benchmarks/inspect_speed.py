"""How long `inspect` takes and how much memory it needs: many small cases, headers only and with voxels.

Example, the numbers of docs/performance.md:
    python benchmarks/inspect_speed.py many_cases --cases 1000 --size 64
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import nibabel as nib
import numpy as np


def make_cases(folder: Path, count: int, size: int) -> None:
    """Write ``images/CASE.nii.gz`` (`size`^3 voxels of noise) and ``landmarks/CASE.mrk.json`` (ten points each)."""
    rng = np.random.default_rng(0)
    (folder / "images").mkdir(parents=True)
    (folder / "landmarks").mkdir()
    names = [f"point {number}" for number in range(10)]
    shape = rng.uniform(0.2, 0.8, (len(names), 3)) * size
    for number in range(count):
        voxels = rng.integers(0, 1000, (size,) * 3, dtype=np.int16)
        nib.save(nib.Nifti1Image(voxels, np.eye(4)), folder / "images" / f"case_{number:04d}.nii.gz")
        points = shape + rng.normal(0, 1, shape.shape)
        control = [
            {"label": name, "position": [-float(x), -float(y), float(z)], "positionStatus": "defined"}
            for name, (x, y, z) in zip(names, points, strict=True)
        ]
        markups = [{"type": "Fiducial", "coordinateSystem": "LPS", "controlPoints": control}]
        text = json.dumps({"markups": markups})
        (folder / "landmarks" / f"case_{number:04d}.mrk.json").write_text(text, encoding="utf-8")


def measure(words: list[str]) -> dict[str, float]:
    """Run ``auto_config`` and give its seconds, and the largest memory in MB of any of its processes so far."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "auto_config", *words], check=True, stdout=subprocess.DEVNULL)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    return {"seconds": round(time.perf_counter() - start, 1), "largest_process_mb": round(peak)}


def main() -> int:
    """Make the cases where they are not there, and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder for the cases; used as it is if it is there")
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--size", type=int, default=64, help="voxels along each axis")
    given = parser.parse_args()
    if not given.folder.exists():
        make_cases(given.folder, given.cases, given.size)
    found = {"headers_only": measure(["inspect", str(given.folder), "--headers_only"])}
    found["with_voxels"] = measure(["inspect", str(given.folder)])
    print(json.dumps(found, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
