"""A data set from any format that is read into any that is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from auto_config.choices import Coordinates, ImageMode, Missing, NameField
from auto_config.datasets.model.dataset import Dataset, Problem
from auto_config.datasets.reading import read_dataset
from auto_config.datasets.writing import check_target, write_dataset
from auto_config.errors import UserError


@dataclass(frozen=True)
class Conversion:
    """What was converted.

    Args:
        dataset: As it was read; all its cases are written.
        problems: What was found wrong in the source; a case that cannot be read is named there.
        losses: What the written format cannot hold, a sentence each.
    """

    dataset: Dataset
    problems: tuple[Problem, ...]
    losses: tuple[str, ...]


def convert_dataset(
    source: str | Path,
    target: str | Path,
    *,
    to: str,
    format: str | None = None,
    images: ImageMode | None = None,
    missing: Missing = "unknown",
    landmarks: Sequence[str] | None = None,
    coordinates: Coordinates | None = None,
    names: NameField | None = None,
    pixel_spacing: float | Sequence[float] | None = None,
    missing_value: str | None = None,
    overwrite: bool = False,
) -> Conversion:
    """Read a data set and write it in another format, whole or not at all.

    Args:
        source: The data set.
        target: Folder to write.
        to: One of `datasets.formats.WRITERS`.
        format: Format of the source, one of `FORMATS`; detected if None.
        images: ``"refer"`` names the images by their paths, ``"link"`` and ``"copy"`` put them into `target`; what is
            usual for the format if None: a table or a list refers, a folder is given links.
        missing: Status of a name that one case's file lacks.
        landmarks: Names to keep, in this order; all if None.
        coordinates: As for `read_dataset`.
        names: As for `read_dataset`.
        pixel_spacing: As for `read_dataset`.
        missing_value: As for `read_dataset`.
        overwrite: Replace `target` if it is there.

    Returns:
        What was read, what is wrong in it, and what was lost.

    Raises:
        UserError: The source cannot be read, the format cannot hold it, or the target is there.
    """
    path = check_target(source, target, to, images, overwrite=overwrite)
    dataset, problems = read_dataset(
        source,
        format=format,
        missing=missing,
        landmarks=landmarks,
        coordinates=coordinates,
        names=names,
        pixel_spacing=pixel_spacing,
        missing_value=missing_value,
    )
    if dataset.format == "images":
        raise UserError(f"{source}: holds images but no landmarks; there is nothing to convert")
    if not dataset.cases:
        first = next((problem for problem in problems if problem.severity == "error"), problems[0])
        raise UserError(f"{source}: no case can be converted; the first of {len(problems)} problems: {first.message}")
    losses = write_dataset(dataset, path, to, images, overwrite=overwrite)
    return Conversion(dataset, tuple(problems), tuple(losses))
