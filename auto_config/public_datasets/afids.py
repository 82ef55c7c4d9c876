"""AFIDs: T1 brain MR with 32 anatomical fiducials, a point set of each of several raters and their mean.

BIDS sets (AFIDs-HCP, AFIDs-OASIS, LHSCPD, SNSX): ``SET/sub-X/anat/*_T1w.nii.gz``, the ground truth in
``SET/derivatives/afids_groundtruth/sub-X/anat/*_desc-groundtruth_afids.fcsv``, single raters in
``SET/derivatives/afids_rater/...desc-raterNN_afids.fcsv``. Lau et al. 2019, Taha et al. 2023 (doi
10.1038/s41597-023-02330-9); the split of nnLandmark (Ertl et al. 2026).

A fiducial is known by its number, 1 to 32, in the column ``label``: its description is written in several ways.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from pathlib import Path

import numpy as np

from auto_config.bundle_scripts.points.control_points import ControlPoint
from auto_config.bundle_scripts.points.fcsv_files import fcsv_points
from auto_config.bundle_scripts.points.landmarks import PRESENT, UNKNOWN, LandmarkFileError, LandmarkSet
from auto_config.datasets.images import read_header
from auto_config.datasets.model.dataset import Problem
from auto_config.datasets.model.properties import Properties
from auto_config.errors import UserError
from auto_config.public_datasets.shared.benchmark import (
    BenchmarkCase,
    BenchmarkReading,
    MissingFile,
    SourceImage,
    in_order,
)
from auto_config.public_datasets.shared.files import absence, natural

LAYOUT = "SET/sub-X/anat/*_T1w.nii.gz with SET/derivatives/afids_groundtruth/sub-X/anat/*_afids.fcsv"
DOWNLOAD = "get its set from github.com/afids (AFIDs-HCP, AFIDs-OASIS) or OpenNeuro (LHSCPD, SNSX)"

NAMES = (
    "AC",
    "PC",
    "infracollicular sulcus",
    "PMJ",
    "superior interpeduncular fossa",
    "R superior LMS",
    "L superior LMS",
    "R inferior LMS",
    "L inferior LMS",
    "culmen",
    "intermammillary sulcus",
    "R MB",
    "L MB",
    "pineal gland",
    "R LV at AC",
    "L LV at AC",
    "R LV at PC",
    "L LV at PC",
    "genu of CC",
    "splenium of CC",
    "R AL temporal horn",
    "L AL temporal horn",
    "R superior AM temporal horn",
    "L superior AM temporal horn",
    "R inferior AM temporal horn",
    "L inferior AM temporal horn",
    "R indusium griseum origin",
    "L indusium griseum origin",
    "R ventral occipital horn",
    "L ventral occipital horn",
    "R olfactory sulcal fundus",
    "L olfactory sulcal fundus",
)
"""Names of the fiducials 1 to 32."""

_MIDDLE = {
    "AC": "anterior commissure",
    "PC": "posterior commissure",
    "infracollicular sulcus": "infracollicular sulcus, below the inferior colliculi",
    "PMJ": "pontomesencephalic junction",
    "superior interpeduncular fossa": "superior interpeduncular fossa",
    "culmen": "culmen of the cerebellar vermis",
    "intermammillary sulcus": "intermammillary sulcus, between the mammillary bodies",
    "pineal gland": "pineal gland",
    "genu of CC": "genu of the corpus callosum",
    "splenium of CC": "splenium of the corpus callosum",
}
_SIDES = {
    "superior LMS": "superior lateral mesencephalic sulcus",
    "inferior LMS": "inferior lateral mesencephalic sulcus",
    "MB": "mammillary body",
    "LV at AC": "lateral ventricle at the level of the anterior commissure",
    "LV at PC": "lateral ventricle at the level of the posterior commissure",
    "AL temporal horn": "anterolateral temporal horn of the lateral ventricle",
    "superior AM temporal horn": "superior anteromedial temporal horn of the lateral ventricle",
    "inferior AM temporal horn": "inferior anteromedial temporal horn of the lateral ventricle",
    "indusium griseum origin": "origin of the indusium griseum",
    "ventral occipital horn": "ventral occipital horn of the lateral ventricle",
    "olfactory sulcal fundus": "fundus of the olfactory sulcus",
}
DESCRIPTIONS = _MIDDLE | {
    f"{letter} {name}": f"{side} {text}"
    for letter, side in (("R", "right"), ("L", "left"))
    for name, text in _SIDES.items()
}
"""What each fiducial is, for the atlas of a bundle: its abbreviations written out."""

TEST = frozenset(
    (
        *("123925", "163129", "178950", "245333", "856766"),
        *("0177", "0216", "0249", "0266", "0345"),
        *("093", "113", "124", "131", "139", "141", "151"),
        *("C005", "C009", "C013", "C018", "C031"),
    )
)
"""The 22 published test subjects: HCP, OASIS, LHSCPD, SNSX."""

_SAME_MEAN_MM = 0.1
"""Raters whose mean is this close to the ground truth everywhere are those that it was made of."""
_FAR_MM = 5.0
"""A rater whose median distance from the ground truth is above this has worked in another frame; raters of one frame
are 1 mm apart."""


def read(folder: Path) -> BenchmarkReading:
    """Read one set of the AFIDs, or a folder with several of them.

    Args:
        folder: A set, or a folder that holds sets up to three levels below it.

    Returns:
        The cases, called ``sub-X``, with the raters whose points are in the frame of the image.

    Raises:
        UserError: There is no ground truth in it.
    """
    sets = [
        truth.parent.parent
        for level in range(4)
        for truth in natural(folder.glob("*/" * level + "derivatives/afids_groundtruth"))
    ]
    cases: list[BenchmarkCase] = []
    problems: list[Problem] = []
    missing: list[MissingFile] = []
    for one in sets:
        for subject in natural((one / "derivatives" / "afids_groundtruth").glob("sub-*")):
            found = _case(one, subject.name)
            cases += [found] if isinstance(found, BenchmarkCase) else []
            missing += [found] if isinstance(found, MissingFile) else []
            problems += [found] if isinstance(found, Problem) else []
    if not (cases or problems or missing):
        raise UserError(f"{folder}: holds no AFIDs; give the folder with {LAYOUT}")
    checked = []
    for case in cases:
        raters, left_out = _same_frame(case)
        checked.append(BenchmarkCase(case.name, case.image, case.landmarks, case.section, raters=raters))
        problems += left_out
    notes = [
        "Ground truth is the mean of several raters; single raters are in 'raters' where they are in the same frame.",
        "Split of nnLandmark (Ertl et al. 2026): 22 test subjects of HCP, OASIS, LHSCPD and SNSX, 110 others.",
    ]
    pairs = tuple((name, f"L{name[1:]}") for name in NAMES if name.startswith("R "))
    properties = Properties(pairs=pairs, descriptions=DESCRIPTIONS, notes=tuple(notes))
    return BenchmarkReading(NAMES, in_order(checked), properties, tuple(problems), tuple(missing))


def _case(one: Path, subject: str) -> BenchmarkCase | MissingFile | Problem:
    """One subject of a set, with all its raters."""
    truth = _afids(one, "afids_groundtruth", subject, "*desc-groundtruth_afids.fcsv")
    if not truth:
        path = one / "derivatives" / "afids_groundtruth" / subject / "anat"
        return MissingFile(subject, path / f"{subject}_space-T1w_desc-groundtruth_afids.fcsv", f"not there; {DOWNLOAD}")
    images = natural((one / subject / "anat").glob("*_T1w.nii.gz")) + natural(
        (one / subject / "anat").glob("*_T1w.nii")
    )
    plain = [path for path in images if path.name.split(".")[0] == f"{subject}_T1w"]
    image = (plain or images or [one / subject / "anat" / f"{subject}_T1w.nii.gz"])[0]
    raters = _afids(one, "afids_rater", subject, "*desc-rater*_afids.fcsv")
    for path in (image, truth[0], *raters):
        if reason := absence(path, DOWNLOAD):
            return MissingFile(subject, path, reason)
    try:
        affine = read_header(image).affine
        return BenchmarkCase(
            name=subject,
            image=SourceImage(image),
            landmarks=read_afids(truth[0], affine),
            section="test" if subject.removeprefix("sub-") in TEST else "training",
            raters={_rater(path): read_afids(path, affine) for path in raters},
        )
    except (LandmarkFileError, UserError) as error:
        return Problem("error", str(error), subject)


def _afids(one: Path, derivative: str, subject: str, pattern: str) -> list[Path]:
    """Files of a subject, those in the frame of the T1 image only where others lie beside them."""
    found = natural((one / "derivatives" / derivative / subject / "anat").glob(pattern))
    return [path for path in found if "space-T1w" in path.name] or found


def _rater(path: Path) -> str:
    """``rater01`` of ``sub-X_space-T1w_desc-rater01_afids.fcsv``."""
    return next(part[len("desc-") :] for part in path.name.split("_") if part.startswith("desc-"))


def read_afids(path: Path, image_affine: np.ndarray) -> LandmarkSet:
    """Read the fiducials of a file by their numbers.

    Args:
        path: ``.fcsv`` in RAS, LPS or IJK, as its header says.
        image_affine: (4, 4) voxel to RAS mm of its image, for points in IJK.

    Returns:
        All of `NAMES` in RAS mm, unknown where the file has none.

    Raises:
        LandmarkFileError: The file is wrong, or has a fiducial twice or one that is not 1 to 32.
    """
    points = np.full((len(NAMES), 3), np.nan)
    status = np.full(len(NAMES), UNKNOWN)
    seen: set[int] = set()
    for row in fcsv_points(path, image_affine=image_affine):
        index = _index(row, path)
        if index in seen:
            raise LandmarkFileError(f"{path}: fiducial {index + 1} occurs more than once; keep one of them")
        seen.add(index)
        status[index] = row.status
        if row.point is not None:
            points[index] = row.point
    return LandmarkSet(NAMES, points, status)


def _index(row: ControlPoint, path: Path) -> int:
    """Row of a fiducial in `NAMES`: by its number, else by its name."""
    known = {name.casefold(): index for index, name in enumerate(NAMES)}
    if row.label.isdecimal() and 1 <= int(row.label) <= len(NAMES):
        return int(row.label) - 1
    for text in (row.label, row.description):
        if text.casefold() in known:
            return known[text.casefold()]
    raise LandmarkFileError(
        f"{path}: label {row.label!r} ({row.description!r}) is no fiducial; allowed are the numbers 1 to {len(NAMES)}"
    )


def _same_frame(case: BenchmarkCase) -> tuple[dict[str, LandmarkSet], list[Problem]]:
    """The raters whose points are in the frame of the ground truth, and a warning for each of the others.

    Some OASIS subjects (0101, 0117, 0239, 0249, 0395) have six files of raters, three of them in another frame.
    """
    kept = made_of(case.landmarks, case.raters)
    problems = []
    for name in case.raters:
        if name not in kept:
            distance = _distances(case.landmarks, case.raters[name])
            message = (
                f"{case.name}: {name} is left out, its points are {np.nanmedian(distance):.1f} mm (median) from the "
                "ground truth and no part of its mean, so they are in the frame of another image"
            )
            problems.append(Problem("warning", message, case.name))
    return {name: case.raters[name] for name in case.raters if name in kept}, problems


def made_of(truth: LandmarkSet, raters: Mapping[str, LandmarkSet]) -> tuple[str, ...]:
    """Say which raters are in the frame of the ground truth.

    Those of which it is the mean, tried from all raters down to two; where it is the mean of none, those whose median
    distance from it is at most 5 mm.

    Args:
        truth: The ground truth, RAS mm.
        raters: Landmarks of each rater, with the same names.

    Returns:
        Names of raters, in their order.
    """
    for count in range(len(raters), 1, -1):
        fits = {}
        for group in combinations(raters, count):
            mean = np.mean([raters[name].points for name in group], axis=0)
            distance = np.linalg.norm(mean - truth.points, axis=1)
            if np.isfinite(distance).any() and np.nanmax(distance) < _SAME_MEAN_MM:
                fits[group] = float(np.nanmax(distance))
        if fits:
            return min(fits, key=lambda group: fits[group])
    return tuple(
        name for name in raters if not (np.nan_to_num(np.nanmedian(_distances(truth, raters[name])), nan=0.0) > _FAR_MM)
    )


def _distances(truth: LandmarkSet, rater: LandmarkSet) -> np.ndarray:
    """Distances in mm of the landmarks that both have."""
    both = (truth.status == PRESENT) & (rater.status == PRESENT)
    return np.linalg.norm(truth.points[both] - rater.points[both], axis=1) if both.any() else np.array([np.nan])
