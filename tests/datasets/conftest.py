"""Small data sets on disk."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from auto_config.bundle_scripts.points.landmark_files import write_markups
from auto_config.bundle_scripts.points.landmarks import LandmarkSet

SHAPE = (12, 14, 10)
POINTS = {"AC": [1.0, 2.0, 3.0], "PC": [4.0, -3.0, 1.0], "left eye": [-2.0, 4.0, 0.0], "right eye": [3.0, 4.0, 0.5]}


class Folder:
    """A data set of NIfTI files with Slicer Markups that a test can spoil in one place."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name in ("images", "landmarks"):
            (root / name).mkdir(parents=True)

    def image(self, case, array=None, affine=None, shape=SHAPE, name=None):
        if affine is None:
            affine = np.eye(4)
            affine[:3, 3] = -np.array(shape[:3]) / 2
        if array is None:
            array = np.random.default_rng(0).normal(size=shape).astype(np.float32)
        path = self.root / "images" / (name or f"{case}.nii.gz")
        nib.save(nib.Nifti1Image(array, affine), path)
        return path

    def label(self, case, points=None):
        path = self.root / "landmarks" / f"{case}.mrk.json"
        write_markups(path, LandmarkSet.from_inline(POINTS if points is None else points))
        return path

    def case(self, case, points=None, **image):
        return self.image(case, **image), self.label(case, points)


@pytest.fixture
def folder(tmp_path):
    """An empty data set."""
    return Folder(tmp_path / "set")


@pytest.fixture
def three_cases(folder):
    """Three good cases, c2 before c10."""
    for case in ("c1", "c2", "c10"):
        folder.case(case)
    return folder
