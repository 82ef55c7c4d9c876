"""A picture of predicted points: slices through some landmarks, in three planes, true and predicted points on them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import nibabel as nib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from scipy.ndimage import map_coordinates

from auto_config.bundle_scripts.grid.grids import world_to_voxel
from auto_config.bundle_scripts.points.landmarks import LandmarkSet

TRUE_COLOUR, PREDICTED_COLOUR = "#4ade80", "#fb923c"
# Plane, axis that it is normal to, axes to the right and up, in RAS; the patient's left is on the left.
PLANES = (("sagittal", 0, 1, 2), ("coronal", 1, 0, 2), ("axial", 2, 0, 1))
HALF_WIDTH_MM = 98.0
STEP_MM = 0.75
NEAR_MM = 2.0


@dataclass(frozen=True)
class PictureCase:
    """An image with its true and predicted landmarks, both in RAS mm and in the same order."""

    image: Path
    truth: LandmarkSet
    prediction: LandmarkSet


def draw(path: Path, cases: Sequence[tuple[PictureCase, str]], *, title: str) -> None:
    """Draw a column for each case and landmark, a row for each plane, and save the picture.

    Args:
        path: Where to write the PNG.
        cases: A case and the name of the landmark to cut it at, for each column.
        title: Line above the picture.
    """
    with plt.style.context("dark_background"):
        figure, axes = plt.subplots(
            len(PLANES), len(cases), figsize=(2.6 * len(cases), 2.6 * len(PLANES) + 0.6), squeeze=False
        )
        for column, (case, landmark) in enumerate(cases):
            index = case.truth.names.index(landmark)
            error = np.linalg.norm(case.prediction.points[index] - case.truth.points[index])
            axes[0, column].set_title(f"{landmark}: {error:.1f} mm off", fontsize=9)
            image = nib.load(case.image)
            for row, plane in enumerate(PLANES):
                _draw_slice(axes[row, column], image, case, index, plane)
                if column == 0:
                    axes[row, column].set_ylabel(plane[0], fontsize=8)
        figure.suptitle(title, fontsize=10)
        handles = [
            Line2D([], [], color=TRUE_COLOUR, marker="+", linestyle="", markersize=9, label="true"),
            Line2D([], [], color=PREDICTED_COLOUR, marker="o", fillstyle="none", linestyle="", label="predicted"),
        ]
        figure.legend(handles=handles, loc="lower center", ncols=2, frameon=False, fontsize=9)
        figure.tight_layout(rect=(0, 0.03, 1, 1))
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=100)
        plt.close(figure)


def _draw_slice(
    axes: Axes, image: nib.Nifti1Image, case: PictureCase, index: int, plane: tuple[str, int, int, int]
) -> None:
    """Cut the image through true landmark `index`, and mark the points that lie in or close to the slice."""
    _, normal, right, up = plane
    at = case.truth.points[index]
    middle = np.nanmean(case.truth.points, axis=0)
    steps = np.arange(-HALF_WIDTH_MM, HALF_WIDTH_MM + STEP_MM, STEP_MM)
    world = np.empty((steps.size, steps.size, 3))
    world[..., normal] = at[normal]
    world[..., right] = middle[right] + steps[None, :]
    world[..., up] = middle[up] + steps[:, None]
    voxels = world_to_voxel(image.affine, world)
    values = map_coordinates(np.asarray(image.dataobj, dtype=np.float32), np.moveaxis(voxels, -1, 0), order=1)
    extent = (world[0, 0, right], world[0, -1, right], world[0, 0, up], world[-1, 0, up])
    axes.imshow(values, cmap="gray", origin="lower", extent=extent, vmax=np.percentile(values, 99.7))
    near = np.abs(case.truth.points[:, normal] - at[normal]) <= NEAR_MM
    for points, colour, marker, size in (
        (case.truth.points, TRUE_COLOUR, "+", 5),
        (case.prediction.points, PREDICTED_COLOUR, "o", 4),
    ):
        look: dict[str, Any] = {"color": colour, "marker": marker, "linestyle": "", "fillstyle": "none"}
        axes.plot(points[near, right], points[near, up], markersize=size, alpha=0.7, **look)
        axes.plot(points[index, right], points[index, up], markersize=2 * size + 2, markeredgewidth=1.5, **look)
    axes.set_xlim(extent[:2])
    axes.set_ylim(extent[2:])
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
