"""Cut the fields of view of a data set, so that landmarks are lost: they become absent, and their number is known.

Three quarters of the cases lose 10 to 40 % of their landmarks at one end of one image axis; the rest stay whole. With
--bundle every case is cut, and the bundle predicts it whole and cut: the table says how well presence is decided, and
what the cut costs the landmarks that are still there.

Examples, the data of docs/uncertainty.md, and a bundle from complete cases on its own test cases:
    python benchmarks/trust/cut_fields_of_view.py mouse_skull_ct runs/mouse_cut
    python benchmarks/trust/cut_fields_of_view.py mouse_skull_ct runs/mouse_cut_test --bundle runs/mouse
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from auto_config.bundle.opened import OpenBundle, open_bundle
from auto_config.bundle_scripts.grid.grids import apply_affine
from auto_config.bundle_scripts.points.landmark_files import read_markups, write_markups
from auto_config.bundle_scripts.points.landmarks import ABSENT, PRESENT, LandmarkSet
from auto_config.calibration.reliability import auroc

KEPT = 0.98
"""Share of the landmarks in the field of view that the threshold of the table keeps."""


def cut(
    shape: tuple[int, ...], voxels: np.ndarray, random: np.random.Generator, share: tuple[float, float]
) -> tuple[slice, ...]:
    """The part of an image that is kept.

    Args:
        shape: Size of the image.
        voxels: (L, 3) points in its voxels.
        random: Source of the axis, the end and the share.
        share: Smallest and largest share of the landmarks to lose.
    """
    axis, low_end = int(random.integers(3)), bool(random.integers(2))
    lost = round(random.uniform(*share) * len(voxels))
    places = np.sort(voxels[:, axis])
    kept = [slice(0, size) for size in shape]
    if low_end:  # halfway between the last point that is lost and the first that is kept
        kept[axis] = slice(int(np.ceil((places[lost - 1] + places[lost]) / 2)), shape[axis])
    else:
        kept[axis] = slice(0, int(np.floor((places[-lost - 1] + places[-lost]) / 2)) + 1)
    return tuple(kept)


def write_cut(source: Path, out: Path, case: str, random: np.random.Generator, cut_share: float) -> LandmarkSet:
    """Write the image and the landmarks of a case, cut or as they are; the landmarks."""
    landmarks = read_markups(source / "landmarks" / f"{case}.mrk.json")
    image = nib.load(source / "images" / f"{case}.nii.gz")
    if random.random() < cut_share:
        there = landmarks.points[landmarks.status == PRESENT]
        voxels = apply_affine(np.linalg.inv(image.affine), there)
        image = image.slicer[cut(image.shape, voxels, random, (0.1, 0.4))]
    voxels = apply_affine(np.linalg.inv(image.affine), landmarks.points)
    inside = ((voxels >= -0.5) & (voxels <= np.array(image.shape) - 0.5)).all(axis=1)
    status = np.where(inside | (landmarks.status != PRESENT), landmarks.status, ABSENT)
    nib.save(image, out / "images" / f"{case}.nii.gz")
    found = LandmarkSet(landmarks.names, landmarks.points, status)
    write_markups(out / "landmarks" / f"{case}.mrk.json", found)
    return found


def chosen(source: Path, bundle: Path | None, names: str | None) -> list[str]:
    """Names of cases: those given, else the bundle's test cases, else all."""
    if names is not None:
        return names.split(",")
    if bundle is not None:
        listed = json.loads((bundle / "data" / "datalist.json").read_text(encoding="utf-8")).get("test", [])
        if listed:
            return [str(item["case"]) for item in listed]
    return sorted(path.name.removesuffix(".nii.gz") for path in (source / "images").glob("*.nii.gz"))


def predicted(opened: OpenBundle, image: Path) -> dict[str, dict[str, Any]]:
    """What a bundle says of each landmark of an image, by name."""
    result = opened.predict(opened.preprocess(image))["result"]["landmarks"]
    return {item["name"]: item for item in result}


def evaluate(opened: OpenBundle, source: Path, out: Path, labels: dict[str, LandmarkSet]) -> None:
    """Print what the bundle makes of whole and of cut cases."""
    truth, confidence, present, inside, whole = [], [], [], [], []
    for case, label in labels.items():
        before = predicted(opened, source / "images" / f"{case}.nii.gz")
        after = predicted(opened, out / "images" / f"{case}.nii.gz")
        complete = read_markups(source / "landmarks" / f"{case}.mrk.json")
        for name, point, status, known in zip(label.names, complete.points, label.status, complete.status, strict=True):
            if known != PRESENT or name not in after:
                continue
            truth.append(status == PRESENT)
            confidence.append(after[name]["confidence"])
            present.append(bool(after[name]["present"]))
            whole.append(float(np.linalg.norm(before[name]["world"] - point)))
            inside.append(float(np.linalg.norm(after[name]["world"] - point)))
        print(f"{case}: {int((label.status == ABSENT).sum())} outside", flush=True)
    report(np.array(truth), np.array(confidence), np.array(present), np.array(inside), np.array(whole))


def report(
    truth: np.ndarray, confidence: np.ndarray, present: np.ndarray, cut_error: np.ndarray, error: np.ndarray
) -> None:
    """Print the table; arrays are those of all landmarks of all cases, lengths in mm."""
    limit = np.quantile(confidence[truth], 1 - KEPT)
    rows: Sequence[tuple[str, str]] = (
        ("landmarks inside, outside", f"{truth.sum()}, {(~truth).sum()}"),
        ("AUROC of presence", f"{auroc(confidence, truth):.4f}"),
        (
            f"outside called present where {100 * KEPT:.0f} % of those inside are kept",
            f"{100 * (confidence[~truth] >= limit).mean():.1f} %",
        ),
        ("decided by the bundle: inside kept", f"{100 * present[truth].mean():.1f} %"),
        ("decided by the bundle: outside called present", f"{100 * present[~truth].mean():.1f} %"),
        ("error of whole images, all landmarks", f"{error.mean():.3f} mm, worst {error.max():.2f}"),
        ("error of those inside, uncut", f"{error[truth].mean():.3f} mm, worst {error[truth].max():.2f}"),
        ("error of those inside, cut", f"{cut_error[truth].mean():.3f} mm, worst {cut_error[truth].max():.2f}"),
        ("the same, those that the bundle calls present", _mean(cut_error[truth & present])),
        ("cut over uncut", f"{cut_error[truth].mean() / error[truth].mean():.3f}"),
    )
    for name, value in rows:
        print(f"{name:62}{value}")


def _mean(errors: np.ndarray) -> str:
    return f"{errors.mean():.3f} mm, worst {errors.max():.2f}" if errors.size else "none"


def main() -> int:
    """Write the cut images and landmark files, and judge a bundle by them; 0."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="data set with images/*.nii.gz and landmarks/*.mrk.json")
    parser.add_argument("out", type=Path, help="folder to write, with images/ and landmarks/")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--bundle", type=Path, help="a trained bundle that predicts the cases whole and cut")
    parser.add_argument("--cases", help="names with commas between; else the bundle's test cases, or all")
    given = parser.parse_args()
    (given.out / "images").mkdir(parents=True)
    (given.out / "landmarks").mkdir()
    labels = {}
    for number, case in enumerate(chosen(given.source, given.bundle, given.cases)):
        random = np.random.default_rng([given.seed, number])
        labels[case] = write_cut(given.source, given.out, case, random, 0.75 if given.bundle is None else 1.0)
    total = sum(len(label.names) for label in labels.values())
    absent = sum(int((label.status == ABSENT).sum()) for label in labels.values())
    print(f"{total} landmarks, {absent} of them absent")
    if given.bundle is not None:
        evaluate(open_bundle(given.bundle), given.source, given.out, labels)
    return 0


if __name__ == "__main__":
    sys.exit(main())
