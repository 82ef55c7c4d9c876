"""A small data set of blobs: points that a network could find, in images as mixed as real ones."""

from pathlib import Path

import nibabel as nib
import numpy as np

from auto_config.bundle_scripts.points.landmark_files import write_markups
from auto_config.bundle_scripts.points.landmarks import LandmarkSet

# World mm. Left and right mirror each other, as a head does.
TEMPLATE = np.array([[-14.0, 2, 0], [14.0, 2, 0], [0, 15, -4], [0, -12, 9]])
HEAD = ("eye_left", "eye_right", "nose", "top")
# Names that a careless config would execute, mix up or lose.
ODD = ("a", "A", "Größe, 1", "b c")

# Direction of each voxel axis, spacing in mm, shape in voxels.
FRAMES = {
    "plain": (np.eye(3), (2.0, 2.0, 2.0), (30, 32, 26)),
    "lps": (np.diag([-1.0, -1, 1]), (2.0, 2.0, 2.0), (28, 30, 26)),
    "pir": (np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]]), (2.0, 2.0, 2.0), (32, 26, 30)),
    "thick": (np.eye(3), (1.8, 1.8, 4.5), (32, 34, 12)),
    "large": (np.eye(3), (2.0, 2.0, 2.0), (40, 40, 36)),
}


def frame(kind: str) -> tuple[np.ndarray, tuple[int, ...]]:
    """Affine (4, 4) and shape of an image about the world's origin."""
    directions, spacing, shape = FRAMES[kind]
    affine = np.eye(4)
    affine[:3, :3] = directions @ np.diag(spacing)
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return affine, shape


def draw(points: np.ndarray, kind: str, rng: np.random.Generator) -> nib.Nifti1Image:
    """An image with a blob of its own height at each point, and noise."""
    affine, shape = frame(kind)
    voxels = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), -1)
    world = voxels @ affine[:3, :3].T + affine[:3, 3]
    image = rng.normal(0, 3, shape)
    for height, point in zip((100, 140, 180, 220), points, strict=True):
        image += height * np.exp(-((world - point) ** 2).sum(-1) / (2 * 3.5**2))
    return nib.Nifti1Image(image.astype(np.float32), affine)


def write_blobs(folder: Path, names: tuple[str, ...] = HEAD, cases: int = 9) -> dict[str, np.ndarray]:
    """Write ``images/`` and ``landmarks/``; returns the points (L, 3) of each case in RAS mm."""
    rng = np.random.default_rng(7)
    (folder / "images").mkdir(parents=True)
    (folder / "landmarks").mkdir()
    kinds = list(FRAMES)
    truth = {}
    for number in range(cases):
        kind = kinds[number % len(kinds)]
        case = f"{kind}{number}"
        points = TEMPLATE * rng.uniform(0.9, 1.1) + rng.normal(0, 1.0, TEMPLATE.shape)
        nib.save(draw(points, kind, rng), folder / "images" / f"{case}.nii.gz")
        write_markups(folder / "landmarks" / f"{case}.mrk.json", landmark_set(names, points))
        truth[case] = points
    return truth


def landmark_set(names: tuple[str, ...], points: np.ndarray) -> LandmarkSet:
    """All present."""
    return LandmarkSet(names, np.asarray(points, dtype=np.float64), np.ones(len(names), dtype=np.int8))
