"""Anatomy in any pose: mouse micro-CTs that lie anyhow, and skulls that lie alike, turned at random.

`prepare` makes a data set of the 30 usable scans of muratmaga/mouse_CT_atlas (45 points each; 21 more of 250 x 250
voxels have points in a frame that nobody knows) and `test.txt` with the scans of strains that the second data set does
not have: a strain is in both under the same name, so training on one and testing on the other would mix. `scans`
trains on the others and prints the errors on those of test.txt. `skulls` trains on mouse_skull_ct and compares its test
cases as they are with the same ones turned at random.

Example:
    python benchmarks/trust/any_pose.py prepare mouse_CT_atlas mouse_skull_ct mouse_micro_ct
    python benchmarks/trust/any_pose.py scans mouse_micro_ct runs/micro_ct_free --minutes 30 --pose free
    python benchmarks/trust/any_pose.py skulls mouse_skull_ct runs/skulls_upright --minutes 15 --pose upright
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import nibabel as nib
import numpy as np

from auto_config.bundle_scripts.images.files import case_name
from auto_config.datasets import read_dataset
from auto_config.datasets.images import read_image
from auto_config.datasets.model.dataset import present_points

sys.path.insert(0, str(Path(__file__).parents[1]))
from robustness import Spoiling, Volume, turned

UNKNOWN_FRAME = (250, 250)
"""Voxels along the first two axes of the scans whose points cannot be used."""

USABLE, TESTS = 30, 8


def prepare(atlas: Path, others: Path, out: Path) -> None:
    """Write images/, landmarks/ and test.txt.

    Args:
        atlas: folder of the repository, with data/targets and data/target_LMs.
        others: data set with images/STRAIN.nii.gz, whose strains may be trained on.
        out: folder to write; must not exist.
    """
    strains = {case_name(path) for path in (others / "images").iterdir()}
    usable = sorted((atlas / "data" / "targets").glob("*.nii.gz"))
    usable = [path for path in usable if nib.load(path).shape[:2] != UNKNOWN_FRAME]  # type: ignore[attr-defined]
    # The files end on "_.nii.gz".
    names = {path: case_name(path).removesuffix("_") for path in usable}
    held = [name for name in names.values() if name not in strains]
    if len(usable) != USABLE or len(held) != TESTS:
        sys.exit(f"{atlas}: {len(usable)} usable scans, {len(held)} of other strains; expected {USABLE} and {TESTS}")
    for folder in ("images", "landmarks"):
        (out / folder).mkdir(parents=True)
    for path, name in names.items():
        shutil.copyfile(path, out / "images" / f"{name}.nii.gz")
        points = atlas / "data" / "target_LMs" / path.name.replace(".nii.gz", ".mrk.json")
        shutil.copyfile(points, out / "landmarks" / f"{name}.mrk.json")
    (out / "test.txt").write_text("\n".join(held) + "\n", encoding="utf-8")
    print(f"{out}: {len(usable)} scans; held out: {', '.join(held)}")


def bundle_of(source: Path, out: Path, tests: Path, minutes: float, options: list[str]) -> Path:
    """A bundle that is trained for some minutes on the cases that are not tests."""
    bundle = out / "bundle"
    if not bundle.exists():
        _run("create", source, bundle, "--test", tests, *options)
        _run("train", bundle, "--time_budget", f"{minutes:g}m", "--fold", "0")
    return bundle


def errors_of(bundle: Path, source: Path, tests: list[str], spoil: Spoiling | None, out: Path) -> np.ndarray:
    """Errors ``(cases, L)`` in mm on test cases, as they are or spoiled; NaN where a point is not known.

    Args:
        bundle: a trained one.
        source: the data set.
        tests: names of cases.
        spoil: what happens to each of them.
        out: folder for the predictions.
    """
    dataset, _ = read_dataset(source)
    cases = [case for case in dataset.cases if case.name in tests]
    truth = []
    with tempfile.TemporaryDirectory() as folder:
        for case in cases:
            image, points = read_image(case.image), present_points(case, dataset.names, 3)
            volume = Volume(image.array[0], image.affine, points, np.isfinite(points[:, 0]))
            volume = volume if spoil is None else spoil(volume, np.random.default_rng(list(case.name.encode())))
            nib.save(nib.Nifti1Image(volume.array.astype(np.float32), volume.affine), f"{folder}/{case.name}.nii.gz")
            truth.append(volume.points)
        _run("predict", bundle, folder, out, "--json", "--overwrite")
    found = []
    for case in cases:
        items = json.loads((out / f"{case.name}.json").read_text(encoding="utf-8"))["landmarks"]
        found.append([item["world"] for item in items])
    return np.asarray(np.linalg.norm(np.array(found) - np.stack(truth), axis=-1))


def any_turn(volume: Volume, random: np.random.Generator) -> Volume:
    """The anatomy turned by an angle at random; uniform over all rotations (Miles, 1965)."""
    angles = np.linspace(0, np.pi, 1801)
    share = (angles - np.sin(angles)) / np.pi
    return turned(float(np.degrees(np.interp(random.uniform(), share, angles))))(volume, random)


def row(name: str, errors: np.ndarray) -> str:
    """A row of a Markdown table."""
    known = errors[np.isfinite(errors)]
    means = ", ".join(f"{value:.2f}" for value in np.nanmean(errors, axis=1))
    return f"| {name} | {known.mean():.3f} | {np.median(known):.3f} | {known.max():.2f} | {means} |"


def main() -> int:
    """Run one of the three."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    made = commands.add_parser("prepare", help="make the data set of micro-CTs")
    for name in ("atlas", "others", "out"):
        made.add_argument(name, type=Path)
    for command in ("scans", "skulls"):
        run = commands.add_parser(command)
        run.add_argument("source", type=Path)
        run.add_argument("out", type=Path, help="folder for bundle and predictions; a bundle that is there is used")
        run.add_argument("--minutes", type=float, default=30 if command == "scans" else 15)
        run.add_argument("--create", nargs=argparse.REMAINDER, default=[], help="further options of create, last")
        run.add_argument("--pose", default="auto")
    given = parser.parse_args()
    if given.command == "prepare":
        prepare(given.atlas, given.others, given.out)
        return 0
    given.out.mkdir(parents=True, exist_ok=True)
    tests = given.source / "test.txt"
    if given.command == "skulls":
        tests = given.out / "test.txt"
        names = [case_name(path) for path in sorted((given.source / "images").iterdir())][::5][:TESTS]
        tests.write_text("\n".join(names) + "\n", encoding="utf-8")
    bundle = bundle_of(given.source, given.out, tests, given.minutes, ["--pose", given.pose, *given.create])
    pose = json.loads((bundle / "configs" / "plan.json").read_text(encoding="utf-8"))["decisions"]["pose"]
    print(f"pose {pose['value']['kind']}: {pose['reason']}")
    print("| test cases | mean mm | median mm | worst mm | mean of each |\n|---|---|---|---|---|")
    held = tests.read_text(encoding="utf-8").split()
    for name, spoil in {"as they are": None, "turned by any rotation": any_turn}.items():
        out = given.out / name.replace(" ", "_")
        print(row(name, errors_of(bundle, given.source, held, spoil, out)), flush=True)
    return 0


def _run(*arguments: object) -> None:
    done = subprocess.run([sys.executable, "-m", "auto_config", *map(str, arguments)], check=False)
    if done.returncode:
        sys.exit(done.returncode)


if __name__ == "__main__":
    sys.exit(main())
