"""Formats with one file for all pictures: from the pictures that it names and their points in pixels to cases."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from auto_config.datasets.formats.shared.entries import Entry, Reading, absolute
from auto_config.datasets.formats.shared.image_names import named_stem
from auto_config.datasets.formats.shared.named_pictures import NamedPictures
from auto_config.datasets.formats.shared.options import ReadOptions, voxel_to_world
from auto_config.datasets.formats.shared.points import Value, landmark_set, shown
from auto_config.datasets.images import Header, image_stem
from auto_config.datasets.model.dataset import Problem
from auto_config.errors import UserError

Rows = list[tuple[str, Value]]
"""Name and index of a pixel (x, y), the centre of the first one at 0, or the word of a status."""


@dataclass(frozen=True)
class Listed:
    """A picture that a file names.

    Args:
        where: The place in the file, named in messages.
        names: Names that its picture may have, the best first.
        what: The key or line that has the name, named in messages.
        rows: Its points, of the header of the picture; raises UserError.
    """

    where: str
    names: tuple[object, ...]
    what: str
    rows: Callable[[Header], Rows]


def read_listed(source: Path, listed: Iterable[Listed], options: ReadOptions) -> Reading:
    """Find the pictures and read their points; what is wrong with one of them is a problem of its case.

    Args:
        source: The file.
        listed: Its pictures, in order.
        options: How to read.
    """
    pictures = NamedPictures.of(source)
    reading = Reading([], [], spatial_dims=2)
    named: set[Path] = set()
    for one in listed:
        name = one.names[0] if one.names else None
        case = named_stem(name) if isinstance(name, str) else None
        try:
            found = (pictures.find(name, one.where, one.what) for name in one.names or (None,))
            path = next((path for path in found if path is not None), None)
            if path is None:
                message = (
                    f"{one.where}: {shown(name)} not found below {pictures.root}; add it, until then it is left out"
                )
                reading.problems.append(Problem("warning", message, case))
                continue
            case = image_stem(path)
            named.add(path)
            header = options.header([path])
            if len(header.shape) != 2:
                raise UserError(f"{one.where}: has points in pixels, the image {path.name} is a volume; give pictures")
            rows: Rows = [
                (label, value if isinstance(value, str) else voxel_to_world(header, np.array([value]))[0].tolist())
                for label, value in one.rows(header)
            ]
            landmarks = landmark_set(rows, spatial_dims=2, many=options.many, where=one.where)
            reading.entries.append(Entry(case, (path,), landmarks, one.where))
        except UserError as error:
            reading.problems.append(Problem("error", str(error), case))
    if left := [path for path in pictures.files if absolute(path) not in named]:
        listed_names = ", ".join(path.name for path in left[:5]) + (", ..." if len(left) > 5 else "")
        message = (
            f"{source}: does not name {len(left)} of the images below {pictures.root} ({listed_names}); add them, "
        )
        reading.problems.append(Problem("warning", f"{message}until then they are left out"))
    return reading
