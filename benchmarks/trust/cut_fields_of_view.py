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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from PIL import Image

from auto_config.bundle.opened import OpenBundle, open_bundle
from auto_config.bundle_scripts.grid.grids import world_to_voxel
from auto_config.bundle_scripts.points.landmark_files import write_markups
from auto_config.bundle_scripts.points.landmarks import ABSENT, PRESENT, LandmarkSet
from auto_config.calibration.reliability import auroc
from auto_config.datasets import Case, read_dataset
from auto_config.datasets.images import read_header

KEPT = 0.98
"""Share of the landmarks in the field of view that the threshold of the table keeps."""


def cut(
    shape: tuple[int, ...], voxels: np.ndarray, random: np.random.Generator, share: tuple[float, float]
) -> tuple[slice, ...]:
    """The part of an image that is kept.

    Args:
        shape: Size of the image.
        voxels: (L, D) points in its voxels.
        random: Source of the axis, the end and the share.
        share: Smallest and largest share of the landmarks to lose.
    """
    axis, low_end = int(random.integers(len(shape))), bool(random.integers(2))
    lost = round(random.uniform(*share) * len(voxels))
    places = np.sort(voxels[:, axis])
    kept = [slice(0, size) for size in shape]
    if low_end:  # halfway between the last point that is lost and the first that is kept
        kept[axis] = slice(int(np.ceil((places[lost - 1] + places[lost]) / 2)), shape[axis])
    else:
        kept[axis] = slice(0, int(np.floor((places[-lost - 1] + places[-lost]) / 2)) + 1)
    return tuple(kept)


@dataclass(frozen=True)
class CutCase:
    """A case and its cut.

    Args:
        whole: image file.
        cut: image file of what is kept.
        points: (L, D) world mm of the whole image, NaN where a landmark is not present.
        status: (L,) of the cut.
        moved: (D,) mm from the world of the cut to that of the whole image; 0 where files have a position.
    """

    whole: Path
    cut: Path
    points: np.ndarray
    status: np.ndarray
    moved: np.ndarray


def write_cut(case: Case, names: Sequence[str], out: Path, random: np.random.Generator, cut_share: float) -> CutCase:
    """Write the image of a case, cut or as it is, and of a volume its landmarks."""
    assert case.landmarks is not None
    landmarks, header = case.landmarks.ordered(names), read_header(case.image, case.pixel_spacing)
    voxels = world_to_voxel(header.affine, landmarks.points)
    kept = [slice(0, size) for size in header.shape]
    if random.random() < cut_share:
        kept = list(cut(header.shape, voxels[landmarks.status == PRESENT], random, (0.1, 0.4)))
    low, high = np.array([part.start for part in kept]), np.array([part.stop for part in kept])
    with np.errstate(invalid="ignore"):
        inside = ((voxels >= low - 0.5) & (voxels <= high - 0.5)).all(axis=1)
    status = np.where(inside | (landmarks.status != PRESENT), landmarks.status, ABSENT)
    whole = Path(case.image[0])
    target = out / "images" / (f"{case.name}.nii.gz" if len(low) == 3 else f"{case.name}.png")
    moved = np.zeros(len(low))
    if len(low) == 3:
        nib.save(nib.load(whole).slicer[tuple(kept)], target)
        write_markups(
            out / "landmarks" / f"{case.name}.mrk.json", LandmarkSet(landmarks.names, landmarks.points, status)
        )
    else:
        Image.open(whole).crop((*low.tolist(), *high.tolist())).save(target)
        moved = header.affine[:-1, :-1] @ low  # a picture has no position: its first pixel is at the origin
    return CutCase(whole, target, landmarks.points, status, moved)


def chosen(cases: Sequence[Case], bundle: Path | None, names: str | None) -> list[Case]:
    """The cases that are named, else the bundle's test cases, else all."""
    wanted = None if names is None else names.split(",")
    if wanted is None and bundle is not None:
        listed = json.loads((bundle / "data" / "datalist.json").read_text(encoding="utf-8")).get("test", [])
        wanted = [str(item["case"]) for item in listed] or None
    return [case for case in sorted(cases, key=lambda one: one.name) if wanted is None or case.name in wanted]


def predicted(opened: OpenBundle, image: Path) -> dict[str, dict[str, Any]]:
    """What a bundle says of each landmark of an image, by name."""
    result = opened.predict(opened.preprocess(image))["result"]["landmarks"]
    return {item["name"]: item for item in result}


def evaluate(opened: OpenBundle, names: Sequence[str], cases: dict[str, CutCase]) -> None:
    """Print what the bundle makes of whole and of cut cases."""
    truth, confidence, present, inside, whole = [], [], [], [], []
    for case, known in cases.items():
        before, after = predicted(opened, known.whole), predicted(opened, known.cut)
        for name, point, status in zip(names, known.points, known.status, strict=True):
            if not np.isfinite(point).all() or name not in after:
                continue
            truth.append(status == PRESENT)
            confidence.append(after[name]["confidence"])
            present.append(bool(after[name]["present"]))
            whole.append(float(np.linalg.norm(before[name]["world"] - point)))
            inside.append(float(np.linalg.norm(after[name]["world"] + known.moved - point)))
        print(f"{case}: {int((known.status == ABSENT).sum())} outside", flush=True)
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
    parser.add_argument("source", type=Path, help="data set of NIfTI volumes, or of pictures where a bundle is given")
    parser.add_argument("out", type=Path, help="folder to write, with images/ and, of volumes, landmarks/")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--bundle", type=Path, help="a trained bundle that predicts the cases whole and cut")
    parser.add_argument("--cases", help="names with commas between; else the bundle's test cases, or all")
    parser.add_argument("--pixel_spacing", type=float, help="mm of a pixel of pictures")
    given = parser.parse_args()
    spacing = None if given.pixel_spacing is None else (given.pixel_spacing,) * 2
    (given.out / "images").mkdir(parents=True)
    (given.out / "landmarks").mkdir()
    dataset = read_dataset(given.source, pixel_spacing=spacing)[0]
    written = {}
    for number, case in enumerate(chosen(dataset.cases, given.bundle, given.cases)):
        random = np.random.default_rng([given.seed, number])
        share = 0.75 if given.bundle is None else 1.0
        written[case.name] = write_cut(case, dataset.names, given.out, random, share)
    absent = sum(int((one.status == ABSENT).sum()) for one in written.values())
    print(f"{len(written) * len(dataset.names)} landmarks, {absent} of them absent")
    if given.bundle is not None:
        evaluate(open_bundle(given.bundle), dataset.names, written)
    return 0


if __name__ == "__main__":
    sys.exit(main())
