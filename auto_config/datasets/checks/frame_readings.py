"""Other ways to read the points of a case, and what an image shows at the places they name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np

from auto_config.bundle_scripts.grid.grids import apply_affine, world_to_voxel
from auto_config.datasets.images import Header, Image

Kind = Literal["given", "sign", "unit", "swap", "index", "origin", "spacing", "qform", "header", "case"]

_SAMPLE = 20_000
_QUANTILES = 64
_BORDER = 0.51  # the outer border of the outermost voxel, and rounding in files
_UNITS = {
    1e-3: "in micrometres; save them in mm",
    1e-2: "100 times too large; save them in mm",
    1e-1: "10 times too large; save them in mm",
    1e1: "in cm; save them in mm",
    1e2: "100 times too small; save them in mm",
    1e3: "in metres; save them in mm",
}


@dataclass(frozen=True)
class Reading:
    """One way to read the points of a case.

    Args:
        key: Unique among the readings of a case, equal for the same reading in other cases.
        kind: What is supposed to be wrong.
        points: (L, D) where the points then lie in the world of the image's header; NaN where not present.
        claim: What is wrong, and what to do, after "they are".
        lengths: (L, D) the points with their distances in mm, where a wrong header changes those of `points`.
    """

    key: str
    kind: Kind
    points: np.ndarray
    claim: str
    lengths: np.ndarray | None = None

    @property
    def shape(self) -> np.ndarray:
        """(L, D) points whose distances are compared with those of other cases."""
        return self.points if self.lengths is None else self.lengths


@dataclass(frozen=True)
class Seen:
    """What an image shows under one reading.

    Args:
        reading: The reading.
        inside: How many points lie inside.
        greys: (L,) rank of the grey values around each point among those of the image, 0 to 1; NaN where there is no
            point or it lies outside; None where the voxels were not read.
    """

    reading: Reading
    inside: int
    greys: np.ndarray | None


def readings(points: np.ndarray, header: Header) -> list[Reading]:
    """The points as given, and every other way to read them that the header alone allows.

    Args:
        points: (L, D) world mm, NaN where not present.
        header: Of the image.
    """
    given = Reading("given", "given", points, "")
    if len(header.shape) == 2:
        return [given, *_picture_readings(points, np.array(header.spacing))]
    matrix, origin = header.affine[:-1, :-1], header.affine[:-1, -1]
    flipped = points * [-1.0, -1.0, 1.0]
    other_system = (
        "in the other coordinate system: x and y have the wrong sign; correct LPS or RAS in the landmark file, or give "
        "--coordinates where the format leaves it open"
    )
    found = [
        given,
        Reading("lps", "sign", flipped, other_system),
        Reading("x", "sign", points * [-1.0, 1.0, 1.0], "mirrored: x has the wrong sign; correct it"),
        Reading("y", "sign", points * [1.0, -1.0, 1.0], "mirrored: y has the wrong sign; correct it"),
    ]
    for one, two in combinations(range(3), 2):
        order = [0, 1, 2]
        order[one], order[two] = two, one
        axes = f"{'xyz'[one]} and {'xyz'[two]}"
        found.append(Reading(f"swap{one}{two}", "swap", points[:, order], f"given with {axes} exchanged; correct them"))
    for factor, text in _UNITS.items():
        found.append(Reading(f"unit{factor:g}", "unit", points * factor, text))
        claim = f"in the other coordinate system and {text}, and correct LPS or RAS"
        found.append(Reading(f"unit{factor:g}lps", "unit", flipped * factor, claim))
    index = "voxel indices; give --coordinates voxel where the format leaves it open, or save them in mm"
    for key, numbers in (("", points), ("lps", flipped)):
        found.append(Reading(f"index{key}", "index", apply_affine(header.affine, numbers), index))
    if np.abs(origin).max() > 0:
        found.append(
            Reading("origin", "origin", points + origin, "mm from the first voxel, the origin was ignored; add it")
        )
    spacing = np.array(header.spacing)
    if np.abs(np.log(spacing)).max() > 0.05:
        voxels = apply_affine(np.linalg.inv(_affine(matrix / spacing, origin)), points)
        claim = "placed as if voxels were 1 mm wide, the spacing was ignored; save them in mm"
        found.append(Reading("spacing", "spacing", apply_affine(header.affine, voxels), claim))
    if header.second_affine is not None and abs(np.linalg.det(header.second_affine)) > 0:
        voxels = apply_affine(np.linalg.inv(header.second_affine), points)
        claim = "placed by the header's qform: sform and qform differ, make both equal to the qform"
        found.append(Reading("qform", "qform", apply_affine(header.affine, voxels), claim))
    return found


def header_readings(points: np.ndarray, header: Header, fellow: Header) -> list[Reading]:
    """The points, if the image had the place of a fellow case: its whole affine, or its origin alone."""
    matrix = header.affine[:-1, :-1]
    found = []
    for key, affine in (
        ("header", fellow.affine),
        ("header origin", _affine(matrix, fellow.affine[:-1, -1])),
    ):
        voxels = apply_affine(np.linalg.inv(affine), points)
        found.append(Reading(key, "header", apply_affine(header.affine, voxels), "", lengths=points))
    return found


def _affine(matrix: np.ndarray, origin: np.ndarray) -> np.ndarray:
    affine = np.eye(len(origin) + 1)
    affine[:-1, :-1], affine[:-1, -1] = matrix, origin
    return affine


def _picture_readings(points: np.ndarray, spacing: np.ndarray) -> list[Reading]:
    found = [
        Reading("swap", "swap", points[:, ::-1], "given with x and y exchanged: x is the column and runs to the right")
    ]
    if np.abs(np.log(spacing)).max() > 0:
        found += [
            Reading("index", "index", points * spacing, "pixels; give --coordinates pixel, or save them in mm"),
            Reading("spacing", "spacing", points / spacing, "in mm already and were multiplied by the pixel size"),
        ]
    return found


def see(reading: Reading, image: Image | Header, values: np.ndarray | None) -> Seen:
    """Look where the points of a reading lie.

    Args:
        reading: The reading.
        image: The image, or its header alone.
        values: `sorted_values` of the image; None for its header alone.
    """
    header = image.header if isinstance(image, Image) else image
    voxels = world_to_voxel(header.affine, reading.points)
    with np.errstate(invalid="ignore"):
        between = (voxels >= -_BORDER) & (voxels <= np.array(header.shape) - 1 + _BORDER)
    is_inside: np.ndarray = np.all(between, axis=1)
    greys = None
    if isinstance(image, Image) and values is not None:
        greys = grey_ranks(image.array[0], np.where(is_inside[:, None], voxels, np.nan), values)
    return Seen(reading, int(is_inside.sum()), greys)


def sorted_values(array: np.ndarray) -> np.ndarray:
    """(n,) sorted grey values of an evenly spaced part of the voxels of one channel."""
    flat = array.reshape(-1)
    return np.sort(flat[:: max(1, flat.size // _SAMPLE)])


def rank_quantiles(values: np.ndarray) -> np.ndarray:
    """(64,) ranks of the voxels themselves, as `grey_ranks` ranks them."""
    picked = values[np.linspace(0, len(values) - 1, _QUANTILES).astype(int)]
    return _ranks(picked, values)


def grey_ranks(array: np.ndarray, voxels: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The mean rank (L,) of the 3 x 3 (x 3) voxels around each place; ranks do not depend on the scale of grey values.

    Args:
        array: Voxels of one channel.
        voxels: (L, D) places, NaN for none.
        values: `sorted_values` of the array.
    """
    found = np.full(len(voxels), np.nan)
    for index in np.flatnonzero(np.isfinite(voxels).all(axis=1)):
        middle = np.clip(np.rint(voxels[index]).astype(int), 0, np.array(array.shape) - 1)
        window = array[tuple(slice(max(0, at - 1), at + 2) for at in middle)]
        found[index] = _ranks(window.reshape(-1), values).mean()
    return found


def _ranks(wanted: np.ndarray, values: np.ndarray) -> np.ndarray:
    below, upto = np.searchsorted(values, wanted, "left"), np.searchsorted(values, wanted, "right")
    ranks: np.ndarray = (below + upto) / (2.0 * len(values))
    return ranks


def distinct_fellow(header: Header, fellows: Sequence[Header]) -> Header | None:
    """The fellow whose grid is most like that of an image: of its size if there is one, else the nearest in size."""
    usable = [one for one in fellows if len(one.shape) == len(header.shape)]
    if not usable:
        return None
    return min(usable, key=lambda one: float(np.abs(np.log(np.array(one.shape) / np.array(header.shape))).sum()))
