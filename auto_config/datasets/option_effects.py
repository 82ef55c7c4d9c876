"""What an option of reading does for a format: nothing is ignored without a word."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from auto_config.datasets.formats.shared.entries import Reading
from auto_config.datasets.formats.shared.options import ReadOptions
from auto_config.datasets.formats.shared.tables import System
from auto_config.datasets.model.dataset import Problem
from auto_config.datasets.registry import Format

_VOLUMES = "the images are volumes, whose headers say the size of their voxels"


def idle_options(row: Format, reading: Reading, given: Iterable[str], source: Path) -> list[Problem]:
    """A warning for each option that has no effect.

    Args:
        row: The format.
        reading: What was read.
        given: Names of the options that were given.
        source: The data set, named in problems.
    """
    reasons = dict(row.idle)
    # The labels of a datalist may be files; an .fcsv is the one kind whose coordinates have to be said.
    if any(entry.label.lower().endswith(".fcsv") for entry in reading.entries):
        reasons.pop("coordinates", None)
    if reading.spatial_dims == 3:
        reasons["pixel_spacing"] = _VOLUMES
    return [
        Problem("warning", f"{source}: --{name} does nothing for format {row.name!r}: {reasons[name]}; leave it out")
        for name in given
        if name in reasons
    ]


def written_systems(row: Format, reading: Reading, options: ReadOptions) -> frozenset[System]:
    """What the numbers of points may be as the files have them; empty where they have none."""
    if reading.written is not None:
        return reading.written
    in_voxels = options.slicer_system == "IJK" and "coordinates" not in row.idle
    return frozenset({"voxel"} if in_voxels else row.written)
