"""CVAT's export "CVAT for images 1.1": ``annotations.xml`` with points and skeletons in pixels.

``<image name=...><points label="AC" points="x,y"/></image>``; a shape of several points gives ``AC 1``, ``AC 2``, ...;
the points of a ``<skeleton>`` have labels of their own. A point that is ``outside`` is unknown, as in CVAT's own export
to COCO. Other shapes are passed over with one line. The numbers are indices of pixels, as in CVAT's export to COCO.

XML is parsed only after a first pass found no document type (so no entities) and no deep nesting.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from xml.etree import ElementTree as ET
from xml.parsers import expat

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

_LARGEST_BYTES = 512 * 2**20
_DEEPEST = 20
_POINTS, _SKELETON = "points", "skeleton"
_SHAPES = ("box", "polygon", "polyline", "ellipse", "cuboid", "mask", "tag")


def is_cvat(path: Path) -> bool:
    """Whether an XML file holds annotations of images."""
    try:
        root = read_xml(path)
    except UserError:
        return False
    return root.tag == "annotations" and root.find("image") is not None


def read_cvat(source: Path, options: ReadOptions) -> Reading:
    """Read an export of all pictures.

    Raises:
        UserError: The file is not XML, or not of CVAT's images.
    """
    root = read_xml(source)
    if root.tag != "annotations" or root.find("image") is None:
        tracks = root.tag == "annotations" and root.find("track") is not None
        what = "has tracks of a video" if tracks else f"is XML of another kind (<{root.tag[:40]}>)"
        raise UserError(f"{source}: {what}; export 'CVAT for images 1.1' or 'COCO Keypoints 1.0' from CVAT")
    images = list(root.findall("image"))
    reading = read_listed(source, [_listed(image, source, number) for number, image in enumerate(images, 1)], options)
    others = sorted({shape.tag for image in images for shape in image if shape.tag in _SHAPES})
    if others:
        message = (
            f"{source}: holds shapes of the kinds {', '.join(others)}, which are no landmarks; they are passed over"
        )
        reading.problems.append(Problem("warning", message))
    return reading


def read_xml(path: Path) -> ET.Element:
    """The root of an XML file without document type.

    Raises:
        UserError: It cannot be read, is too large, nested too deeply, is not XML, or has a document type.
    """
    try:
        if path.stat().st_size > _LARGEST_BYTES:
            raise UserError(f"{path}: is larger than {_LARGEST_BYTES // 2**20} MiB; export fewer pictures at once")
        text = read_text(path)
    except LandmarkFileError as error:
        raise UserError(str(error)) from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); check the path and its permissions") from error
    try:
        _check_harmless(text, path)
        # `_check_harmless` refused every document type, and with it all entities.
        return ET.fromstring(text)  # noqa: S314
    except (expat.ExpatError, ET.ParseError, ValueError) as error:
        raise UserError(f"{path}: is not valid XML ({error}); export it again") from error


def _check_harmless(text: str, path: Path) -> None:
    depth = 0

    def document_type(*_: object) -> None:
        raise UserError(f"{path}: has a document type (DOCTYPE), which annotations never need; remove it")

    def opened(*_: object) -> None:
        nonlocal depth
        depth += 1
        if depth > _DEEPEST:
            raise UserError(f"{path}: is nested deeper than {_DEEPEST} elements; export it again")

    def closed(*_: object) -> None:
        nonlocal depth
        depth -= 1

    parser = expat.ParserCreate("utf-8")
    parser.StartDoctypeDeclHandler = document_type
    parser.StartElementHandler = opened
    parser.EndElementHandler = closed
    parser.Parse(text.encode(errors="replace"), True)


def _listed(image: ET.Element, source: Path, number: int) -> Listed:
    where = f"{source}: image {number}"
    return Listed(where, (image.get("name"),), "name", partial(_rows, image, where))


def _rows(image: ET.Element, where: str, header: Header) -> Rows:
    size = (image.get("width"), image.get("height"))
    if size != (None, None) and size != tuple(map(str, header.shape)):
        raise UserError(
            f"{where}: was annotated with {shown(size[0])} x {shown(size[1])} pixels, {header.path.name} has "
            f"{header.shape[0]} x {header.shape[1]}; give the picture that was annotated"
        )
    rows: Rows = []
    for shape in _point_shapes(image):
        label = shape.get("label")
        if not label:
            raise UserError(f"{where}: points without a label; give them the landmark's name")
        here = f"{where}: points {shown(label)}"
        texts = [point.split(",") for point in (shape.get("points") or "").split(";")]
        names = [label] if len(texts) == 1 else [f"{label} {number}" for number in range(1, len(texts) + 1)]
        for name, point in zip(names, texts, strict=True):
            if shape.get("outside") == "1":
                rows.append((name, "unknown"))
                continue
            if len(point) != 2:
                raise UserError(f"{here}: a point is {shown(','.join(point))}; give x,y in pixels")
            rows.append((name, numbers([part.strip() for part in point], here, "give x,y in pixels")))
    return rows


def _point_shapes(image: ET.Element) -> Iterator[ET.Element]:
    for shape in image:
        if shape.tag == _POINTS:
            yield shape
        elif shape.tag == _SKELETON:
            yield from shape.findall(_POINTS)
