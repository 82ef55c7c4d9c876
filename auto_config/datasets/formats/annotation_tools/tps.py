"""TPS files of tpsDig and tpsUtil: ``LM=3``, a line ``x y`` for each landmark, then ``IMAGE=``, ``ID=``, ``SCALE=``.

Points are in pixels, y upwards from the lower edge of the picture, so that y of the array is the height minus y; that
is how ml-morph converts them. Landmarks are called 1, 2, ... ``SCALE`` is a length for a pixel whose unit nobody says,
so it is not used; curves and outlines have no names and are passed over. Both get one line.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from auto_config.bundle_scripts.points.landmark_text import read_text
from auto_config.bundle_scripts.points.landmarks import LandmarkFileError
from auto_config.datasets.formats.shared.entries import Reading
from auto_config.datasets.formats.shared.listed_points import Listed, Rows, read_listed
from auto_config.datasets.formats.shared.options import ReadOptions
from auto_config.datasets.formats.shared.points import numbers
from auto_config.datasets.images import Header
from auto_config.datasets.json_files import shown
from auto_config.datasets.model.dataset import Problem
from auto_config.errors import UserError

_CURVES = ("CURVES", "POINTS", "OUTLINES")
_ADVICE = "give x and y of each landmark in a line, or NA NA for one that is unknown"


@dataclass
class _Specimen:
    line: int
    count: str
    points: list[tuple[int, list[str]]] = field(default_factory=list)
    keys: dict[str, str] = field(default_factory=dict)


def is_tps(path: Path) -> bool:
    """Whether a file has a line ``LM=``."""
    try:
        return bool(_specimens(path))
    except UserError:
        return False


def read_tps(source: Path, options: ReadOptions) -> Reading:
    """Read a file of all pictures.

    Raises:
        UserError: It cannot be read, or has no line ``LM=``.
    """
    specimens = _specimens(source)
    if not specimens:
        raise UserError(f"{source}: has no line LM=; save the landmarks again in tpsDig")
    reading = read_listed(source, [_listed(one, source) for one in specimens], options)
    curves = sum(any(key in one.keys for key in _CURVES) for one in specimens)
    if curves:
        message = f"{source}: {curves} pictures have curves or outlines, which are no landmarks; they are passed over"
        reading.problems.append(Problem("warning", message))
    scales = {one.keys["SCALE"] for one in specimens if one.keys.get("SCALE")}
    if scales and options.pixel_spacing is None:
        reading.problems.append(Problem("warning", _scale_message(scales, source)))
    return reading


def _scale_message(scales: set[str], source: Path) -> str:
    if len(scales) == 1:
        return (
            f"{source}: SCALE={next(iter(scales))[:30]} does not say its unit and is not used; if it is mm for a "
            f"pixel, give --pixel_spacing {next(iter(scales))[:30]}"
        )
    return (
        f"{source}: SCALE has {len(scales)} values and does not say its unit; it is not used, points and errors are in "
        "pixels"
    )


def _specimens(path: Path) -> list[_Specimen]:
    try:
        lines = read_text(path).split("\n")
    except LandmarkFileError as error:
        raise UserError(str(error)) from error
    found: list[_Specimen] = []
    in_curve = False
    for number, line in enumerate(map(str.strip, lines), start=1):
        key, equals, value = line.partition("=")
        key = key.strip().upper()
        if equals and key in ("LM", "LM3"):
            found.append(_Specimen(number, value.strip()))
            found[-1].keys[key] = value.strip()
            in_curve = False
        elif equals and found:
            if key == "IMAGE" and key in found[-1].keys:
                raise UserError(
                    f"{path}: line {number}: a second IMAGE= without LM= before it; give each picture its LM="
                )
            found[-1].keys.setdefault(key, value.strip())
            in_curve = key in _CURVES
        elif line and found and not in_curve:
            found[-1].points.append((number, line.split()))
    return found


def _listed(one: _Specimen, source: Path) -> Listed:
    where = f"{source}: LM= in line {one.line}"
    name = one.keys.get("IMAGE") or None
    return Listed(where, (name,), "IMAGE=", partial(_rows, one, source, where))


def _rows(one: _Specimen, source: Path, where: str, header: Header) -> Rows:
    if "LM3" in one.keys:
        raise UserError(f"{where}: LM3= has points in space, which no picture has; save them as .fcsv or .mrk.json")
    if not one.count.isdecimal() or one.count != str(len(one.points)):
        raise UserError(f"{where}: LM={shown(one.count)}, {len(one.points)} points follow; make the two equal")
    rows: Rows = []
    for landmark, (number, texts) in enumerate(one.points, start=1):
        here = f"{source}: line {number}"
        if len(texts) != 2:
            raise UserError(f"{here} has {len(texts)} numbers; {_ADVICE}")
        if all(text.upper() in ("NA", "NAN") for text in texts):
            rows.append((str(landmark), "unknown"))
            continue
        x, y = numbers(texts, here, _ADVICE)
        # tpsDig writes -1 -1 for a landmark that was skipped.
        missing = math.isclose(x, -1) and math.isclose(y, -1)
        rows.append((str(landmark), "unknown" if missing else [x, header.shape[1] - y]))
    return rows
