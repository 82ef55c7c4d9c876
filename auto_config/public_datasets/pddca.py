"""PDDCA 1.4.1: head and neck CT with 5 bony landmarks, 33 of its 48 patients.

``CASE/img.nrrd`` and ``CASE/*.fcsv``, directly in the folder or in those of its parts; structures are other NRRD files
beside the image. Points are RAS as the header of the file says, the NRRD is in LPS: each is read by its own header.
Raudaschl et al. 2017 (imagenglab.com/newsite/pddca); split 26/7 of nnLandmark (Ertl et al. 2026).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from auto_config.bundle_scripts.points.fcsv_files import fcsv_points
from auto_config.bundle_scripts.points.landmarks import UNKNOWN, LandmarkFileError, LandmarkSet
from auto_config.datasets.images import read_header
from auto_config.datasets.model.dataset import Problem
from auto_config.datasets.model.properties import Properties
from auto_config.errors import UserError
from auto_config.public_datasets.shared.benchmark import (
    BenchmarkCase,
    BenchmarkReading,
    MissingFile,
    Section,
    SourceImage,
    in_order,
)
from auto_config.public_datasets.shared.files import absence, natural

LAYOUT = "CASE/img.nrrd with CASE/*.fcsv"
DOWNLOAD = "download all parts of PDDCA 1.4.1 from imagenglab.com/newsite/pddca and unpack them"

NAMES = ("chin", "mand_l", "mand_r", "odont_proc", "occip_bone")
DESCRIPTIONS = {
    "chin": "chin",
    "mand_l": "left condyle of the mandible",
    "mand_r": "right condyle of the mandible",
    "odont_proc": "odontoid process",
    "occip_bone": "occipital bone",
}
TEST = frozenset(f"0522c{number}" for number in ("0014", "0159", "0190", "0248", "0329", "0441", "0455"))
"""The 7 published test patients."""


def read(folder: Path) -> BenchmarkReading:
    """Read the data set.

    Args:
        folder: With a folder for each case, at most two levels below.

    Returns:
        The cases with landmarks, called as their folders.

    Raises:
        UserError: There are none.
    """
    places = natural({path.parent for level in ("*", "*/*", "*/*/*") for path in folder.glob(f"{level}/*.fcsv")})
    images = {path.parent for level in ("*", "*/*", "*/*/*") for path in folder.glob(f"{level}/img.nrrd")}
    if not places:
        raise UserError(f"{folder}: holds no PDDCA; give the folder with {LAYOUT}")
    cases: list[BenchmarkCase] = []
    problems: list[Problem] = []
    missing: list[MissingFile] = []
    for place in places:
        found = _case(place)
        if isinstance(found, MissingFile):
            missing.append(found)
        elif isinstance(found, Problem):
            problems.append(found)
        else:
            cases.append(found[0])
            problems += found[1]
    notes = ["Split of nnLandmark (Ertl et al. 2026): 26 training and 7 test patients."]
    if without := len(images - set(places)):
        notes.append(f"{without} patients have no landmarks and are left out.")
    properties = Properties(pairs=(("mand_l", "mand_r"),), descriptions=DESCRIPTIONS, notes=tuple(notes))
    return BenchmarkReading(NAMES, in_order(cases), properties, tuple(problems), tuple(missing))


def _case(place: Path) -> tuple[BenchmarkCase, list[Problem]] | MissingFile | Problem:
    """One patient; the points may be in one file or in several."""
    image, files = place / "img.nrrd", natural(place.glob("*.fcsv"))
    for path in (image, *files):
        if reason := absence(path, DOWNLOAD):
            return MissingFile(place.name, path, reason)
    problems = []
    points = np.full((len(NAMES), 3), np.nan)
    status = np.full(len(NAMES), UNKNOWN)
    seen: set[str] = set()
    try:
        affine = read_header(image).affine
        for path in files:
            for row in fcsv_points(path, image_affine=affine):
                name = _name(row.label) or _name(row.description) or _name(path.stem)
                if name is None:
                    message = f"{path}: label {row.label!r} is left out; the landmarks are {', '.join(NAMES)}"
                    problems.append(Problem("warning", message, place.name))
                    continue
                if name in seen:
                    raise UserError(f"{path}: landmark {name!r} occurs more than once; keep one of them")
                seen.add(name)
                status[NAMES.index(name)] = row.status
                if row.point is not None:
                    points[NAMES.index(name)] = row.point
    except (LandmarkFileError, UserError) as error:
        return Problem("error", str(error), place.name)
    section: Section = "test" if place.name.casefold() in TEST else "training"
    landmarks = LandmarkSet(NAMES, points, status)
    return BenchmarkCase(place.name, SourceImage(image), landmarks, section), problems


def _name(text: str) -> str | None:
    """The landmark that a label means."""
    plain = text.strip().casefold().replace(" ", "_").replace("-", "_")
    return plain if plain in NAMES else None
