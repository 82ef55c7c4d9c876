"""AFIDs in BIDS: T1 images of subjects, and the fiducials in a derivative.

``sub-X/anat/*_T1w.nii.gz`` with ``derivatives/afids_groundtruth/sub-X/anat/*_afids.fcsv``; single raters lie in
``derivatives/afids_rater/`` in files with ``desc-raterNN`` or ``desc-NAME`` in their names. The names are the
descriptions of the protocol (``AC``, ``PC``, ...).
"""

from __future__ import annotations

import re
from pathlib import Path

from auto_config.bundle_scripts.points.control_points import PointList
from auto_config.bundle_scripts.points.landmark_files import read_points
from auto_config.bundle_scripts.points.landmarks import LandmarkFileError, LandmarkSet
from auto_config.datasets.formats.shared.entries import Entry, Reading, absolute, find_files
from auto_config.datasets.formats.shared.options import ReadOptions
from auto_config.datasets.model.dataset import Problem
from auto_config.errors import UserError

_TRUTH = "derivatives/afids_groundtruth*"
_RATERS = "derivatives/afids_rater*"
_ENDING = "_afids.fcsv"


def is_afids_bids(source: Path) -> bool:
    """Whether a folder has the derivative with the fiducials."""
    return any(find_files(folder, [_ENDING]) for folder in source.glob(_TRUTH) if folder.is_dir())


def read_afids_bids(source: Path, options: ReadOptions) -> Reading:
    """Read a BIDS data set with fiducials.

    Args:
        source: Its folder.
        options: How to read.

    Raises:
        UserError: It has no fiducials.
    """
    truth = _by_subject([path for folder in sorted(source.glob(_TRUTH)) for path in find_files(folder, [_ENDING])])
    if not truth:
        raise UserError(f"{source}: has no files {_TRUTH}/sub-*/anat/*{_ENDING}; give the folder of a BIDS data set")
    raters = _by_subject([path for folder in sorted(source.glob(_RATERS)) for path in find_files(folder, [_ENDING])])
    reading = Reading([], [])
    for subject in sorted(path.name for path in source.glob("sub-*") if path.is_dir() and path.name not in truth):
        message = f"{source / subject}: has no fiducials in {_TRUTH}; add them, until then the case is left out"
        reading.problems.append(Problem("warning", message, subject))
    for subject, files in truth.items():
        images = find_files(source / subject, ["_t1w.nii.gz", "_t1w.nii"])
        if len(files) > 1 or len(images) > 1:
            listed = " and ".join(str(path.relative_to(source)) for path in (files if len(files) > 1 else images))
            message = f"{source}: {subject} has {listed}; keep one of them"
            reading.problems.append(Problem("error", message, subject))
            continue
        if not images:
            message = f"{source / subject}: holds no *_T1w.nii.gz; add it, until then the case is left out"
            reading.problems.append(Problem("warning", message, subject))
            continue
        try:
            landmarks = _read(files[0], images[0], options)
        except (LandmarkFileError, UserError) as error:
            reading.problems.append(Problem("error", str(error), subject))
            continue
        entry = Entry(subject, (absolute(images[0]),), None, str(files[0])).with_points(landmarks)
        for path in raters.get(subject, []):
            try:
                entry = entry.with_points(_read(path, images[0], options), _rater(path))
            except (LandmarkFileError, UserError) as error:  # noqa: PERF203 - one broken file is not the end
                reading.problems.append(Problem("error", str(error), subject))
        reading.entries.append(entry)
    return reading


def _by_subject(files: list[Path]) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for path in files:
        if match := re.match(r"sub-[^_]+", path.name):
            found.setdefault(match[0], []).append(path)
    return found


def _rater(path: Path) -> str:
    match = re.search(r"desc-([^_]+)", path.name)
    return match[1] if match else path.parent.name


def _read(path: Path, image: Path, options: ReadOptions) -> LandmarkSet | PointList:
    affine = options.header([image]).affine
    return read_points(path, image_affine=affine, many=options.many, system=options.slicer_system)
