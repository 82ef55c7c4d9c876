"""From what a format module found to one `Dataset`: names in one order, places of cases, units, and their problems."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from auto_config.bundle_scripts.points.landmarks import LandmarkSet, duplicate_names, name_problem
from auto_config.choices import Coordinates, Missing, NameField
from auto_config.datasets.assembly.case_table import FILE_NAME as CASE_TABLE
from auto_config.datasets.assembly.case_table import place_entries
from auto_config.datasets.assembly.cohort_names import mixed_names, without_stems
from auto_config.datasets.assembly.groups import with_bids_groups
from auto_config.datasets.assembly.missing_marks import parsed_missing_value, without_marks
from auto_config.datasets.assembly.name_checks import all_names, name_problems
from auto_config.datasets.assembly.point_names import with_names
from auto_config.datasets.detect import chosen_format, detect_format, unfitting_files
from auto_config.datasets.foreign import first_foreign
from auto_config.datasets.formats.shared.entries import Entry, Reading, absolute, natural_key
from auto_config.datasets.formats.shared.named_pictures import root_of
from auto_config.datasets.formats.shared.options import ReadOptions
from auto_config.datasets.images import Header
from auto_config.datasets.model.dataset import Case, Dataset, Problem
from auto_config.datasets.model.properties import FILE_NAME as PROPERTIES_FILE
from auto_config.datasets.model.properties import Properties, read_properties
from auto_config.datasets.model.units import checked_pixel_spacing, declared_pixel_spacing, unit_of, unit_problems
from auto_config.datasets.option_effects import idle_options, written_systems
from auto_config.errors import UserError


def read_dataset(
    source: str | Path,
    *,
    format: str | None = None,
    missing: Missing = "unknown",
    landmarks: Sequence[str] | None = None,
    coordinates: Coordinates | None = None,
    pixel_spacing: float | Sequence[float] | None = None,
    missing_value: str | float | None = None,
    names: NameField | None = None,
) -> tuple[Dataset, list[Problem]]:
    """Read a data set of any supported format.

    Cases whose files are wrong are left out with an error; an image without landmarks, or landmarks without image, are
    left out with a warning. No image is opened but for the header where points are in voxels, or where it is a picture.

    Args:
        source: A folder, a cohort table or a JSON file.
        format: One of `FORMATS`; detected if None.
        missing: Status of a name that one case's file lacks: ``"unknown"`` or ``"absent"``.
        landmarks: Names to keep, in this order; all if None. Names for a folder of images without points, whose
            cases then have `Case.landmarks` None.
        coordinates: What the numbers of a table or an old ``.fcsv`` are, if it does not say it: ``"ras"``, ``"lps"``,
            ``"voxel"``, ``"pixel"`` or, of pictures, ``"mm"``.
        pixel_spacing: Size of a pixel of pictures in mm, one number or x and y; None for what their files say.
        missing_value: Coordinates, as the files have them, that mark a missing point, which becomes what `missing`
            says: ``"0"``, ``"-1,-1"``, several as ``"0/-1"``; ``"none"`` if all points are real.
        names: What points of Slicer's files are called by: ``"labels"``, ``"descriptions"`` or their ``"order"`` in the
            file; chosen for all files at once, see `chosen_names`, if None.

    Returns:
        The data set, its cases in natural order of names and all with `Dataset.names`, and the problems found.

    Raises:
        UserError: The source as a whole cannot be read: no such path, no such format, nothing in it.
    """
    source = absolute(Path(source))
    if missing not in ("unknown", "absent"):
        raise UserError(f"--missing is {missing!r}; allowed are unknown and absent")
    _check_wanted(landmarks)
    given = [pixel_spacing] if isinstance(pixel_spacing, int | float) else pixel_spacing
    options = ReadOptions(coordinates, checked_pixel_spacing(given), names=names)
    marks = parsed_missing_value(missing_value)
    row, path = detect_format(source) if format is None else chosen_format(source, format)
    if row.name == "images" and not landmarks:
        raise UserError(
            f"{source}: holds images but no landmarks{_why_unread(source, options)}; add landmark files beside them, "
            "or start annotating with --landmarks NAME,NAME,..."
        )
    folder = path if path.is_dir() else root_of(path) if row.inner_folder else path.parent
    declared, properties = None, Properties()
    if (folder / PROPERTIES_FILE).is_file():
        declared, properties = read_properties(folder / PROPERTIES_FILE)
        if options.pixel_spacing is None:
            options = replace(options, pixel_spacing=declared_pixel_spacing(folder / PROPERTIES_FILE))
    try:
        reading = row.read(path, replace(options, many=properties.many))
    except UserError as error:
        raise UserError(_one_line(str(error))) from error
    options = replace(options, pixel_spacing=options.pixel_spacing or reading.pixel_spacing)
    if reading.properties is not None:
        properties = reading.properties
    reading = replace(reading, names=declared if reading.names is None else reading.names)
    said = {
        "coordinates": coordinates,
        "missing": missing if missing != "unknown" else None,
        "missing_value": missing_value,
        "pixel_spacing": pixel_spacing,
    }
    idle = idle_options(row, reading, [name for name, value in said.items() if value is not None], source)
    named_entries, named, defined = _named(reading, names, source)
    properties = replace(properties, descriptions={**defined, **properties.descriptions})
    written = written_systems(row, reading, options)
    entries, marked = without_marks(
        named_entries, marks, missing=missing, written=written, options=options, source=source
    )
    reading = replace(reading, entries=entries, problems=[*reading.problems, *idle, *named, *marked])
    if (folder / CASE_TABLE).is_file():
        entries, problems = place_entries(folder / CASE_TABLE, reading.entries)
        reading = replace(reading, entries=entries, problems=[*reading.problems, *problems])
    return _assemble(source, row.name, reading, properties, missing, landmarks, options)


def _named(
    reading: Reading, field: NameField | None, source: Path
) -> tuple[list[Entry], list[Problem], dict[str, str]]:
    """The entries with the names of Slicer's points, which are chosen over all files, and what these points are."""
    if field is not None and not any(entry.unnamed for entry in reading.entries):
        raise UserError(
            f"{source}: --names is for control points of Slicer, and no .mrk.json or .fcsv was read; leave it out"
        )
    return with_names(reading.entries, field, source)


def _why_unread(source: Path, options: ReadOptions) -> str:
    """What is wrong with a file of landmarks that lies beside images and cannot be read, if there is one."""
    if said := first_foreign(source):
        return f" that can be read ({said})"
    for row, path in unfitting_files(source):
        try:
            row.read(path, options)
        except UserError as error:  # noqa: PERF203 - a handful of files
            return f" that can be read ({_one_line(str(error))})"
    return ""


def _check_wanted(landmarks: Sequence[str] | None) -> None:
    if landmarks is None:
        return
    if problem := next(filter(None, map(name_problem, landmarks)), None):
        raise UserError(f"--landmarks: {problem}")
    if repeated := duplicate_names(landmarks):
        raise UserError(f"--landmarks: {repeated[0]!r} occurs more than once; name each landmark once")


def _assemble(  # noqa: PLR0917 - what `read_dataset` found, in that order
    source: Path,
    format_name: str,
    reading: Reading,
    properties: Properties,
    missing: Missing,
    wanted: Sequence[str] | None,
    options: ReadOptions,
) -> tuple[Dataset, list[Problem]]:
    """Bring the landmarks of all cases into one order, and look at the names."""
    problems = list(reading.problems)
    entries = _unique([entry for entry in reading.entries if _has_name(entry, problems)], problems)
    entries = sorted(entries, key=lambda entry: natural_key(entry.name))
    if format_name != "images":
        entries = [entry for entry in entries if _has_landmarks(entry, missing, problems)]
    labels_judged = False
    if wanted is None and reading.names is None and options.names is None:
        entries, counted = without_stems(entries, source)
        counted = counted + mixed_names(entries)
        labels_judged = any(problem.severity == "error" for problem in counted)
        problems += counted
    entries, grouped = with_bids_groups(entries, source)
    problems += grouped
    entries, properties = _lists_as_many(entries, properties, problems)
    unit: Literal["mm", "px"] = "mm"
    if reading.spatial_dims == 2:
        entries, unit = _of_one_unit(entries, options, problems)
    names = tuple(wanted) if wanted is not None else reading.names or all_names(entries)
    if format_name != "images":
        problems += name_problems(
            entries, names, missing, source, everything=wanted is None, labels_judged=labels_judged
        )
    cases = tuple(
        Case(
            name=entry.name,
            image=tuple(absolute(path) for path in entry.image),
            landmarks=None if entry.landmarks is None else entry.landmarks.ordered(names, missing),
            split=entry.split,
            fold=entry.fold,
            group=entry.group,
            pixel_spacing=options.pixel_spacing if reading.spatial_dims == 2 else None,
            raters={rater: found.ordered(names, missing) for rater, found in entry.raters.items()},
        )
        for entry in entries
    )
    if not cases and not any(problem.severity == "error" for problem in problems):
        problems.append(Problem("error", f"{source}: no case has both an image and landmarks; make their names equal"))
    properties = properties.for_names(names)
    dataset = Dataset(source, format_name, names, cases, reading.spatial_dims, unit, properties)
    return dataset, [replace(problem, message=_one_line(problem.message)) for problem in problems]


def _one_line(message: str) -> str:
    """A message with the signs that break a line written as they are in Python: files may be called anything."""
    return "".join(sign if sign == " " or not sign.isspace() else repr(sign)[1:-1] for sign in message)


def _has_name(entry: Entry, problems: list[Problem]) -> bool:
    """Whether the name of a case can be shown and written."""
    if entry.name.strip() and entry.name.isprintable():
        return True
    message = (
        f"{entry.label}: the name {entry.name!r} of the case with image {entry.image[0].name} is empty or has "
        "unprintable characters; rename it"
    )
    problems.append(Problem("error", message, repr(entry.name)))
    return False


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


def _lists_as_many(
    entries: list[Entry], properties: Properties, problems: list[Problem]
) -> tuple[list[Entry], Properties]:
    """Declare landmarks that are a list of points `many`; one that is a single point elsewhere is an error too."""
    sets = [(entry, entry.landmarks) for entry in entries if entry.landmarks is not None]
    listed = {name: entry for entry, landmarks in reversed(sets) for name in landmarks.instances}
    new = sorted(set(listed) - set(properties.many))
    if not new:
        return entries, properties
    for entry, landmarks in sets:
        for name in new:
            row = landmarks.names.index(name) if name in landmarks.names else None
            if row is not None and landmarks.present[row] and name not in landmarks.instances:
                message = (
                    f"{entry.label}: landmark {name!r} is one point, in {listed[name].label} it is a list of points; "
                    'correct one of them, or declare it in landmarks.json with "instances": "many"'
                )
                problems.append(Problem("error", message, entry.name, name))
    many = (*properties.many, *new)
    return [_with_many(entry, many) for entry in entries], replace(properties, many=many)


def _with_many(entry: Entry, many: Collection[str]) -> Entry:
    """The entry with the points of all names in `many` as instances."""

    def read(landmarks: LandmarkSet) -> LandmarkSet:
        return LandmarkSet.from_inline(landmarks.to_inline(), spatial_dims=landmarks.spatial_dims, many=many)

    landmarks = None if entry.landmarks is None else read(entry.landmarks)
    return replace(entry, landmarks=landmarks, raters={rater: read(found) for rater, found in entry.raters.items()})


def _of_one_unit(
    entries: list[Entry], options: ReadOptions, problems: list[Problem]
) -> tuple[list[Entry], Literal["mm", "px"]]:
    """Pictures with a known pixel size, or all of them in pixels where none has one; the others are errors."""
    headers: dict[str, Header] = {}
    for entry in entries:
        try:
            header = options.header(entry.image)
        except UserError as error:
            problems.append(Problem("error", str(error), entry.name))
            continue
        if len(header.shape) != 2:
            message = f"{header.path}: is a volume among pictures; put volumes and pictures into data sets of their own"
            problems.append(Problem("error", message, entry.name))
            continue
        headers[entry.name] = header
    found = unit_problems(headers)
    problems += found
    for problem in found:
        headers.pop(problem.case or "", None)
    return [entry for entry in entries if entry.name in headers], unit_of(list(headers.values()))
