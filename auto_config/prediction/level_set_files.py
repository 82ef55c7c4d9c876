"""``CASE.regions.npz``: the level set of every landmark of an image, voxel by voxel, also where several overlap."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from auto_config.bundle_scripts.files.atomic import written_whole


@dataclass(frozen=True)
class LevelSets:
    """The regions of one image on the planned grid.

    Args:
        names: (L,) landmarks in channel order.
        level: Nominal probability.
        affine: (D + 1, D + 1) voxel of the planned grid to world mm.
        finite: (L,) whether the landmark has a finite region.
        landmark: (V,) index in ``names`` of the landmark that a voxel belongs to.
        voxels: (V, D) indices on the planned grid; beyond it where a heatmap reaches beyond the image.
    """

    names: tuple[str, ...]
    level: float
    affine: np.ndarray
    finite: np.ndarray
    landmark: np.ndarray
    voxels: np.ndarray

    @property
    def sizes(self) -> np.ndarray:
        """(L,) mm³ (mm² in 2D), infinite where there is no finite region."""
        voxel = abs(float(np.linalg.det(self.affine[:-1, :-1])))
        return np.where(self.finite, np.bincount(self.landmark, minlength=len(self.names)) * voxel, np.inf)

    def hold(self, landmark: int, point: np.ndarray) -> bool:
        """Whether the voxel that a point (D,), world mm, lies in belongs to the region of a landmark."""
        if not self.finite[landmark]:
            return True
        inverse = np.linalg.inv(self.affine)
        voxel = np.round(inverse[:-1, :-1] @ point + inverse[:-1, -1])
        return bool((self.voxels[self.landmark == landmark] == voxel).all(axis=1).any())


def write_level_sets(path: Path, sets: LevelSets) -> None:
    """Write the file, atomically."""
    with written_whole(path) as stream:
        np.savez_compressed(
            stream,
            names=np.array(sets.names, dtype=str),
            level=np.array(sets.level),
            affine=sets.affine,
            finite=sets.finite,
            landmark=sets.landmark.astype(np.int32),
            voxels=sets.voxels.astype(np.int32),
        )


def read_level_sets(path: Path) -> LevelSets:
    """Read what `write_level_sets` wrote.

    Raises:
        ValueError: A file that cannot be used, in one line.
    """
    try:
        with np.load(path, allow_pickle=False) as found:
            return LevelSets(
                names=tuple(str(name) for name in found["names"]),
                level=float(found["level"]),
                affine=found["affine"],
                finite=found["finite"],
                landmark=found["landmark"],
                voxels=found["voxels"],
            )
    except Exception as error:  # zip files and arrays are damaged in many ways
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ValueError(f"{path}: cannot be read ({reason}); predict again with --regions, or remove it") from error
