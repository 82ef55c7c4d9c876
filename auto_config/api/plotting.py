"""Pictures of predictions with matplotlib: slices through points, errors of each landmark, sizes of regions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from auto_config.bundle_scripts.images.header import Image
from auto_config.datasets.image_slices import View, grey_window, planes_of
from auto_config.errors import UserError
from auto_config.evaluation.comparison import Comparison
from auto_config.wording import install_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TRUE_COLOUR, PREDICTED_COLOUR, BASELINE_COLOUR = "#16a34a", "#ea580c", "#64748b"
_PIXELS = 200
_PANEL_INCHES = 2.4
_SMALLEST_WIDTH_VOXELS = 48
_ROW_INCHES = 0.22


def slices_figure(
    image: Image,
    names: Sequence[str],
    predicted: np.ndarray,
    *,
    truth: np.ndarray | None = None,
    radius: np.ndarray | None = None,
    present: np.ndarray | None = None,
    unit: str = "mm",
    width: float | None = None,
) -> Figure:
    """Slices of an image through predicted landmarks: a row for each, a column for each plane.

    The predicted point is an orange cross in the middle, its region a dashed circle, the true point a green ring; one
    that lies outside of the plane is drawn where it falls on it.

    Args:
        image: the image; its first channel is shown.
        names: (L,) of the landmarks that are shown.
        predicted: (L, D) world mm.
        truth: (L, D) world mm, NaN where not present; None where nobody knows.
        radius: (L,) mm of the regions, NaN where there is none.
        present: (L,) whether each landmark is called present.
        unit: of lengths.
        width: mm that each slice shows; if not given, enough to know the place, the region and the true point.

    Raises:
        UserError: There is no landmark, the width is not above 0, or matplotlib is not installed.
    """
    if not len(names):
        raise UserError("no landmark to show; name one that the prediction has")
    if width is not None and not (np.isfinite(width) and width > 0):
        raise UserError(f"the width is {width:g}, it must be above 0; leave it out for one that shows the place")
    count, dims = predicted.shape
    planes = planes_of(dims)
    figure = _figure(_PANEL_INCHES * len(planes) + 0.4, (_PANEL_INCHES + 0.3) * count)
    axes = figure.subplots(count, len(planes), squeeze=False)
    window = grey_window(image.array[0])
    voxel = float(np.linalg.norm(image.affine[:-1, :-1], axis=0).min())
    for row, name in enumerate(names):
        true = None if truth is None or not np.isfinite(truth[row]).all() else truth[row]
        size = np.nan if radius is None else float(radius[row])
        error = np.nan if true is None else float(np.linalg.norm(true - predicted[row]))
        shown = width or float(np.nanmax([_SMALLEST_WIDTH_VOXELS * voxel, 2.6 * error, 2.6 * size]))
        for column, plane in enumerate(planes):
            view = View(plane, predicted[row], shown, _PIXELS)
            panel = axes[row, column]
            panel.imshow(view.slice_of(image, window), cmap="gray", vmin=0, vmax=255)
            _mark(panel, view, predicted[row], true, size)
            panel.set_title(plane.name, fontsize=8, color="0.4", pad=2)
        words = [name]
        words += [f"{error:.1f} {unit} off"] if true is not None else []
        words += [f"region of {size:.1f} {unit}"] if np.isfinite(size) else []
        words += ["called absent"] if present is not None and not present[row] else []
        axes[row, 0].set_ylabel("\n".join(words), fontsize=8)
    return figure


def errors_figure(comparison: Comparison) -> Figure:
    """Errors of each landmark, a dot for each case and a line at the median, those with the largest median on top.

    The grey line of a landmark is the median error of the mean shape, which looks at no image: a landmark that is not
    left of it was not learnt.

    Args:
        comparison: of predictions with truth.

    Raises:
        UserError: No landmark has a true point, or matplotlib is not installed.
    """
    errors, unit = comparison.errors, comparison.unit
    shown = np.flatnonzero(np.isfinite(errors).any(axis=0))
    if not len(shown):
        raise UserError("no landmark has both a predicted and a true point; there is no error to show")
    medians = np.array([np.nanmedian(errors[:, index]) for index in shown])
    order = shown[np.argsort(medians)]
    figure = _figure(7.0, 1.1 + _ROW_INCHES * len(order))
    axes = figure.subplots()
    for row, index in enumerate(order):
        known = errors[np.isfinite(errors[:, index]), index]
        axes.plot(known, np.full(len(known), row), "o", color=PREDICTED_COLOUR, alpha=0.5, markersize=4)
        axes.plot([np.median(known)] * 2, [row - 0.35, row + 0.35], color=PREDICTED_COLOUR, linewidth=2)
        base = comparison.baseline_errors[:, index]
        if np.isfinite(base).any():
            axes.plot([np.nanmedian(base)] * 2, [row - 0.35, row + 0.35], color=BASELINE_COLOUR, linewidth=2)
    axes.plot([], [], "o", color=PREDICTED_COLOUR, label="a case; line: median")
    axes.plot([], [], color=BASELINE_COLOUR, linewidth=2, label="mean shape, median")
    axes.set_yticks(range(len(order)), [comparison.names[index] for index in order], fontsize=8)
    axes.set_ylim(-0.7, len(order) - 0.3)
    axes.set_xlim(left=0)
    axes.set_xlabel(f"error [{unit}]")
    axes.grid(axis="x", alpha=0.3)
    axes.legend(loc="lower right", fontsize=8)
    return figure


def regions_figure(comparison: Comparison) -> Figure:
    """The error of each point against the radius of its region: points below the line lie in their region.

    Args:
        comparison: of predictions with truth.

    Raises:
        UserError: No point has a region, because the bundle is not calibrated, or matplotlib is not installed.
    """
    errors = comparison.errors
    radius = comparison.radius if comparison.radius.shape == errors.shape else np.full(errors.shape, np.nan)
    both = np.isfinite(errors) & np.isfinite(radius)
    if not both.any():
        raise UserError("no point has a region; calibrate the bundle first: auto_config calibrate BUNDLE")
    inside = errors[both] <= radius[both]
    level = (comparison.calibration or {}).get("level")
    figure = _figure(5.0, 4.6)
    axes = figure.subplots()
    for chosen, colour, words in ((inside, TRUE_COLOUR, "in its region"), (~inside, PREDICTED_COLOUR, "outside")):
        axes.plot(radius[both][chosen], errors[both][chosen], "o", color=colour, alpha=0.5, markersize=4, label=words)
    largest = float(max(errors[both].max(), radius[both].max())) * 1.05
    axes.plot([0, largest], [0, largest], color="0.3", linewidth=1)
    axes.set_xlim(0, largest)
    axes.set_ylim(0, largest)
    axes.set_xlabel(f"radius of the region [{comparison.unit}]")
    axes.set_ylabel(f"error [{comparison.unit}]")
    promised = "" if level is None else f", {100 * float(level):.0f} % promised"
    axes.set_title(f"{100 * inside.mean():.0f} % of {inside.size} points lie in their region{promised}", fontsize=9)
    axes.legend(loc="upper left", fontsize=8)
    return figure


def _figure(width: float, height: float) -> Figure:
    """A figure that belongs to nobody: it is shown by a notebook that it is returned to, and saved by its `savefig`."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UserError(f"pictures need matplotlib; {install_line('matplotlib')}") from error
    return Figure(figsize=(width, height), dpi=80, layout="constrained")


def _mark(axes: Axes, view: View, predicted: np.ndarray, true: np.ndarray | None, radius: float) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    across, down = view.pixel(predicted)
    axes.plot(across, down, "x", color=PREDICTED_COLOUR, markersize=9, markeredgewidth=2)
    if true is not None:
        axes.plot(*view.pixel(true), "o", color=TRUE_COLOUR, markersize=10, markeredgewidth=2, fillstyle="none")
    if np.isfinite(radius):
        from matplotlib.patches import Circle

        size = radius * view.pixels / view.width_mm
        ring: Any = Circle((across, down), size, fill=False, linestyle="--", color=PREDICTED_COLOUR)
        axes.add_patch(ring)
    middle, edge = view.pixels / 2, view.pixels - 1
    places = ((3, middle), (edge - 3, middle), (middle, 8), (middle, edge - 8))
    for letter, (x, y) in zip(view.plane.letters, places, strict=False):
        axes.text(x, y, letter, color="white", fontsize=7, ha="center", va="center")
    axes.set_xlim(-0.5, edge + 0.5)
    axes.set_ylim(edge + 0.5, -0.5)
