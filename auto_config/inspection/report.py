"""The page that `inspect --report` writes: summary, problems, and slices of every case with its points drawn in."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import nibabel as nib
import numpy as np
from PIL import Image as PillowImage
from PIL import ImageDraw, ImageFont

from auto_config.bundle_scripts.files.text import atomic_write_text
from auto_config.bundle_scripts.grid.grids import world_to_voxel
from auto_config.bundle_scripts.points.landmarks import PRESENT, LandmarkSet
from auto_config.datasets.images import Image
from auto_config.datasets.model.dataset import Problem
from auto_config.inspection.problems import group_problems

if TYPE_CHECKING:
    from auto_config.inspection.cases import CaseReport
    from auto_config.inspection.table import LandmarkRow

PANEL_PIXELS = 300
"""Width and height of one slice in the picture."""
_SLAB_SHARE = 0.02
_OPEN_ROWS = 40
_MOST_NAMES = 24  # of more landmarks the number is drawn, which the table explains
_LONGEST_NAME = 14
_NEAR, _FAR, _TEXT = (255, 210, 0), (110, 170, 255), (230, 230, 230)

# For each plane: the axis through it, the axis to the right and the axis upwards, in RAS order.
_PLANES = (("sagittal", 0, 1, 2), ("coronal", 1, 0, 2), ("axial", 2, 0, 1))

_STYLE = """body{font:14px/1.45 sans-serif;margin:2em auto;max-width:96em;padding:0 1em;color:#222}
table{border-collapse:collapse}th{text-align:right;vertical-align:top;padding:.15em 1em .15em 0}
.cases{display:grid;grid-template-columns:repeat(auto-fill,minmax(30em,1fr));gap:1em}
.landmarks td,.landmarks th{text-align:right;padding:.1em 1em .1em 0}.landmarks :first-child{text-align:left}
.error{color:#b00020}.warning{color:#8a5a00}figure{margin:0}img{max-width:100%;background:#000}
figcaption{margin:.3em 0}"""


_LEGEND = {
    2: "Yellow: the points, in the picture as its pixels are stored.",
    3: "Each slice lies where most points are. Yellow: points in the slice or close to it; blue: points in front of it "
    "or behind. Patient right is on the left; sagittal slices have anterior on the right.",
}


def case_picture(image: Image, landmarks: LandmarkSet | None) -> bytes:
    """Draw one sagittal, one coronal and one axial slice with the points, or the picture with its points.

    Each slice lies where most points are. Points within 2 % of the extent of the slice are yellow discs, the others
    small blue ones. Patient right is on the left side, except in the sagittal slice, where anterior is on the right.

    Args:
        image: The image; its first channel is shown.
        landmarks: Its points in RAS mm, or None.

    Returns:
        A JPEG.
    """
    if len(image.header.shape) == 2:
        return _jpeg([_whole_picture(image, landmarks)])
    orientation = nib.io_orientation(image.affine)
    volume = nib.apply_orientation(image.array[0], orientation)
    affine = image.affine @ nib.orientations.inv_ornt_aff(orientation, image.array.shape[1:])
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    points = np.empty((0, 3))
    if landmarks is not None and landmarks.present.any():
        points = world_to_voxel(affine, _every_point(landmarks))
    low, high = np.percentile(volume[:: max(1, volume.shape[0] // 64)], (0.5, 99.5))
    window = float(low), float(high)
    return _jpeg([_panel(volume, spacing, (points, _labels(landmarks)), plane, window) for plane in _PLANES])


def _every_point(landmarks: LandmarkSet) -> np.ndarray:
    """All points that are present, each instance of a landmark of many: ``(N, D)`` world."""
    return np.array([point for _, point, status in landmarks.rows() if status == PRESENT])


def _labels(landmarks: LandmarkSet | None) -> list[str]:
    """What is drawn at the points of `_every_point`: names, or numbers where there are many."""
    if landmarks is None:
        return []
    rows = [index for index, _, status in landmarks.rows() if status == PRESENT]
    if len(landmarks.names) > _MOST_NAMES:
        return [str(index + 1) for index in rows]
    # Pillow's own font knows Latin letters only.
    names = [landmarks.names[index].encode("latin-1", "replace").decode("latin-1") for index in rows]
    return [name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 1] + "." for name in names]


def _write(draw: ImageDraw.ImageDraw, place: tuple[float, float], label: str) -> None:
    """A label that can be read on bright and on dark."""
    draw.text(place, label, fill=_NEAR, font=ImageFont.load_default(12), stroke_width=2, stroke_fill=(0, 0, 0))


def _whole_picture(image: Image, landmarks: LandmarkSet | None) -> PillowImage.Image:
    """A picture, scaled to true proportions, x to the right and y down, with its points."""
    low, high = np.percentile(image.array[0], (0.5, 99.5))
    grey = np.clip((image.array[0] - low) / max(high - low, 1e-12), 0, 1).T * 255
    spacing, size = np.array(image.header.spacing), np.array(image.header.shape)
    scale = 2 * PANEL_PIXELS / (size * spacing).max()
    width, height = (max(1, round(edge)) for edge in size * spacing * scale)
    picture = PillowImage.fromarray(grey.astype(np.uint8)).resize((width, height), PillowImage.Resampling.BILINEAR)
    picture = picture.convert("RGB")
    draw = ImageDraw.Draw(picture)
    if landmarks is not None and landmarks.present.any():
        # Pixel centres are at whole numbers, so the picture's edge is at -0.5.
        places = (world_to_voxel(image.affine, _every_point(landmarks)) + 0.5) * spacing * scale
        for (x, y), label in zip(places, _labels(landmarks), strict=True):
            draw.ellipse((x - 3, y - 3, x + 3, y + 3), fill=_NEAR)
            _write(draw, (x + 5, y - 7), label)
    return picture


def _jpeg(panels: Sequence[PillowImage.Image]) -> bytes:
    """Panels side by side."""
    size = sum(panel.width for panel in panels), max(panel.height for panel in panels)
    picture = PillowImage.new("RGB", size)
    left = 0
    for panel in panels:
        picture.paste(panel, (left, 0))
        left += panel.width
    stream = io.BytesIO()
    picture.save(stream, format="JPEG", quality=85)
    return stream.getvalue()


def _panel(
    volume: np.ndarray,
    spacing: np.ndarray,
    named: tuple[np.ndarray, Sequence[str]],
    plane: tuple[str, int, int, int],
    window: tuple[float, float],
) -> PillowImage.Image:
    """One slice of a volume in RAS order, scaled to true proportions, with points in voxels and their labels."""
    points, labels = named
    name, through, across, upward = plane
    slab = max(1.0, _SLAB_SHARE * volume.shape[through])
    index = _fullest_slice(points[:, through], volume.shape[through], slab)
    grey = np.take(volume, index, axis=through).astype(np.float32)  # the other two axes stay in order: across, upward
    low, high = window
    grey = np.clip((grey - low) / max(high - low, 1e-12), 0, 1).T[::-1] * 255
    # Patient right is drawn on the left: the image is seen from the front and from below, as radiologists do.
    flip = across == 0
    if flip:
        grey = grey[:, ::-1]
    size_mm = np.array([volume.shape[across] * spacing[across], volume.shape[upward] * spacing[upward]])
    scale = PANEL_PIXELS / size_mm.max()
    width, height = (max(1, round(size * scale)) for size in size_mm)
    slice_picture = PillowImage.fromarray(grey.astype(np.uint8)).resize(
        (width, height), PillowImage.Resampling.BILINEAR
    )
    panel = PillowImage.new("RGB", (PANEL_PIXELS, PANEL_PIXELS))
    left, top = (PANEL_PIXELS - width) // 2, (PANEL_PIXELS - height) // 2
    panel.paste(slice_picture, (left, top))
    draw = ImageDraw.Draw(panel)
    near = np.abs(points[:, through] - index) <= slab
    for point, label, is_near in sorted(zip(points, labels, near, strict=True), key=lambda one: bool(one[2])):
        # Voxel centres are at whole numbers, so the picture's edge is at -0.5.
        x = (point[across] + 0.5) * spacing[across] * scale
        y = height - (point[upward] + 0.5) * spacing[upward] * scale
        x = left + (width - x if flip else x)
        radius = 3 if is_near else 1
        box = (x - radius, top + y - radius, x + radius, top + y + radius)
        draw.ellipse(box, fill=_NEAR if is_near else _FAR)
        if is_near:
            _write(draw, (x + 5, top + y - 7), label)
    draw.text((4, 4), f"{name} {index + 1}/{volume.shape[through]}", fill=_TEXT)
    return panel


def _fullest_slice(coordinates: np.ndarray, size: int, slab: float) -> int:
    """The slice with most points within `slab` voxels; the middle one without points."""
    if not coordinates.size:
        return size // 2
    counts = [np.count_nonzero(np.abs(coordinates - index) <= slab) for index in range(size)]
    best = np.flatnonzero(np.array(counts) == max(counts))
    return int(best[len(best) // 2])


def write_report(
    path: Path,
    summary: Sequence[tuple[str, str]],
    problems: Sequence[Problem],
    reports: Sequence[CaseReport],
    landmarks: tuple[Sequence[LandmarkRow], str] = ((), "mm"),
) -> None:
    """Write one self-contained HTML page, atomically.

    Args:
        path: Where to write.
        summary: Titles and texts.
        problems: All problems, those of a case are repeated beside its picture.
        reports: Cases with pictures.
        landmarks: Rows of the table of landmarks, and the unit of their spread.
    """
    of_case: dict[str | None, list[Problem]] = {}
    for problem in problems:
        of_case.setdefault(problem.case, []).append(problem)
    rows = "".join(f"<tr><th>{html.escape(title)}</th><td>{html.escape(text)}</td></tr>\n" for title, text in summary)
    places = {report.case.name: f"case-{number}" for number, report in enumerate(reports)}
    figures = "".join(
        _figure(report, of_case.get(report.case.name, []), places[report.case.name]) for report in reports
    )
    listed = _folded(problems, places) or "<p>No problem found.</p>"
    flat = any(report.header is not None and len(report.header.shape) == 2 for report in reports)
    legend = _LEGEND[2 if flat else 3]
    page = (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>Data set</title>'
        f"<style>{_STYLE}</style></head>\n<body><h1>Data set</h1>\n<table>{rows}</table>\n<h2>Problems</h2>\n{listed}\n"
        f"{_landmark_rows(*landmarks)}"
        f'<h2>Cases</h2>\n<p>{legend}</p>\n<div class="cases">{figures}</div></body></html>\n'
    )
    atomic_write_text(path, page)


def _figure(report: CaseReport, problems: Sequence[Problem], place: str) -> str:
    name = html.escape(report.case.name)
    picture = ""
    if report.picture is not None:
        data = base64.b64encode(report.picture).decode()
        picture = f'<img alt="slices of {name} with landmarks" src="data:image/jpeg;base64,{data}">'
    return f'<figure id="{place}"><figcaption><b>{name}</b></figcaption>{picture}{_problem_list(problems)}</figure>\n'


def _landmark_rows(rows: Sequence[LandmarkRow], unit: str) -> str:
    """The table of landmarks; the number is what stands at the points of pictures with many."""
    if not rows:
        return ""
    titles = ("landmark", "number", "present", "absent", "unknown", f"spread {unit}")
    head = "".join(f"<th>{title}</th>" for title in titles)
    lines = []
    for number, row in enumerate(rows, start=1):
        spread = "" if np.isnan(row.spread) else f"{row.spread:.3g}"
        cells = (html.escape(row.name), number, row.present, row.absent, row.unknown, spread)
        lines.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>\n")
    note = "Spread: root mean square distance from the mean shape, after each case is laid on it."
    is_open = " open" if len(rows) <= _OPEN_ROWS else ""
    return (
        f"<h2>Landmarks</h2>\n<details{is_open}><summary>{len(rows)} landmarks. {note}"
        f'</summary><table class="landmarks"><tr>{head}</tr>\n{"".join(lines)}</table></details>\n'
    )


def _folded(problems: Sequence[Problem], places: Mapping[str, str]) -> str:
    """Problems of one kind in one entry that opens; each links to its case."""
    parts = []
    for group in group_problems(problems):
        items = "".join(f"<li>{_linked(problem, places)}</li>" for problem in group)
        first, severity = group[0], group[0].severity
        if len(group) == 1:
            parts.append(f'<p class="{severity}">{severity}: {_linked(first, places)}</p>\n')
            continue
        title = f"{severity}: {html.escape(first.message)} (and {len(group) - 1} more of this kind)"
        parts.append(f'<details class="{severity}"><summary>{title}</summary><ul>{items}</ul></details>\n')
    return "".join(parts)


def _linked(problem: Problem, places: Mapping[str, str]) -> str:
    text = html.escape(problem.message)
    if problem.case is None or problem.case not in places:
        return text
    return f'<a href="#{places[problem.case]}">{html.escape(problem.case)}</a>: {text}'


def _problem_list(problems: Sequence[Problem]) -> str:
    if not problems:
        return ""
    items = "".join(
        f'<li class="{problem.severity}">{problem.severity}: {html.escape(problem.message)}</li>'
        for problem in problems
    )
    return f"<ul>{items}</ul>"
