"""`inspect`: read a data set, check every case, say what it is and what is wrong with it."""

from pathlib import Path

from auto_config.arguments import Names, Numbers, Place
from auto_config.choices import Coordinates, Missing, NameField, Outside
from auto_config.errors import UserError

PROBLEMS_FOUND = 2


def inspect(
    source: Place,
    *,
    report: Place | None = None,
    headers_only: bool = False,
    format: str | None = None,
    missing: Missing = "unknown",
    outside: Outside = "error",
    landmarks: Names | None = None,
    coordinates: Coordinates | None = None,
    missing_value: str | None = None,
    names: NameField | None = None,
    pixel_spacing: Numbers | None = None,
    workers: int | None = None,
) -> int:
    """Say what a data set is, and every problem found in it.

    Format, cases, landmarks, units, spacing, counts of present, absent and unknown landmarks, left-right pairs; points
    outside their image, swapped coordinate systems, duplicate names, unreadable files and more. Nothing is changed.

    Args:
        source: folder with images/ and landmarks/, folder with files side by side, cohort CSV or datalist JSON
        report: write an HTML page with pictures of every case to this file
        headers_only: read the headers of the images only: quick, but grey values are not checked
        format: read SOURCE as this format instead of detecting it
        missing: what a name that one case's file lacks means: unknown or absent
        outside: what a point outside its image is: error or absent
        landmarks: names to keep, in this order: AC,PC
        coordinates: what the numbers of a table or old .fcsv are, if it does not say it: ras, lps, voxel, pixel, mm
        missing_value: coordinates that mark a missing point, taken as MISSING says: 0 or -1,-1; none: all are real
        names: name of a point in Slicer's files: labels, descriptions or order (1, 2, ...); else chosen for all files
        pixel_spacing: mm of a pixel of pictures, one number or x,y, if the files do not say it
        workers: processes to read with, one on each core if not given

    Returns:
        The exit status: 0, or 2 if errors were found.

    Raises:
        UserError: the source as a whole cannot be read, or the options do not fit.

    Examples:
        auto_config inspect scans
        auto_config inspect scans --report scans.html
        auto_config inspect points.csv --missing absent --landmarks AC,PC
    """
    if outside not in ("error", "absent"):
        raise UserError(f"--outside is {outside!r}; allowed are error and absent")
    if report is not None and headers_only:
        raise UserError("--report shows voxels, --headers_only reads none; leave one of them out")
    if report is not None and not Path(report).absolute().parent.is_dir():
        raise UserError(f"--report {report}: the folder does not exist; create it or choose another")
    from rich.console import Console

    from auto_config.datasets import read_dataset
    from auto_config.datasets.checks.cohort import cohort_problems
    from auto_config.inspection.cases import inspect_cases
    from auto_config.inspection.problems import relative_to
    from auto_config.inspection.summary import summarize
    from auto_config.inspection.table import landmark_table
    from auto_config.inspection.terminal import print_landmarks, print_problems, print_summary

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
    cases = [found.case for found in reports]
    problems += [problem for found in reports for problem in found.problems]
    headers = {found.case.name: found.header for found in reports if found.header is not None}
    digests = {found.case.name: found.digest for found in reports if found.digest is not None}
    problems += cohort_problems(dataset, cases, headers, digests, problems)
    problems = [relative_to(problem, dataset.source) for problem in problems]
    summary = summarize(dataset, reports)
    rows = landmark_table(cases, dataset.names, dataset.spatial_dims)
    print_summary(console, summary)
    print_landmarks(console, rows, dataset.unit)
    print_problems(console, problems)
    if report is not None:
        from auto_config.inspection.report import write_report

        write_report(Path(report), summary, problems, reports, (rows, dataset.unit))
        console.print(f"report with pictures: {report}", markup=False)
    return PROBLEMS_FOUND if any(problem.severity == "error" for problem in problems) else 0
