"""Label maps as clients send them (Slicer, OHIF, scripts): which voxels belong to which landmark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from auto_config.bundle_scripts.points.landmarks import PRESENT, LandmarkSet

from ..core.errors import ClientError
from ..core.names import NONE_MANY, KnownNames, Many, listed
from ..core.served import Served
from ..geometry.balls import Grid, LabelledVoxels, untouched
from ..geometry.instance_balls import instance_points
from .reading_process import READING

LABEL_MAP_ENDINGS = (".seg.nrrd", ".nrrd", ".nii.gz", ".nii", ".mha", ".bin")
"""Endings of label maps; ``.bin`` is the bare uint8 voxels on the image's grid, first axis fastest."""

_BACKGROUND = "background"


def read_label_map(
    path: Path,
    where: str,
    *,
    grid: Grid,
    known: KnownNames,
    info: Mapping[str, Any],
    records: Sequence[Served],
) -> tuple[LabelledVoxels, list[str]]:
    """Read a label map and find the landmark of each value.

    The names of the values come from, in this order: the segments in a ``.seg.nrrd``; the list ``label_info`` of the
    client (`value_names`); ``params.label_names`` of a label that the server itself saved; and, where no client says
    anything (OHIF), the order of a bundle: that of ``model``, that which was served last, or the only one.

    Args:
        path: The file; its ending is one of `LABEL_MAP_ENDINGS`.
        where: What to call the label in errors.
        grid: Grid of the image.
        known: Names of the bundles.
        info: What the client sent with the label (``label_info``, ``model``, ``params``).
        records: What was served for this image, newest first.

    Returns:
        The voxels of each landmark that has any, and notes on what was ignored or is odd.

    Raises:
        ClientError: The file cannot be read, has values that are no labels or have no name, names that no bundle has,
            or no labelled voxel at all.
    """
    try:
        layers = READING.read_layers(path, grid)
    except ClientError as error:
        raise ClientError(f"{where}: {error}", error.status) from error
    own, segments = layers.grid, layers.names
    present = list(layers.voxels)
    if not present:
        raise ClientError(
            f"{where}: the label map is empty; label the landmarks, or send a point list in which those that are not "
            "in the image are marked as missing"
        )
    if segments:
        named = {key: segments.get(key) for key in present}
    else:
        by_value = value_names({value for _, value in present}, info, known, records, where)
        named = {(layer, value): by_value.get(value) for layer, value in present}
    if nameless := sorted({value for (_, value), name in named.items() if name is None}):
        raise ClientError(
            f"{where}: the label map has the value{'s' if len(nameless) > 1 else ''} {', '.join(map(str, nameless))} "
            "without a name; name each value in label_info, or remove these voxels"
        )
    texts = {key: str(name) for key, name in named.items() if str(name).lower() != _BACKGROUND}
    notes = ["voxels of 'background' were ignored"] if len(texts) < len(named) else []
    found = {text: known.find(text) for text in texts.values()}
    if unknown := [text for text, name in found.items() if name is None]:
        raise known.refuse(unknown, where)
    voxels: dict[str, np.ndarray] = {}
    for (layer, value), text in texts.items():
        name = str(found[text])
        if name in voxels:
            raise ClientError(f"{where}: two labels are landmark {name!r}; rename or remove one of them")
        voxels[name] = layers.voxels[layer, value]
    if not voxels:
        raise ClientError(f"{where}: the label map has background only; label the landmarks")
    if own.shape == grid.shape and not np.allclose(own.affine, grid.affine, atol=1e-3):
        notes.append(
            "the label map has as many voxels as the image but lies elsewhere; its own position in the world was used"
        )
    return LabelledVoxels(own, voxels), notes


def landmarks_of(
    label: LabelledVoxels, grid: Grid, records: Sequence[Served], where: str, many: Many = NONE_MANY
) -> LandmarkSet:
    """The point of each landmark: the served one where its ball is untouched, else the centre of mass of its voxels.

    Args:
        label: The labelled voxels.
        grid: Grid of the image.
        records: What was served for this image, newest first.
        where: What to call the label in errors.
        many: Landmarks of which an image may have any number, with the mm that two of them are never nearer than.

    Returns:
        World mm, all present.

    Raises:
        ClientError: The label map lies wholly outside the image, or a landmark that is not in `many` consists of
            several pieces.
    """
    if not any((grid.nearest(label.grid.world(flat)) >= 0).any() for flat in label.voxels.values()):
        raise ClientError(
            f"{where}: no labelled voxel lies inside the image; the label map is of another image, or its header has "
            "lost its position (origin, spacing, direction)"
        )
    kept = untouched(label, grid, records, many)
    found: dict[str, np.ndarray] = {}
    for name in label.voxels:
        if name in many:
            found[name] = instance_points(label, name, grid, records, many[name])
        elif name in kept:
            found[name] = kept[name][None]
        else:
            pieces = label.pieces(name)
            if len(pieces) > 1:
                places = " and ".join(shown_point(piece) for piece in pieces[:2])
                more = f" (of {len(pieces)} pieces)" if len(pieces) > 2 else ""
                raise ClientError(
                    f"{where}: landmark {name!r} is at two places, {places}{more}; erase all but one of them"
                )
            found[name] = label.center(name)[None]
    names = [name for name, points in found.items() for _ in points]
    return LandmarkSet.from_rows(names, np.concatenate(list(found.values())), [PRESENT] * len(names), many)


def value_names(
    values: set[int], info: Mapping[str, Any], known: KnownNames, records: Sequence[Served], where: str
) -> dict[int, str]:
    """The name of each value of a label map.

    In ``label_info``, ``[{"name": ..., "idx": ...}, ...]``, it is the position that counts, from 1: Slicer numbers the
    segments in the order in which it saves them, and its ``idx`` also counts those that it does not save. Where a value
    lies beyond the list, this cannot be meant, and ``idx`` counts if it names every value.

    Args:
        values: Values above 0 that occur.
        info: What the client sent with the label.
        known: Names of the bundles.
        records: What was served for this image, newest first.
        where: What to call the label in errors.

    Returns:
        Value to name; a value that has none is left out.

    Raises:
        ClientError: ``label_info`` is something else, or nothing tells which bundle's order the values have.
    """
    entries = info.get("label_info")
    if entries:
        if not isinstance(entries, list) or not all(
            isinstance(entry, Mapping) and isinstance(entry.get("name"), str) for entry in entries
        ):
            raise ClientError(f'{where}: label_info must be a list like [{{"name": "AC", "idx": 1}}]')
        by_position = {position: entry["name"] for position, entry in enumerate(entries, start=1)}
        by_index = {entry["idx"]: entry["name"] for entry in entries if isinstance(entry.get("idx"), int)}
        return by_index if not values <= by_position.keys() and values <= by_index.keys() else by_position
    params = info.get("params")
    numbered = params.get("label_names") if isinstance(params, Mapping) else None
    if isinstance(numbered, Mapping) and all(isinstance(value, int) for value in numbered.values()):
        return {value: str(name) for name, value in numbered.items()}
    names = known.bundle_names(info.get("model"))
    if names is None and records:
        names = records[0].landmarks.names
    if names is None and len(known.bundles) == 1:
        names = next(iter(known.bundles.values()))
    if names is None:
        raise ClientError(
            f"{where}: nothing says which landmark each value is; send label_info, or the model: "
            f"{listed(tuple(known.bundles))}"
        )
    return dict(enumerate(names, start=1))


def shown_point(point: np.ndarray) -> str:
    """A point (D,) in world mm for a message: ``(1.0, 2.0, 3.0) mm RAS``."""
    numbers = ", ".join(f"{value:.1f}" for value in point)
    return f"({numbers}) mm{' RAS' if len(point) == 3 else ''}"
