"""Pictures of a true and a predicted point: slices through each, sampled in the planes of the body."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image as PillowImage
from PIL import ImageDraw

from auto_config.datasets.image_slices import View, grey_window, planes_of
from auto_config.datasets.images import Image

PANEL_PIXELS = 240
TRUE_COLOUR, PREDICTED_COLOUR = (60, 220, 90), (255, 80, 60)
LINE_COLOUR, TEXT_COLOUR = (255, 210, 0), (235, 235, 235)
MIN_VOXELS = 48
"""A panel is at least so many voxels wide, so that anatomy can be recognised around the points."""


def error_picture(image: Image, truth: np.ndarray, predicted: np.ndarray, radius: float = np.nan) -> bytes:
    """Draw slices through the true point (upper row) and through the predicted one (lower row).

    In each slice the true point is a green ring and the predicted one a red cross; a point that lies outside of the
    plane is drawn where it falls on it.

    Args:
        image: the image; its first channel is shown.
        truth: (D,) world mm.
        predicted: (D,) world mm.
        radius: mm of the region around the predicted point, NaN where there is none; drawn as a dashed circle where
            its plane cuts the ball.

    Returns:
        A JPEG: three panels in each row in 3D, one in 2D.
    """
    planes = planes_of(len(truth))
    window = grey_window(image.array[0])
    voxel = float(np.linalg.norm(image.affine[:-1, :-1], axis=0).min())
    width_mm = max(MIN_VOXELS * voxel, 2.6 * float(np.linalg.norm(predicted - truth)))
    if np.isfinite(radius):
        width_mm = max(width_mm, min(2.2 * radius, 4 * width_mm))
    centers = (truth, predicted) if len(truth) == 3 else ((truth + predicted) / 2,)
    picture = PillowImage.new("RGB", (PANEL_PIXELS * len(planes), PANEL_PIXELS * len(centers)))
    for row, center in enumerate(centers):
        for column, plane in enumerate(planes):
            view = View(plane, center, width_mm, PANEL_PIXELS)
            panel = _panel(image, view, window)
            _mark_region(panel, view, predicted, radius)
            _mark(panel, view, truth, predicted)
            picture.paste(panel, (column * PANEL_PIXELS, row * PANEL_PIXELS))
    stream = io.BytesIO()
    picture.save(stream, format="JPEG", quality=88)
    return stream.getvalue()


def _panel(image: Image, view: View, window: tuple[float, float]) -> PillowImage.Image:
    """What a view shows of an image; black outside of it."""
    return PillowImage.fromarray(view.slice_of(image, window)).convert("RGB")


def _mark_region(panel: PillowImage.Image, view: View, predicted: np.ndarray, radius: float) -> None:
    """Draw the circle in which a view's plane cuts the ball around the predicted point. Changes ``panel``."""
    right, up = np.array(view.plane.right), np.array(view.plane.up)
    shift = predicted - view.center
    off_plane = shift - (shift @ right) * right - (shift @ up) * up
    squared = radius**2 - float(off_plane @ off_plane)
    if not squared > 0:
        return
    x, y = view.pixel(predicted)
    size = squared**0.5 * PANEL_PIXELS / view.width_mm
    draw = ImageDraw.Draw(panel)
    for start in range(0, 360, 20):
        draw.arc((x - size, y - size, x + size, y + size), start, start + 10, fill=PREDICTED_COLOUR, width=1)


def _mark(panel: PillowImage.Image, view: View, truth: np.ndarray, predicted: np.ndarray) -> None:
    """Draw the points, the line between them and the letters of the directions. Changes ``panel``."""
    draw = ImageDraw.Draw(panel)
    (tx, ty), (px, py) = view.pixel(truth), view.pixel(predicted)
    draw.line((tx, ty, px, py), fill=LINE_COLOUR, width=1)
    draw.ellipse((tx - 5, ty - 5, tx + 5, ty + 5), outline=TRUE_COLOUR, width=2)
    draw.line((px - 5, py - 5, px + 5, py + 5), fill=PREDICTED_COLOUR, width=2)
    draw.line((px - 5, py + 5, px + 5, py - 5), fill=PREDICTED_COLOUR, width=2)
    middle, edge = PANEL_PIXELS / 2 - 5, PANEL_PIXELS - 14
    places = ((4, middle), (edge, middle), (middle, 4), (middle, edge))
    texts = [(view.plane.name, (4, 4)), *zip(view.plane.letters, places, strict=False)]
    for text, place in texts:
        draw.text(place, text, fill=TEXT_COLOUR, stroke_width=1, stroke_fill=(0, 0, 0))  # readable on bone too
