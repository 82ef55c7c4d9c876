"""Texts of points in pixels without names: a file for each picture (ISBI 2015, 300-W), and Payer's table for all.

ISBI 2015: lines ``x,y`` (also with blanks), one for each landmark, then lines of classes, which have no second number
and are passed over. Payer: lines ``case,x1,y1,x2,y2,...`` (in volumes ``x1,y1,z1,...``) without a header. Landmarks are
called by their number, from 1 on; one whose numbers are all NaN is unknown. The numbers are indices of pixels, the
centre of the first one at 0.

300-W (``.pts``): ``version: 1``, ``n_points: 68``, then lines ``x y`` in braces. Its authors say that the first pixel
is 1, 1 ("the matlab convention"), so that 1 is taken off.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from auto_config.bundle_scripts.images.header import PIXELS
from auto_config.bundle_scripts.points.landmark_text import read_text
from auto_config.bundle_scripts.points.landmarks import LandmarkFileError, LandmarkSet
from auto_config.datasets.formats.shared.case_files import CaseFiles, find_images
from auto_config.datasets.formats.shared.entries import Entry, Reading, absolute
from auto_config.datasets.formats.shared.image_names import ImageNames, without_zeros, zeros_problem
from auto_config.datasets.formats.shared.options import ReadOptions, world_to_voxel
from auto_config.datasets.formats.shared.points import Value, landmark_set, numbers
from auto_config.datasets.formats.shared.tables import (
    PointColumns,
    System,
    read_delimited,
    resolved_system,
    stated,
    to_world,
    with_decimal_point,
    with_decimal_points,
)
from auto_config.datasets.images import image_stem
from auto_config.datasets.model.dataset import Problem
from auto_config.errors import UserError

_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")

# Shares of points inside their images, above and below which another system is more likely.
_INSIDE, _OUTSIDE = 0.95, 0.5


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
    parts = [_parts(line.strip()) for line in text.split("\n")]
    points = [number for number, line in enumerate(parts, start=1) if len(line) > 1]
    for number, line in enumerate(parts[: points[-1] if points else 0], start=1):
        if len(line) == 1:
            raise UserError(f"{path}: line {number} has one number and a point follows; give x and y in each line")
    return [line for line in parts if len(line) > 1]


def _parts(line: str) -> list[str]:
    """The numbers of a line; ``45,5;35`` are two of them with a decimal comma, as are ``45,5 35,25``."""
    for separator, least in ((";", 1), (None, 2)):
        fields = [with_decimal_point(field.strip()) for field in line.split(separator)]
        commas = sum("," in field for field in line.split(separator))
        if len(fields) == 2 and commas >= least and not any("," in field or not field for field in fields):
            return fields
    return [part for part in re.split(r"[,;\s]+", line) if part]


def is_isbi_text(path: Path) -> bool:
    """Whether a text begins with two numbers; points of NaN before them are passed over."""
    try:
        lines = [line for line in _lines(path) if any(map(stated, line))]
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
    pixels: list[list[float] | None] = []
    for number, line in enumerate(_lines(path), start=1):
        where = f"{path}: landmark {number}"
        if len(line) != 2:
            raise UserError(f"{where} has {len(line)} numbers; give x and y in pixels")
        pixels += _points_or_unknown(line, 2, where)
    return _numbered(pixels, image, 2, options, str(path))


ISBI_TEXT = CaseFiles((".txt",), read_isbi_text, is_isbi_text)

_PTS = re.compile(
    r"\s*(?:version\s*:[^\n]*\n\s*)?n_points\s*:\s*(\d{1,6})\s*\n\s*\{(.*)\}\s*", re.DOTALL | re.IGNORECASE
)


def is_pts(path: Path) -> bool:
    """Whether a text says its number of points, as 300-W's do."""
    try:
        return "n_points" in read_text(path)[:1000].lower()
    except LandmarkFileError:
        return False


def read_pts(path: Path, image: Path, spatial_dims: int, options: ReadOptions) -> LandmarkSet:
    """Read the points of one picture.

    Raises:
        UserError: The file is wrong, or the image is no picture.
    """
    if spatial_dims != 2:
        raise UserError(f"{path}: has points in pixels, the image {image.name} is a volume; give pictures")
    try:
        match = _PTS.fullmatch(read_text(path))
    except LandmarkFileError as error:
        raise UserError(str(error)) from error
    if match is None:
        raise UserError(f"{path}: is not of the form 'n_points: N', then N lines 'x y' in braces; write it so")
    lines = [line.split() for line in match[2].split("\n") if line.strip()]
    if len(lines) != int(match[1]):
        raise UserError(f"{path}: n_points is {match[1]}, {len(lines)} points follow; make the two equal")
    pixels: list[list[float] | None] = []
    for number, line in enumerate(lines, start=1):
        where = f"{path}: landmark {number}"
        if len(line) != 2:
            raise UserError(f"{where} has {len(line)} numbers; give x and y in pixels")
        pixels.append([value - 1 for value in numbers(line, where, "give x and y in pixels")])
    return _numbered(pixels, image, 2, options, str(path))


PTS = CaseFiles((".pts",), read_pts, is_pts)


def is_payer_csv(path: Path) -> bool:
    """Whether a table has no header but a name and numbers, some of them perhaps NaN, in its first line."""
    try:
        first, _, delimiter = read_delimited(path)
    except UserError:
        return False
    known = [text if delimiter == "," else with_decimal_point(text) for text in first[1:] if stated(text)]
    return len(first) > 2 and bool(known) and all(map(_NUMBER.fullmatch, known))


def read_payer_csv(source: Path, options: ReadOptions) -> Reading:
    """Read a table of all images.

    Raises:
        UserError: The table cannot be read.
    """
    first, lines, delimiter = read_delimited(source)
    lines = with_decimal_points([(1, first), *lines], range(1, len(first)), delimiter, source)
    _, files = find_images(source.parent, source.parent)
    if not files:
        raise UserError(
            f"{source}: there are no images below {source.parent}; put the images of its {len(lines)} lines there, "
            f"named as the first cell of each line, such as {first[0][:60]!r}"
        )
    dims = options.spatial_dims(files)
    images = ImageNames(files, source.parent)
    shortened: list[tuple[str, Path]] = []
    mentioned: set[Path] = set()
    columns = PointColumns(tuple(range(dims)), None)
    system = resolved_system(columns, options.coordinates or "voxel", source)
    reading = Reading([], [], spatial_dims=dims, written=frozenset({system}))
    seen: set[str] = set()
    for number, (case, *texts) in lines:
        where = f"{source}: line {number}"
        try:
            if case in seen:
                raise UserError(f"{where}: case {case!r} occurs twice; keep one of the lines")
            seen.add(case)
            candidates = images.find(case)
            mentioned.update(map(absolute, candidates))
            if not texts or len(texts) % dims:
                raise UserError(f"{where}: has {len(texts)} numbers, which is no multiple of {dims}; complete the line")
            values = _points_or_unknown(texts, dims, where)
            if len(candidates) > 1:
                listed = " and ".join(str(path.relative_to(source.parent)) for path in candidates)
                raise UserError(f"{where}: case {case!r} fits several images, {listed}; keep one")
            if not candidates:
                message = (
                    f"{where}: no image for case {case!r} below {source.parent}; add it, until then it is left out"
                )
                reading.problems.append(Problem("warning", message, case or None))
                continue
            image = absolute(candidates[0])
            shortened += [(case, image)] if without_zeros(case, image) else []
            landmarks = _numbered(values, image, dims, options, where, system)
            reading.entries.append(Entry(image_stem(image), (image,), landmarks, where))
        except UserError as error:
            reading.problems.append(Problem("error", str(error), case or None))
    reading.problems.extend(zeros_problem(shortened, source))
    if dims == 3 and options.coordinates is None:
        reading.problems.extend(_other_system(reading.entries, options, source))
    for path in files:
        if absolute(path) not in mentioned:
            message = f"{path}: no line in {source.name} names this image; add it, until then it is left out"
            reading.problems.append(Problem("warning", message, image_stem(path)))
    return reading


def _other_system(entries: Sequence[Entry], options: ReadOptions, source: Path) -> list[Problem]:
    """An error where points that were read as voxels lie outside their images, and would lie inside as mm."""
    inside: dict[System, int] = {"voxel": 0, "ras": 0, "lps": 0}
    total = 0
    for entry in entries:
        header = options.header(entry.image)
        assert entry.landmarks is not None
        try:
            written = world_to_voxel(header, entry.landmarks.points[entry.landmarks.present])
        except UserError:  # an affine that cannot be inverted, which the checks name
            continue
        total += len(written)
        for system in inside:
            voxels = world_to_voxel(header, to_world(written, system, header))
            inside[system] += int(np.sum(np.all((voxels >= -0.5) & (voxels <= np.array(header.shape) - 0.5), axis=1)))
    mm: tuple[System, ...] = ("lps", "ras")
    likely = [system for system in mm if inside[system] >= _INSIDE * total]
    if not likely or inside["voxel"] >= _OUTSIDE * total:
        return []
    others = ", ".join(f"as {system.upper()} mm {inside[system]}" for system in likely)
    message = (
        f"{source}: its points are read as voxels, and {inside['voxel']} of {total} lie inside their images, {others}; "
        f"if they are mm, say --coordinates {' or '.join(likely)}, else --coordinates voxel"
    )
    return [Problem("error", message)]


def _points_or_unknown(texts: list[str], dims: int, where: str) -> list[list[float] | None]:
    """The points of a line; one whose cells are all NaN is None, it is unknown."""
    advice = "give a number in each cell, or NaN in all cells of a point that is unknown"
    points = [texts[start : start + dims] for start in range(0, len(texts), dims)]
    return [numbers(point, where, advice) if "" in point or any(map(stated, point)) else None for point in points]


def _numbered(  # noqa: PLR0917 - a line, and how it is read
    points: Sequence[list[float] | None],
    image: Path,
    dims: int,
    options: ReadOptions,
    where: str,
    system: System = "voxel",
) -> LandmarkSet:
    """Points as landmarks called 1, 2, ..."""
    header = options.header([image]) if system in ("voxel", "mm") else None
    if header is not None and header.unit == PIXELS and system == "mm":
        raise UserError(f"{header.path}: its pixel size is not known, but its points are mm; give --pixel_spacing")
    rows: list[tuple[str, Value]] = [
        (str(number), "unknown" if point is None else to_world(np.array([point]), system, header)[0].tolist())
        for number, point in enumerate(points, start=1)
    ]
    return landmark_set(rows, spatial_dims=dims, where=where)
