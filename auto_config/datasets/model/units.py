"""The unit of length of a data set: millimetres, or pixels where nobody knows how large they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from auto_config.bundle_scripts.images.header import PIXELS
from auto_config.datasets.images import Header
from auto_config.datasets.json_files import read_json
from auto_config.datasets.model.dataset import Dataset, Problem
from auto_config.errors import UserError


def unit_of(headers: Sequence[Header]) -> Literal["mm", "px"]:
    """``"px"`` where the images are pictures of unknown pixel size, else ``"mm"``."""
    return "px" if any(header.unit == PIXELS for header in headers) else "mm"


def unit_problems(headers: Mapping[str, Header]) -> list[Problem]:
    """Find cases of unknown pixel size among others of a known one: their points cannot be compared.

    Args:
        headers: Name of the case to its header.
    """
    unknown = {name: header for name, header in headers.items() if header.unit == PIXELS}
    if not unknown or len(unknown) == len(headers):
        return []
    return [
        Problem(
            "error",
            f"{header.path}: its pixel size is not known, that of {len(headers) - len(unknown)} other cases is; give "
            "--pixel_spacing for all, or save it in the file",
            name,
        )
        for name, header in unknown.items()
    ]


def common_pixel_spacing(dataset: Dataset) -> list[float] | None:
    """The pixel size (x, y) in mm that was given or declared for all cases; None where each file holds its own.

    Raises:
        UserError: Cases with different ones; a bundle reads all pictures with one.
    """
    given = {case.pixel_spacing for case in dataset.cases}
    if len(given) > 1:
        shown = " and ".join("none" if one is None else f"{one[0]:g} x {one[1]:g} mm" for one in list(given)[:3])
        raise UserError(
            f"{dataset.source}: cases declare different pixel sizes ({shown}), but a bundle reads all pictures with "
            "one; save the images as TIFF, DICOM or MHA with their own"
        )
    spacing = next(iter(given), None)
    return None if spacing is None else [float(size) for size in spacing]


def checked_pixel_spacing(numbers: Sequence[float] | None) -> tuple[float, float] | None:
    """The value of ``--pixel_spacing``: one number for both axes, or two (x, y), in mm.

    Raises:
        UserError: Not one or two numbers above 0.
    """
    if numbers is None:
        return None
    values = [float(number) for number in numbers]
    if len(values) not in (1, 2) or not all(0 < value < float("inf") for value in values):
        raise UserError(
            f"--pixel_spacing {','.join(f'{value:g}' for value in values)}: give the pixel size in mm, one number or "
            "two (x,y), above 0"
        )
    return values[0], values[-1]


def parsed_pixel_spacing(value: object, where: str) -> tuple[float, float]:
    """The pixel size that a JSON document declares for all its pictures.

    Raises:
        UserError: Not one or two numbers above 0; `where` is named.
    """
    numbers: list[Any] = value if isinstance(value, list) else [value]
    if any(isinstance(number, bool) or not isinstance(number, int | float) for number in numbers):
        raise UserError(f"{where}: 'pixel_spacing' is {str(value)[:60]!r}; give the pixel size in mm, or x and y")
    try:
        found = checked_pixel_spacing(numbers)
    except (UserError, OverflowError) as error:
        raise UserError(f"{where}: 'pixel_spacing' is wrong; give the pixel size in mm above 0, or x and y") from error
    assert found is not None
    return found


def declared_pixel_spacing(path: Path) -> tuple[float, float] | None:
    """The pixel size that a ``landmarks.json`` declares for the pictures beside it; None where it does not.

    Raises:
        UserError: The file cannot be read, or declares something else.
    """
    document = read_json(path)
    value = document.get("pixel_spacing") if isinstance(document, Mapping) else None
    return None if value is None else parsed_pixel_spacing(value, str(path))
