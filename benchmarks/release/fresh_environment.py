"""A package predicts the same points in an environment that is made of its metadata.json alone.

python benchmarks/release/fresh_environment.py PACKAGE.zip IMAGES WORK [--torch 2.13.0]

Makes a virtual environment in WORK, installs exactly the versions that configs/metadata.json lists (and nothing of this
project), predicts IMAGES in it with MONAI's own command, and once more with this environment's Python; says how far the
points are apart. Installing takes minutes and some GB. `--torch` takes another version of torch where the listed one
cannot be had without CUDA; the answer says so.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import numpy as np

TOLERANCE_MM = 0.01
"""Of points from other kernels of the same network; a voxel is a hundred times as large."""


def requirements(metadata: dict, torch: str | None) -> list[str]:
    """What pip installs: each package with the version that metadata.json gives."""
    listed = {
        "monai": metadata["monai_version"],
        "torch": torch or metadata["pytorch_version"],
        "numpy": metadata["numpy_version"],
        **metadata["required_packages_version"],
    }
    return [f"{name}=={version}" for name, version in listed.items()]


def points(folder: Path) -> dict[tuple[str, str], np.ndarray]:
    """World mm of each case and landmark of a predictions.csv."""
    with (folder / "predictions.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    axes = [name for name in rows[0] if name in {"x_ras_mm", "y_ras_mm", "z_ras_mm", "x_px", "y_px"}]
    return {(row["case"], row["landmark"]): np.array([float(row[axis] or "nan") for axis in axes]) for row in rows}


def predict(python: Path, bundle: Path, images: Path, out: Path) -> None:
    """MONAI's command line, in another environment, from a folder where this project is not."""
    line = [python, "-m", "monai.bundle", "run", "--config_file", bundle / "configs" / "inference.json"]
    line += ["--bundle_root", bundle, "--dataset_dir", images, "--output_dir", out, "--device", "cpu"]
    subprocess.run([str(word) for word in line], check=True, cwd=out.parent, env={"PATH": "/usr/bin:/bin"})


def main() -> int:
    """Compare; 1 if points differ by more than the tolerance."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("package", type=Path)
    parser.add_argument("images", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--torch")
    asked = parser.parse_args()
    work = asked.work.absolute()
    work.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(asked.package) as archive:
        archive.extractall(work)
        bundle = work / archive.namelist()[0].split("/")[0]
    metadata = json.loads((bundle / "configs" / "metadata.json").read_text(encoding="utf-8"))
    wanted = requirements(metadata, asked.torch)
    print("installing", *wanted, flush=True)
    venv.create(work / "environment", with_pip=True)
    python = work / "environment" / "bin" / "python"
    subprocess.run([str(python), "-m", "pip", "install", "--quiet", *wanted], check=True)
    images = asked.images.absolute()
    predict(python, bundle, images, work / "fresh")
    predict(Path(sys.executable), bundle, images, work / "here")
    fresh, here = points(work / "fresh"), points(work / "here")
    if fresh.keys() != here.keys() or not here:
        print("the two environments predict other cases or landmarks")
        return 1
    apart = max(float(np.linalg.norm(fresh[key] - here[key])) for key in here)
    other = "" if asked.torch is None else f" (torch {asked.torch} in place of {metadata['pytorch_version']})"
    print(f"{len(here)} points, largest distance {apart:.6f} mm, allowed {TOLERANCE_MM} mm{other}")
    return 0 if apart <= TOLERANCE_MM else 1


if __name__ == "__main__":
    sys.exit(main())
