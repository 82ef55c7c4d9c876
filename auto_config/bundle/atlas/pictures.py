"""Small pictures of a landmark: its place among the others in the mean shape, and slices of an image through it."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image as PillowImage
from PIL import ImageDraw

from auto_config.datasets.image_slices import Plane, View, grey_window, planes_of
from auto_config.datasets.images import Image

PANEL, SLICE = 150, 130
"""Pixels of a panel of a drawing, and of one of slices."""

_SCALE = 3
"""Drawings are made so many times larger and reduced, which smooths them."""
_COLOURS = 24
_BACK, _OTHER, _THIS, _TEXT, _RULE = (255, 255, 255), (150, 165, 180), (215, 40, 40), (90, 90, 90), (225, 228, 232)
_MARGIN = 0.16
_FEWEST_VOXELS = 24
_SHARE = 0.45
"""A slice is this share of the extent of its image wide: a landmark is found by what lies around it."""


def shape_picture(points: np.ndarray, index: int, *, upright: bool = True) -> bytes:
    """Draw a landmark among the others, in each plane.

    Args:
        points: (L, D) mm of the mean shape, NaN for landmarks that are not drawn.
        index: of the landmark that is shown.
        upright: whether the directions of the body are written at the edges.

    Returns:
        A PNG: three panels side by side in 3D, one in 2D.
    """
    known = np.isfinite(points).all(axis=1)
    low, high = points[known].min(axis=0), points[known].max(axis=0)
    width = float(max((high - low).max(), 1e-3)) / (1 - 2 * _MARGIN)
    planes = planes_of(points.shape[1])
    picture = PillowImage.new("RGB", (PANEL * len(planes), PANEL), _BACK)
    others = [point for at, point in enumerate(points) if known[at] and at != index]
    for column, plane in enumerate(planes):
        view = View(plane, (low + high) / 2, width, PANEL * _SCALE)
        panel = _drawing(view, others, points[index]).resize((PANEL, PANEL), PillowImage.Resampling.LANCZOS)
        _letters(ImageDraw.Draw(panel), plane if upright else Plane("", plane.right, plane.up, ""), PANEL)
        picture.paste(panel, (column * PANEL, 0))
    stream = io.BytesIO()
    picture.quantize(_COLOURS, method=PillowImage.Quantize.MAXCOVERAGE).save(stream, format="PNG", optimize=True)
    return stream.getvalue()


def case_picture(image: Image, point: np.ndarray) -> bytes:
    """Slices of an image through a landmark, in each plane, with a ring at it.

    Args:
        image: the image; its first channel is shown.
        point: (D,) world mm.

    Returns:
        A JPEG: three panels side by side in 3D, one in 2D.
    """
    planes = planes_of(len(point))
    sizes = np.linalg.norm(image.affine[:-1, :-1], axis=0)
    extent = float((sizes * image.array.shape[1:]).max())
    width = max(_SHARE * extent, min(_FEWEST_VOXELS * float(sizes.max()), extent), 1e-3)
    window = grey_window(image.array[0])
    picture = PillowImage.new("RGB", (SLICE * len(planes), SLICE))
    for column, plane in enumerate(planes):
        view = View(plane, point, width, SLICE)
        panel = PillowImage.fromarray(view.slice_of(image, window)).convert("RGB")
        draw = ImageDraw.Draw(panel)
        x, y = view.pixel(point)
        draw.ellipse((x - 6, y - 6, x + 6, y + 6), outline=(255, 90, 60), width=2)
        _letters(draw, plane, SLICE, fill=(235, 235, 235), stroke=(0, 0, 0))
        picture.paste(panel, (column * SLICE, 0))
    stream = io.BytesIO()
    picture.save(stream, format="JPEG", quality=80, optimize=True)
    return stream.getvalue()


def _drawing(view: View, others: list[np.ndarray], this: np.ndarray) -> PillowImage.Image:
    panel = PillowImage.new("RGB", (view.pixels, view.pixels), _BACK)
    draw = ImageDraw.Draw(panel)
    draw.rectangle((0, 0, view.pixels - 1, view.pixels - 1), outline=_RULE, width=_SCALE)
    for point in others:
        _dot(draw, view.pixel(point), 2.4 * _SCALE, _OTHER)
    x, y = view.pixel(this)
    draw.line((x, 0, x, view.pixels), fill=_RULE, width=_SCALE)
    draw.line((0, y, view.pixels, y), fill=_RULE, width=_SCALE)
    _dot(draw, (x, y), 4.6 * _SCALE, _THIS)
    return panel


def _dot(draw: ImageDraw.ImageDraw, at: tuple[float, float], radius: float, colour: tuple[int, int, int]) -> None:
    x, y = at
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)


def _letters(
    draw: ImageDraw.ImageDraw,
    plane: Plane,
    size: int,
    fill: tuple[int, int, int] = _TEXT,
    stroke: tuple[int, int, int] = _BACK,
) -> None:
    """Write the name of the plane and the directions at its edges."""
    middle, edge = size / 2 - 5, size - 14
    places = ((4, middle), (edge, middle), (middle, 2), (middle, edge))
    for text, place in [(plane.name, (4, 2)), *zip(plane.letters, places, strict=False)]:
        draw.text(place, text, fill=fill, stroke_width=1, stroke_fill=stroke)
