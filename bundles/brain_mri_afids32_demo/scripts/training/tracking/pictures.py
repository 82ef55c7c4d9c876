"""A picture of a prediction: slices through true and predicted points of the landmarks that are farthest off."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

TRUE, PREDICTED = (0, 200, 80), (255, 80, 60)
"""Colours of the crosses."""
TILE = 160
"""Edge of a slice in pixels of the picture."""
ROWS = 4
"""Landmarks of a picture."""
_CROSS, _FRAME = 6, 16


def prediction_picture(
    image: np.ndarray, affine: np.ndarray, true: np.ndarray, predicted: np.ndarray, names: tuple[str, ...]
) -> np.ndarray | None:
    """Rows of two slices, through the true and through the predicted point, with a cross for each.

    Crosses are whole where the point lies in the slice and thin where it lies in another one.

    Args:
        image: ``(*spatial)`` grey values, on the planned grid (right, anterior, superior; or x, y of a picture).
        affine: ``(D+1, D+1)`` voxel to world mm.
        true: ``(L, D)`` world mm, NaN where not present.
        predicted: ``(L, D)`` world mm.
        names: of the landmarks.

    Returns:
        ``(height, width, 3)`` uint8; None where no landmark has both points.
    """
    error = np.linalg.norm(true - predicted, axis=1)
    known = np.flatnonzero(np.isfinite(error))
    if not len(known):
        return None
    worst = known[np.argsort(-error[known], kind="stable")][:ROWS]
    inverse = np.linalg.inv(affine)
    low, high = np.percentile(image, (0.5, 99.5))
    grey = np.clip((image - low) / max(float(high - low), 1e-6), 0, 1)
    rows = []
    for index in worst:
        points = [point @ inverse[:-1, :-1].T + inverse[:-1, -1] for point in (true[index], predicted[index])]
        tiles = [_slice(grey, place, points) for place in points]
        rows.append(_titled(tiles, f"{names[index]}  {error[index]:.1f}"))
    return np.concatenate(rows)


def _slice(grey: np.ndarray, place: np.ndarray, points: list[np.ndarray]) -> Image.Image:
    """The slice of the first two axes through a place, the second axis upwards in 3D; what lies outside is black."""
    volume = grey.ndim == 3
    if volume:
        level = int(np.clip(np.rint(place[2]), 0, grey.shape[2] - 1))
        flat = grey[:, :, level].T[::-1]
    else:
        flat = grey.T
    tile = Image.fromarray((flat * 255).astype(np.uint8)).convert("RGB")
    factor = TILE / max(tile.size)
    tile = tile.resize((max(1, round(tile.width * factor)), max(1, round(tile.height * factor))))
    draw = ImageDraw.Draw(tile)
    for point, colour in zip(points, (TRUE, PREDICTED), strict=True):
        x = (point[0] + 0.5) * factor
        y = (grey.shape[1] - 0.5 - point[1] if volume else point[1] + 0.5) * factor
        width = 2 if not volume or abs(point[2] - place[2]) <= 1 else 1
        draw.line((x - _CROSS, y, x + _CROSS, y), fill=colour, width=width)
        draw.line((x, y - _CROSS, x, y + _CROSS), fill=colour, width=width)
    framed = Image.new("RGB", (TILE, TILE))
    framed.paste(tile, ((TILE - tile.width) // 2, (TILE - tile.height) // 2))
    return framed


def _titled(tiles: list[Image.Image], title: str) -> np.ndarray:
    row = Image.new("RGB", (TILE * len(tiles), TILE + _FRAME))
    # The built-in font has Latin letters only.
    ImageDraw.Draw(row).text((2, 1), title.encode("latin-1", "replace").decode("latin-1"), fill=(255, 255, 255))
    for number, tile in enumerate(tiles):
        row.paste(tile, (TILE * number, _FRAME))
    return np.asarray(row)
