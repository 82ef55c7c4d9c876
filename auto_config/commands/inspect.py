"""`inspect`: read a data set, check every case, say what it is and what is wrong with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from auto_config.bundle_scripts.landmarks import ABSENT, PRESENT, UNKNOWN
from auto_config.datasets import Case, Dataset, Problem, read_dataset
from auto_config.datasets.checks.cases import Outside, check_case, outside_absent
from auto_config.datasets.checks.cohort import cohort_problems
from auto_config.datasets.checks.duplicates import voxel_digest
from auto_config.datasets.checks.frames import CheckedCase, explain_frames, greys_of
from auto_config.datasets.formats.shared.options import Coordinates, NameField
from auto_config.datasets.images import Header, read_header, read_image
from auto_config.datasets.model.names import sided_pairs
from auto_config.datasets.model.units import unit_of
from auto_config.datasets.reading import Missing
from auto_config.errors import UserError
from auto_config.inspection.problems import counted, problem_lines, shortened
from auto_config.inspection.table import LandmarkRow, landmark_table
from auto_config.running.parallel import map_cases

PROBLEMS_FOUND = 2
_SHOWN_ROWS = 40


@dataclass(frozen=True)
class CaseReport:
    """What was found in one case.

    Args:
        case: The case, with landmarks outside its image turned absent where that was asked for.
        header: Header of its image, or None where it could not be read.
        problems: Its problems.
        picture: JPEG of slices with the points, or None.
        digest: Of its voxels, or None where they were not read.
        greys: Of its points, see `frame_checks.greys_of`; None where the voxels were not read.
    """

    case: Case
    header: Header | None
    problems: tuple[Problem, ...]
    picture: bytes | None = None
    digest: str | None = None
    greys: np.ndarray | None = None


def inspect(
    source: str | Path,
    *,
    report: str | Path | None = None,
    headers_only: bool = False,
    format: str | None = None,
    missing: Missing = "unknown",
    outside: Outside = "error",
    landmarks: Sequence[str] | None = None,
    coordinates: Coordinates | None = None,
    names: NameField | None = None,
    pixel_spacing: Sequence[float] | None = None,
    missing_value: str | None = None,
    workers: int | None = None,
) -> int:
    """Print what a data set is, and every problem found in it.

    Args:
        source: A folder, a cohort CSV or a datalist JSON.
        report: HTML file to write, with a picture of every case.
        headers_only: Do not read the voxels.
        format: Name of the format; detected if None.
        missing: Status of a name that one case's file lacks.
        outside: What a point outside its image is.
        landmarks: Names to keep, in this order.
        coordinates: What the numbers of a table are, see `read_dataset`.
        names: What points of Slicer's files are called by, see `read_dataset`.
        pixel_spacing: Pixel size of pictures in mm, one number or (x, y).
        missing_value: What marks a missing point, see `read_dataset`.
        workers: Processes, see `parallel.map_cases`.

    Returns:
        0, or 2 when errors were found.

    Raises:
        UserError: The source as a whole cannot be read, or the options do not fit.
    """
    if outside not in ("error", "absent"):
        raise UserError(f"--outside is {outside!r}; allowed are error and absent")
    if report is not None and headers_only:
        raise UserError("--report shows voxels, --headers_only reads none; leave one of them out")
    if report is not None and not Path(report).absolute().parent.is_dir():
        raise UserError(f"--report {report}: the folder does not exist; create it or choose another")
    console = Console(highlight=False, soft_wrap=True)
    dataset, problems = read_dataset(
        source,
        format=format,
        missing=missing,
        landmarks=landmarks,
        coordinates=coordinates,
        names=names,
        pixel_spacing=pixel_spacing,
        missing_value=missing_value,
    )
    reports = inspect_cases(
        dataset, outside=outside, headers_only=headers_only, pictures=report is not None, workers=workers
    )
    problems += [problem for found in reports for problem in found.problems]
    headers = {found.case.name: found.header for found in reports if found.header is not None}
    digests = {found.case.name: found.digest for found in reports if found.digest is not None}
    problems += cohort_problems(dataset, [found.case for found in reports], headers, digests, problems)
    summary = summarize(dataset, reports)
    for title, text in summary:
        console.print(f"[bold]{title:>18}[/bold]  {escape(text)}")
    rows = landmark_table([found.case for found in reports], dataset.names, dataset.spatial_dims)
    _print_landmarks(console, rows, dataset.unit)
    problems = [relative_to(problem, dataset.source) for problem in problems]
    _print_problems(console, problems)
    if report is not None:
        from auto_config.inspection.report import write_report

        write_report(Path(report), summary, problems, reports, (rows, dataset.unit))
        console.print(f"report with pictures: {escape(str(report))}")
    return PROBLEMS_FOUND if any(problem.severity == "error" for problem in problems) else 0


def inspect_cases(
    dataset: Dataset, *, outside: Outside, headers_only: bool, pictures: bool, workers: int | None
) -> list[CaseReport]:
    """Check all cases in parallel, with a progress bar.

    Returns:
        One report for each case, in the order of the data set.

    Raises:
        UserError: `workers` is below 1, or a process was killed.
    """
    check = partial(inspect_case, names=dataset.names, outside=outside, headers_only=headers_only, pictures=pictures)
    reports = map_cases(
        check, dataset.cases, workers=workers, label="reading headers" if headers_only else "reading images"
    )
    checked = [
        CheckedCase(case, found.header, found.problems, found.greys)
        for case, found in zip(dataset.cases, reports, strict=True)
    ]
    explained = explain_frames(dataset, checked, outside=outside, headers_only=headers_only, workers=workers)
    return [replace(found, problems=problems) for found, problems in zip(reports, explained, strict=True)]


def inspect_case(
    case: Case, *, names: Sequence[str], outside: Outside, headers_only: bool, pictures: bool
) -> CaseReport:
    """Read and check one case; a file that cannot be read is one of its problems."""
    try:
        read = read_header if headers_only else read_image
        image = read(case.image, case.pixel_spacing)
    except UserError as error:
        return CaseReport(case, None, (Problem("error", str(error), case.name),))
    problems = check_case(case, image, names, outside)
    header = image if isinstance(image, Header) else image.header
    usable = not any(problem.severity == "error" and problem.landmark is None for problem in problems)
    picture = None
    if pictures and usable and not isinstance(image, Header):
        from auto_config.inspection.report import case_picture

        picture = case_picture(image, case.landmarks)
    if outside == "absent" and usable:
        case = outside_absent(case, header)
    digest = None if isinstance(image, Header) else voxel_digest(image.array)
    greys = None if isinstance(image, Header) else greys_of(image, case, names, problems)
    return CaseReport(case, header, tuple(problems), picture, digest, greys)


def summarize(dataset: Dataset, reports: Sequence[CaseReport]) -> list[tuple[str, str]]:
    """Say what the data set is.

    Returns:
        Titles and one line of text for each.
    """
    tests = sum(case.split == "test" for case in dataset.cases)
    lines = [
        ("data set", str(dataset.source)),
        ("format", dataset.format),
        ("cases", f"{len(dataset.cases)}" + (f", {tests} of them marked as test" if tests else "")),
        ("landmarks", f"{len(dataset.names)}: {shortened(dataset.names)}"),
    ]
    status = [found.case.landmarks.status for found in reports if found.case.landmarks is not None]
    if status:
        table = np.stack(status)
        counts = [f"{np.count_nonzero(table == value)} {word}" for value, word in _STATUS_WORDS]
        lines.append(("points", ", ".join(counts)))
        if nothing := [
            found.case.name
            for found in reports
            if found.case.landmarks is not None
            and len(found.case.landmarks)
            and (found.case.landmarks.status == ABSENT).all()
        ]:
            lines.append(("hold nothing", f"{counted(len(nothing), 'case')}, all absent: {shortened(nothing)}"))
    lines += _summarize_declared(dataset, [found.case for found in reports])
    return lines + _summarize_headers([found.header for found in reports if found.header is not None])


def _summarize_declared(dataset: Dataset, cases: Sequence[Case]) -> list[tuple[str, str]]:
    """What is declared about the landmarks, and the pairs that names say where nothing is."""
    names, properties = dataset.names, dataset.properties
    pairs, _ = sided_pairs(names, properties.pairs)
    how = "by name" if properties.pairs is None else "declared"
    shown = [f"{names[left]} | {names[right]}" for left, right in pairs]
    lines = [("left-right pairs", f"{len(pairs)} {how}" + (f": {shortened(shown)}" if pairs else ""))]
    if properties.exchangeable:
        shown = [f"{one} | {other}" for one, other in properties.exchangeable]
        lines.append(("exchangeable", f"{counted(len(shown), 'pair')}: {shortened(shown)}"))
    if properties.many:
        sets = [case.landmarks.instances for case in cases if case.landmarks is not None]
        shown = []
        for name in properties.many:
            counts = [len(instances[name]) for instances in sets if name in instances]
            per_case = _range(np.array(counts)) if counts else ""
            how_many = f": {counted(sum(counts), 'point')}, {per_case} in a case" if counts else ""
            shown.append(name + how_many)
        lines.append(("many", shortened(shown)))
    if properties.measures:
        shown = [f"{measure.name} ({measure.kind})" for measure in properties.measures]
        lines.append(("measures", shortened(shown)))
    raters = sorted({rater for case in cases for rater in case.raters})
    if raters:
        lines.append(("raters", f"{len(raters)}: {shortened(raters)}"))
    return lines


_STATUS_WORDS = ((PRESENT, "present"), (ABSENT, "absent"), (UNKNOWN, "unknown"))


def _summarize_headers(headers: Sequence[Header]) -> list[tuple[str, str]]:
    headers = [header for header in headers if np.isfinite(header.affine).all()]
    dims = len(headers[0].shape) if headers else 0
    headers = [header for header in headers if len(header.shape) == dims]
    if not headers:
        return []
    spacings = np.array([sorted(header.spacing) for header in headers])
    extents = np.array([np.array(header.shape) * header.spacing for header in headers])
    shapes = np.array([header.shape for header in headers])
    orientations: dict[str, int] = {}
    for header in headers if dims == 3 else []:
        codes = "".join(code or "?" for code in nib.aff2axcodes(header.affine))
        orientations[codes] = orientations.get(codes, 0) + 1
    units = sorted({header.unit for header in headers})
    kinds = sorted({header.dtype for header in headers})
    channels = sorted({header.channels for header in headers})
    ratio = (spacings[:, -1] / spacings[:, 0]).max() if spacings.min() > 0 else np.inf
    seen = f"{', '.join(map(str, channels))}; {', '.join(kinds)}"
    if dims == 2:
        return _summarize_pictures(headers, shapes, extents, seen)
    return [
        ("units", f"{', '.join(units)} in the headers; points and sizes are taken as mm"),
        ("spacing", f"{_range(spacings.ravel())} mm, slices up to {ratio:.2g} times as thick as pixels are wide"),
        ("shape", f"{_range(shapes)} voxels, in the order of the files"),
        ("extent", f"{_range(extents)} mm"),
        ("orientation", ", ".join(f"{codes} {count}" for codes, count in sorted(orientations.items()))),
        ("channels", seen),
    ]


def _summarize_pictures(
    headers: Sequence[Header], shapes: np.ndarray, extents: np.ndarray, channels: str
) -> list[tuple[str, str]]:
    """The same for pictures: ``shapes`` (N, 2) in pixels, ``extents`` (N, 2) in the unit of the headers."""
    unit = unit_of(headers)
    spacings = np.array([header.spacing for header in headers])
    size = "not known: sizes and errors are in pixels; --pixel_spacing MM gives it"
    if unit == "mm":
        size = f"{_range(spacings.ravel())} mm"
    lines = [
        ("unit", unit),
        ("pixel size", size),
        ("shape", f"{_range(shapes)} pixels (x, y)"),
        ("channels", channels),
    ]
    if unit == "mm":
        lines.insert(3, ("extent", f"{_range(extents)} mm"))
    return lines


def _print_landmarks(console: Console, rows: Sequence[LandmarkRow], unit: str) -> None:
    """A line for each landmark; of very many, for those that are not in all cases or stray farthest."""
    shown = rows
    if len(rows) > _SHOWN_ROWS:
        farthest = sorted(rows, key=lambda row: (row.absent + row.unknown, np.nan_to_num(row.spread)), reverse=True)
        shown = farthest[:_SHOWN_ROWS]
    table = Table(box=None, padding=(0, 2, 0, 0))
    for number, title in enumerate(("landmark", "present", "absent", "unknown", f"spread {unit}")):
        table.add_column(title, justify="right" if number else "left", no_wrap=True)
    for row in shown:
        spread = "" if np.isnan(row.spread) else f"{row.spread:.3g}"
        table.add_row(escape(row.name), str(row.present), str(row.absent), str(row.unknown), spread)
    if shown:
        console.print(table)
    if len(shown) < len(rows):
        said = "those in the fewest cases first; --report has all"
        console.print(f"... and {counted(len(rows) - len(shown), 'landmark')} more, {said}")


def relative_to(problem: Problem, source: Path) -> Problem:
    """The problem with paths below the data set's folder written from there on."""
    folder = source if source.is_dir() else source.parent
    return replace(problem, message=problem.message.replace(f"{folder}/", ""))


def _print_problems(console: Console, problems: Sequence[Problem]) -> None:
    errors = sum(problem.severity == "error" for problem in problems)
    if not problems:
        console.print("[green]no problem found[/green]")
        return
    for severity, line in problem_lines(problems):
        colour = "red" if severity == "error" else "yellow"
        console.print(f"[{colour}]{severity}[/{colour}]: {escape(line)}")
    warnings = counted(len(problems) - errors, "warning")
    console.print(f"{counted(errors, 'error')} that would train wrongly, {warnings}")


def _range(values: np.ndarray) -> str:
    """The least and the largest of (N,) numbers or (N, D) sizes; one where both are written alike."""
    ends = [_box(np.atleast_1d(end)) for end in (values.min(axis=0), values.max(axis=0))]
    return " to ".join(dict.fromkeys(ends))


def _box(sizes: np.ndarray) -> str:
    return " x ".join(f"{size:.4g}" for size in sizes)
