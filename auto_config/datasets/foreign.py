"""Landmark files that are known and not read: what they are, and what to do. Known by content, by ending where not."""

from __future__ import annotations

import re
from pathlib import Path

from auto_config.bundle_scripts.points.landmark_text import read_text
from auto_config.bundle_scripts.points.landmarks import LandmarkFileError
from auto_config.datasets.formats.shared.entries import find_files
from auto_config.datasets.formats.shared.json_contents import not_read
from auto_config.datasets.json_files import read_json
from auto_config.errors import UserError

_AS_TABLE = "save the points as a .csv with the columns case,landmark,x,y (and z)"
_BY_ENDING = {
    ".landmarksascii": ("Amira or Avizo landmarks", "save them as a .csv with the columns case,landmark,x,y,z"),
    ".landmarkascii": ("Amira or Avizo landmarks", "save them as a .csv with the columns case,landmark,x,y,z"),
    ".mps": ("an MITK point set", "save it as .fcsv or .mrk.json, or as a .csv"),
    ".pp": ("MeshLab's picked points", "they are of a mesh; give points of images"),
    ".nts": ("an NTSYS file", _AS_TABLE),
    ".dta": ("IDAV Landmark Editor's data", _AS_TABLE),
    ".lnd": ("a landmark file of another program", _AS_TABLE),
    ".asf": ("an IMM or ASF shape", _AS_TABLE),
    ".mat": ("a MATLAB file", _AS_TABLE),
    ".h5": ("an HDF5 file (DeepLabCut, SLEAP)", "export a .csv of points; columns case,landmark,x,y"),
    ".slp": ("a SLEAP project", "export a .csv of points; columns case,landmark,x,y"),
    ".pkl": ("a pickle file, which is never opened", _AS_TABLE),
    ".npy": ("a NumPy array", _AS_TABLE),
    ".npz": ("a NumPy archive", _AS_TABLE),
    ".xlsx": ("an Excel workbook", "save the sheet as 'CSV UTF-8'"),
    ".xls": ("an Excel workbook", "save the sheet as 'CSV UTF-8'"),
    ".ods": ("a spreadsheet", "save the sheet as .csv in UTF-8"),
    ".zip": ("an archive", "unpack it"),
    ".acsv": ("an annotation of Slicer 3", "save it as .mrk.json in a present Slicer"),
}
_GENERAL = (".zip", ".pkl", ".npy", ".npz", ".mat", ".h5")
"""Endings that may be anything; other files are named first."""
_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_TEXT_ENDINGS = (".csv", ".txt", ".pts", ".xml", ".tps")
_JSON = (".json", ".geojson")


def foreign_landmarks(path: Path) -> str | None:
    """What a landmark file is that is not read, with the remedy; None for any other file.

    Args:
        path: The file, of any kind.

    Returns:
        ``"is ..., which is not read; remedy"``, to stand behind the path.
    """
    name = path.name.lower()
    found = next((known for ending, known in _BY_ENDING.items() if name.endswith(ending)), None)
    if found is None and name.endswith(_JSON):
        try:
            found = not_read(read_json(path))
        except UserError:
            return None
    if found is None and name.endswith(_TEXT_ENDINGS):
        found = _of_text(path)
    return None if found is None else f"is {found[0]}, which is not read; {found[1]}"


def first_foreign(source: Path) -> str | None:
    """The first file below a folder that is known and not read, with what to do, as one sentence."""
    files = find_files(source, (*_BY_ENDING, *_JSON, *_TEXT_ENDINGS))
    for path in sorted(files[:500], key=lambda path: path.suffix.lower() in _GENERAL):
        if said := foreign_landmarks(path):
            return f"{path} {said}"
    return None


def _of_text(path: Path) -> tuple[str, str] | None:
    """What a text is by its beginning."""
    try:
        text = read_text(path)[:20_000]
    except LandmarkFileError:
        return None
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    first = lines[0] if lines else ""
    name = path.name.lower()
    if name.endswith(".xml"):
        return _of_xml(text)
    if "region_shape_attributes" in first:
        return "a table of VIA (VGG Image Annotator)", _AS_TABLE
    if name.endswith(".csv") and re.match(r"scorer[,;\t]", first):
        return "a DeepLabCut table", "write its columns as case,NAME_x,NAME_y of pixels, a line for each picture"
    if name.endswith(".pts") and "n_points" not in text:
        return "a .pts file of another kind than 300-W's (n_points: N, {, x y, })", _AS_TABLE
    if name.endswith(".txt"):
        return _of_txt(lines)
    return None


def _of_txt(lines: list[str]) -> tuple[str, str] | None:
    if lines and all(re.fullmatch(rf"\d+(?: {_NUMBER}){{4,}}", line) for line in lines[:50]):
        values = [float(text) for line in lines[:50] for text in line.split()[1:5]]
        if all(0 <= value <= 1 for value in values):
            return "a YOLO label", "export COCO keypoints"
    if lines and all(re.fullmatch(rf"{_NUMBER}(?:[,;\s]+{_NUMBER}){{2}}", line) for line in lines[:50]):
        return "a text of x,y,z without names and coordinate system", (
            "save the points as a .csv with the columns case,landmark,x_voxel,y_voxel,z_voxel, or x_ras_mm, ..."
        )
    return None


def _of_xml(text: str) -> tuple[str, str] | None:
    root = re.search(r"<\s*([A-Za-z_][\w.-]*)", re.sub(r"<[?!][^>]*>", "", text))
    kinds = {
        "annotation": (
            "Pascal VOC or labelme XML, which holds boxes or polygons",
            "export COCO keypoints or labelme JSON",
        ),
        "dataset": ("dlib's XML", _AS_TABLE),
        "point_set_file": ("an MITK point set", "save it as .fcsv or .mrk.json, or as a .csv"),
        "namedpointset": ("a point set of Fiji's Name Landmarks", _AS_TABLE),
    }
    if root is None or root[1].lower() == "annotations":
        return None  # CVAT's, whose reader says what is wrong
    return kinds.get(root[1].lower(), (f"XML of an unknown kind (<{root[1][:40]}>)", _AS_TABLE))
