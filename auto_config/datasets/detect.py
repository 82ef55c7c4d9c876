"""Which format a path is, and the data set it holds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from auto_config.bundle_scripts.landmarks import duplicate_names, name_problem
from auto_config.datasets.cohort_csv import is_cohort_csv, read_cohort_csv
from auto_config.datasets.datalist import is_datalist, read_datalist
from auto_config.datasets.entries import Entry, Reading, absolute, find_files, natural_key
from auto_config.datasets.images import IMAGE_SUFFIXES
from auto_config.datasets.markups_folder import (
    LANDMARK_ENDINGS,
    count_landmark_files,
    read_images_only,
    read_markups_folder,
)
from auto_config.datasets.model import Case, Dataset, Problem
from auto_config.datasets.names import name_variants, similar_name
from auto_config.errors import UserError

FORMATS = (*LANDMARK_ENDINGS, "csv", "datalist", "images")
"""Names of the formats: folders of ``.mrk.json``, ``.fcsv`` or inline ``.json`` files, a cohort CSV, a MONAI datalist,
and images without any points."""


Missing = Literal["unknown", "absent"]
"""Status of a landmark that one case's file lacks."""


def detect_format(source: Path) -> tuple[str, Path]:
    """Say which format a path is.

    Landmark files in a folder come first, then a datalist, then a table, then images alone.

    Args:
        source: A folder, a CSV or a JSON file.

    Returns:
        The name of the format, and the path to read: `source`, or the one datalist or table in it.

    Raises:
        UserError: Nothing that can be read, or several possibilities.
    """
    if source.is_file():
        if source.suffix.lower() == ".json":
            return "datalist", source
        if source.suffix.lower() in (".csv", ".tsv"):
            return "csv", source
        raise UserError(f"{source}: not a data set; give a folder, a .csv table or a datalist .json")
    if not source.is_dir():
        raise UserError(f"{source}: no such file or folder; check the path")
    filled = [name for name in LANDMARK_ENDINGS if count_landmark_files(source, name)]
    if len(filled) > 1:
        endings = " and ".join(LANDMARK_ENDINGS[name] for name in filled)
        raise UserError(f"{source}: holds {endings} files; choose with --format {' or --format '.join(filled)}")
    if filled:
        return filled[0], source
    for name, ending, fits in (("datalist", ".json", is_datalist), ("csv", ".csv", is_cohort_csv)):
        found = [path for path in sorted(source.glob(f"*{ending}")) if fits(path)]
        if len(found) > 1:
            listed = " and ".join(path.name for path in found)
            raise UserError(f"{source}: holds {listed}; give the path of the one to read")
        if found:
            return name, found[0]
    if find_files(source, IMAGE_SUFFIXES):
        return "images", source
    raise UserError(
        f"{source}: holds neither landmarks (.mrk.json, .fcsv, .csv, datalist .json) nor images "
        f"({', '.join(IMAGE_SUFFIXES)}); check the path"
    )


def read_dataset(
    source: str | Path,
    *,
    format: str | None = None,
    missing: Missing = "unknown",
    landmarks: Sequence[str] | None = None,
) -> tuple[Dataset, list[Problem]]:
    """Read a data set of any supported format.

    Cases whose files are wrong are left out with an error; an image without landmarks, or landmarks without image, are
    left out with a warning. No image is opened but for the header where points are in voxels.

    Args:
        source: A folder, a cohort table or a datalist.
        format: One of `FORMATS`; detected if None.
        missing: Status of a name that one case's file lacks: ``"unknown"`` or ``"absent"``.
        landmarks: Names to keep, in this order; all if None. Names for a folder of images without points, whose
            cases then have `Case.landmarks` None.

    Returns:
        The data set, its cases in natural order of names and all with `Dataset.names`, and the problems found.

    Raises:
        UserError: The source as a whole cannot be read: no such path, no such format, nothing in it.
    """
    source = absolute(Path(source))
    if missing not in ("unknown", "absent"):
        raise UserError(f"--missing is {missing!r}; allowed are unknown and absent")
    if format is not None and format not in FORMATS:
        raise UserError(f"--format is {format!r}; allowed are {', '.join(FORMATS)}")
    _check_wanted(landmarks)
    name, path = _chosen(source, format)
    if name == "images":
        if not landmarks:
            raise UserError(
                f"{source}: holds images but no landmarks; add landmark files beside them, or start annotating with "
                "--landmarks NAME,NAME,..."
            )
        reading = read_images_only(path)
        if not reading.entries:
            raise UserError(f"{source}: holds no image; allowed are {', '.join(IMAGE_SUFFIXES)}")
    elif name == "datalist":
        reading = read_datalist(path)
    elif name == "csv":
        reading = read_cohort_csv(path)
    else:
        reading = read_markups_folder(path, name)
    return _assemble(source, name, reading, missing, landmarks)


def _check_wanted(landmarks: Sequence[str] | None) -> None:
    if landmarks is None:
        return
    if problem := next(filter(None, map(name_problem, landmarks)), None):
        raise UserError(f"--landmarks: {problem}")
    if repeated := duplicate_names(landmarks):
        raise UserError(f"--landmarks: {repeated[0]!r} occurs more than once; name each landmark once")


def _chosen(source: Path, forced: str | None) -> tuple[str, Path]:
    """The format and the path to read."""
    if forced is None:
        return detect_format(source)
    if not source.exists():
        raise UserError(f"{source}: no such file or folder; check the path")
    if forced not in ("csv", "datalist"):
        if not source.is_dir():
            raise UserError(f"{source}: format {forced!r} needs a folder; give the folder, or another --format")
        return forced, source
    if source.is_file():
        return forced, source
    fits = is_datalist if forced == "datalist" else is_cohort_csv
    found = [path for path in sorted(source.glob("*.json" if forced == "datalist" else "*.csv")) if fits(path)]
    if len(found) != 1:
        raise UserError(f"{source}: holds {len(found)} files of format {forced!r}; give the path of the one to read")
    return forced, found[0]


def _assemble(
    source: Path,
    format_name: str,
    reading: Reading,
    missing: Missing,
    wanted: Sequence[str] | None,
) -> tuple[Dataset, list[Problem]]:
    """Bring the landmarks of all cases into one order, and look at the names."""
    problems = list(reading.problems)
    entries = _unique(reading.entries, problems)
    entries = sorted(entries, key=lambda entry: natural_key(entry.name))
    if format_name != "images":
        entries = [entry for entry in entries if _has_landmarks(entry, missing, problems)]
    names = tuple(wanted) if wanted is not None else reading.names or _all_names(entries)
    if format_name != "images":
        problems += _name_problems(entries, names, missing, source, everything=wanted is None)
    cases = tuple(
        Case(
            name=entry.name,
            image=tuple(absolute(path) for path in entry.image),
            landmarks=None if entry.landmarks is None else entry.landmarks.ordered(names, missing),
            split=entry.split,
            fold=entry.fold,
            group=entry.group,
        )
        for entry in entries
    )
    if not cases and not any(problem.severity == "error" for problem in problems):
        problems.append(Problem("error", f"{source}: no case has both an image and landmarks; make their names equal"))
    return Dataset(source, format_name, names, cases, spatial_dims=3), problems


def _unique(entries: list[Entry], problems: list[Problem]) -> list[Entry]:
    """Leave out cases whose name another one has, with an error."""
    repeated = set(duplicate_names(entry.name.casefold() for entry in entries))
    for entry in entries:
        if entry.name.casefold() in repeated:
            message = f"{entry.image[0]}: another case has the name {entry.name!r} too (upper and lower case are one); "
            problems.append(Problem("error", f"{message}give each case its own name", entry.name))
    return [entry for entry in entries if entry.name.casefold() not in repeated]


def _has_landmarks(entry: Entry, missing: str, problems: list[Problem]) -> bool:
    """Whether the case can be used; a file without any landmark is one only where missing names are absent."""
    if entry.landmarks is not None and (len(entry.landmarks) or missing == "absent"):
        return True
    message = f"{entry.label}: holds no landmark; annotate the case, until then it is left out"
    problems.append(Problem("warning", message, entry.name))
    return False


def _all_names(entries: list[Entry]) -> tuple[str, ...]:
    """All names in the order in which the cases have them; numbers in the order of numbers."""
    names = list(
        dict.fromkeys(name for entry in entries if entry.landmarks is not None for name in entry.landmarks.names)
    )
    return tuple(sorted(names, key=int) if all(name.isdecimal() for name in names) else names)


def _name_problems(
    entries: list[Entry], names: tuple[str, ...], missing: str, source: Path, *, everything: bool
) -> list[Problem]:
    """Names that differ between cases: variants of one name are an error, a name that some cases lack a warning."""
    holders = {
        name: [entry for entry in entries if entry.landmarks is not None and name in entry.landmarks.names]
        for name in dict.fromkeys([*names, *_all_names(entries)])
    }
    problems = []
    for first, second in name_variants(list(holders)):
        if {entry.name for entry in holders[first]} & {entry.name for entry in holders[second]}:
            continue  # both in one case: two landmarks
        if not holders[first] or not holders[second]:
            continue
        rare, common = sorted((first, second), key=lambda name: len(holders[name]))
        message = (
            f"{holders[rare][0].label}: landmark {rare!r} is called {common!r} in {len(holders[common])} other cases; "
            "rename it, or they become two landmarks"
        )
        problems.append(Problem("error", message, holders[rare][0].name, rare))
    for name in names:
        count = len(holders[name])
        if not count:
            message = (
                f"{source}: landmark {name!r} is in no case; correct the name, there are {', '.join(holders)[:200]}"
            )
            problems.append(Problem("error", message, None, name))
        elif count < len(entries):
            holding = {entry.name for entry in holders[name]}
            without = next(entry for entry in entries if entry.name not in holding)
            own = set() if without.landmarks is None else set(without.landmarks.names)
            slip = similar_name(name, [other for other in own if not holding & {e.name for e in holders[other]}])
            message = (
                f"{without.label}: landmark {name!r} is not in this file, and in {count} of {len(entries)} cases only; "
                + (f"if {slip!r} is meant, rename it, otherwise it is " if slip else "it is ")
                + f"taken as {missing} in the others, choose with --missing unknown or absent"
            )
            problems.append(Problem("warning", message, without.name, name))
        elif not any(entry.landmarks is not None and _is_present(entry, name) for entry in entries):
            message = f"{source}: landmark {name!r} is present in no case; leave it out with --landmarks"
            problems.append(Problem("error", message, None, name))
    left_out = [] if everything else [name for name in holders if name not in names]
    if left_out:
        message = f"{source}: {len(left_out)} landmarks are left out by choice: {', '.join(left_out)[:200]}"
        problems.append(Problem("warning", message))
    elif unexpected := [name for name in holders if name not in names]:
        message = (
            f"{holders[unexpected[0]][0].label}: landmark {unexpected[0]!r} is not in the list 'landmarks' of "
            f"{source.name}; add it there or rename it"
        )
        problems.append(Problem("error", message, holders[unexpected[0]][0].name, unexpected[0]))
    return problems


def _is_present(entry: Entry, name: str) -> bool:
    landmarks = entry.landmarks
    return landmarks is not None and name in landmarks.names and bool(landmarks.present[landmarks.names.index(name)])
