"""From the lines, shapes or keys of a file to one `LandmarkSet`; what all point formats have in common."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator
from typing import Any

from auto_config.bundle_scripts.points.landmarks import LandmarkFileError, LandmarkSet
from auto_config.datasets.json_files import shown
from auto_config.errors import UserError

Value = list[float] | str
"""One point in world mm, or the word ``absent`` or ``unknown``."""

_WORDS = ("absent", "unknown")


def landmark_set(
    rows: Iterable[tuple[str, Value]], *, spatial_dims: int, many: Collection[str] = (), where: str
) -> LandmarkSet:
    """Make a set of the rows of a file.

    Args:
        rows: Name and point, or name and status word, in the order of the file.
        spatial_dims: Number D of coordinates.
        many: Names that may occur any number of times; their points are instances of one landmark.
        where: File and case, named in errors.

    Raises:
        UserError: A name that occurs more than once and is not among `many`, one that cannot be used, or a point that
            is not D finite numbers.
    """
    found: dict[str, Any] = {}
    for name, value in rows:
        if name in many:
            instances = found.get(name)
            if isinstance(value, str):
                found.setdefault(name, value)
            else:
                found[name] = [*(instances if isinstance(instances, list) else []), value]
        elif name in found:
            raise UserError(
                f"{where}: landmark {name!r} occurs more than once; remove one of them, or declare it in "
                'landmarks.json with "instances": "many"'
            )
        else:
            found[name] = value
    try:
        return LandmarkSet.from_inline(found, spatial_dims=spatial_dims, where=where, many=many)
    except LandmarkFileError as error:
        raise UserError(str(error)) from error


def rows_of(landmarks: LandmarkSet) -> Iterator[tuple[str, Value]]:
    """The rows that `landmark_set` reads back: one for each landmark, or for each instance of one of many."""
    for name, value in landmarks.to_inline().items():
        if isinstance(value, list) and (not value or isinstance(value[0], list)):
            if not value:
                yield name, "absent"
            for point in value:
                yield name, point
        else:
            yield name, value


def numbers(texts: Iterable[str], where: str, remedy: str) -> list[float]:
    """Finite numbers of texts.

    Raises:
        UserError: One of them is not a finite number.
    """
    texts = list(texts)
    try:
        # Python reads 1_000 and the digits of other scripts too; in a table they are slips of the pen.
        values = [float(text) if text.isascii() and "_" not in text else float("") for text in texts]
    except ValueError as error:
        raise UserError(f"{where} has coordinates {', '.join(map(repr, texts))[:200]}; {remedy}") from error
    if not all(map(math.isfinite, values)):
        raise UserError(f"{where} has coordinates {', '.join(texts)[:200]} that are not finite; {remedy}")
    return values


def json_point(value: object, spatial_dims: int, where: str) -> list[float]:
    """A point of a JSON file: a list of D finite numbers.

    Raises:
        UserError: It is something else.
    """
    if (
        isinstance(value, list)
        and len(value) == spatial_dims
        and all(isinstance(number, int | float) and not isinstance(number, bool) for number in value)
    ):
        try:
            point = [float(number) for number in value]
        except OverflowError:
            point = [math.inf]
        if all(map(math.isfinite, point)):
            return point
    raise UserError(f"{where}: point is {shown(value)}; give {spatial_dims} finite numbers")


def is_word(text: str) -> bool:
    """Whether a text is the word of a status without a point."""
    return text in _WORDS
