"""Cut the fields of view of a data set, so that landmarks are lost: they become absent, and their number is known.

Three quarters of the cases lose 10 to 40 % of their landmarks at one end of one image axis; the rest stay whole.

Example, the data of docs/uncertainty.md:
    python benchmarks/cut_fields_of_view.py mouse_skull_ct runs/mouse_cut
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import nibabel as nib
import numpy as np

from auto_config.bundle_scripts.points.landmark_files import read_markups, write_markups
from auto_config.bundle_scripts.points.landmarks import ABSENT, LandmarkSet


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


def main() -> int:
    """Write the cut images and landmark files; 0."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="data set with images/*.nii.gz and landmarks/*.mrk.json")
    parser.add_argument("out", type=Path, help="folder to write, with images/ and landmarks/")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    (given.out / "images").mkdir(parents=True)
    (given.out / "landmarks").mkdir()
    total = absent = 0
    for number, path in enumerate(sorted((given.source / "images").glob("*.nii.gz"))):
        case = path.name.removesuffix(".nii.gz")
        landmarks = read_markups(given.source / "landmarks" / f"{case}.mrk.json")
        image = nib.load(path)
        random = np.random.default_rng([given.seed, number])
        if random.random() < 0.75:
            voxels = nib.affines.apply_affine(np.linalg.inv(image.affine), landmarks.points)
            image = image.slicer[cut(image.shape, voxels, random, (0.1, 0.4))]
        voxels = nib.affines.apply_affine(np.linalg.inv(image.affine), landmarks.points)
        inside = ((voxels >= -0.5) & (voxels <= np.array(image.shape) - 0.5)).all(axis=1)
        status = np.where(inside, landmarks.status, ABSENT)
        nib.save(image, given.out / "images" / path.name)
        write_markups(
            given.out / "landmarks" / f"{case}.mrk.json", LandmarkSet(landmarks.names, landmarks.points, status)
        )
        total, absent = total + len(status), absent + int((status == ABSENT).sum())
    print(f"{total} landmarks, {absent} of them absent")
    return 0


if __name__ == "__main__":
    sys.exit(main())
