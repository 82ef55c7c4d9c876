"""Texts of points in pixels without names: a file for each picture as in ISBI 2015, and Payer's table for all of them.

ISBI 2015: lines ``x,y`` (also with blanks), one for each landmark, then lines of classes, which have no second number
and are passed over. Payer: lines ``case,x1,y1,x2,y2,...`` (in volumes ``x1,y1,z1,...``) without a header. Landmarks are
called by their number, from 1 on. The numbers are indices of pixels, the centre of the first one at 0.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from auto_config.bundle_scripts.landmark_files import read_text
from auto_config.bundle_scripts.landmarks import LandmarkFileError, LandmarkSet
from auto_config.datasets.case_files import CaseFiles, find_images
from auto_config.datasets.entries import Entry, Reading, absolute, one_form
from auto_config.datasets.images import image_stem
from auto_config.datasets.model import Problem
from auto_config.datasets.options import ReadOptions, voxel_to_world
from auto_config.datasets.points import Value, landmark_set, numbers
from auto_config.datasets.tables import read_table
from auto_config.errors import UserError

_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")


def _lines(path: Path) -> list[list[str]]:
    """The lines with several parts; those with one, behind them, are classes.

    Raises:
        UserError: The file cannot be read, or a line with one part stands before a point: its point would be lost, and
            all further ones be called by wrong numbers.
    """
    try:
        text = read_text(path)
    except LandmarkFileError as error:
        raise UserError(str(error)) from error
    parts = [[part for part in re.split(r"[,;\s]+", line.strip()) if part] for line in text.split("\n")]
    points = [number for number, line in enumerate(parts, start=1) if len(line) > 1]
    for number, line in enumerate(parts[: points[-1] if points else 0], start=1):
        if len(line) == 1:
            raise UserError(f"{path}: line {number} has one number and a point follows; give x and y in each line")
    return [line for line in parts if len(line) > 1]


def is_isbi_text(path: Path) -> bool:
    """Whether a text begins with two numbers."""
    try:
        lines = _lines(path)
    except UserError:
        return False
    return bool(lines) and len(lines[0]) == 2 and all(map(_NUMBER.fullmatch, lines[0]))


def read_isbi_text(path: Path, image: Path, spatial_dims: int, options: ReadOptions) -> LandmarkSet:
    """Read the points of one picture.

    Raises:
        UserError: A line that is no point, or an image that is no picture.
    """
    if spatial_dims != 2:
        raise UserError(f"{path}: has points in pixels, the image {image.name} is a volume; give pictures")
    pixels = []
    for number, line in enumerate(_lines(path), start=1):
        where = f"{path}: landmark {number}"
        if len(line) != 2:
            raise UserError(f"{where} has {len(line)} numbers; give x and y in pixels")
        pixels.append(numbers(line, where, "give x and y in pixels"))
    return _numbered(pixels, image, 2, options, str(path))


ISBI_TEXT = CaseFiles((".txt",), read_isbi_text, is_isbi_text)


def is_payer_csv(path: Path) -> bool:
    """Whether a table has no header but a name and numbers, some of them perhaps NaN, in its first line."""
    try:
        first, _ = read_table(path)
    except UserError:
        return False
    known = [text for text in first[1:] if text.lower() != "nan"]
    return len(first) > 2 and bool(known) and all(map(_NUMBER.fullmatch, known))


def read_payer_csv(source: Path, options: ReadOptions) -> Reading:
    """Read a table of all images.

    Raises:
        UserError: The table cannot be read.
    """
    first, lines = read_table(source)
    _, files = find_images(source.parent, source.parent)
    if not files:
        raise UserError(
            f"{source}: there are no images below {source.parent}; put the images of its {len(lines) + 1} lines there, "
            f"named as the first cell of each line, such as {first[0][:60]!r}"
        )
    dims = options.spatial_dims(files)
    by_stem: dict[str, list[Path]] = {}
    for path in files:
        by_stem.setdefault(one_form(image_stem(path)), []).append(path)
    reading = Reading([], [], spatial_dims=dims)
    seen: set[str] = set()
    for number, (case, *texts) in [(1, first), *lines]:
        where = f"{source}: line {number}"
        try:
            if case in seen:
                raise UserError(f"{where}: case {case!r} occurs twice; keep one of the lines")
            seen.add(case)
            if not texts or len(texts) % dims:
                raise UserError(f"{where}: has {len(texts)} numbers, which is no multiple of {dims}; complete the line")
            values = _points_or_unknown(texts, dims, where)
            candidates = by_stem.get(one_form(case), [])
            if len(candidates) > 1:
                listed = " and ".join(str(path.relative_to(source.parent)) for path in candidates)
                raise UserError(f"{where}: case {case!r} fits several images, {listed}; keep one")
            if not candidates:
                message = (
                    f"{where}: no image for case {case!r} below {source.parent}; add it, until then it is left out"
                )
                reading.problems.append(Problem("warning", message, case or None))
                continue
            landmarks = _numbered(values, candidates[0], dims, options, where)
            reading.entries.append(Entry(case, (absolute(candidates[0]),), landmarks, where))
        except UserError as error:
            reading.problems.append(Problem("error", str(error), case or None))
    for stem, paths in by_stem.items():
        if stem not in {one_form(case) for case in seen}:
            message = f"{paths[0]}: no line in {source.name} names this image; add it, until then it is left out"
            reading.problems.append(Problem("warning", message, stem))
    return reading


def _points_or_unknown(texts: list[str], dims: int, where: str) -> list[list[float] | None]:
    """The points of a line; one whose cells are all NaN is None, it is unknown."""
    advice = "give a number in each cell, or NaN in all cells of a point that is unknown"
    points = [texts[start : start + dims] for start in range(0, len(texts), dims)]
    return [None if all(text.lower() == "nan" for text in point) else numbers(point, where, advice) for point in points]


def _numbered(
    voxels: Sequence[list[float] | None], image: Path, dims: int, options: ReadOptions, where: str
) -> LandmarkSet:
    """Points in voxels as landmarks called 1, 2, ..."""
    header = options.header([image])
    rows: list[tuple[str, Value]] = [
        (str(number), "unknown" if point is None else voxel_to_world(header, np.array([point]))[0].tolist())
        for number, point in enumerate(voxels, start=1)
    ]
    return landmark_set(rows, spatial_dims=dims, where=where)
