"""`convert`: a data set, or a public benchmark, into any format that is written."""

from auto_config.arguments import Names, Numbers, Place
from auto_config.choices import Coordinates, ImageMode, Missing, NameField
from auto_config.errors import UserError

_SHOWN = 20


def convert(
    source: Place,
    target: Place,
    *,
    to: str = "datalist",
    from_: str | None = None,
    images: ImageMode | None = None,
    missing: Missing = "unknown",
    landmarks: Names | None = None,
    coordinates: Coordinates | None = None,
    missing_value: str | None = None,
    names: NameField | None = None,
    pixel_spacing: Numbers | None = None,
    complete: bool = False,
    allow_missing: bool = False,
    overwrite: bool = False,
    workers: int | None = None,
) -> int:
    """Convert a data set to another format, or a public benchmark to a data set.

    Points keep their place in the image to the last digit (in label maps to half a voxel). What the new format cannot
    hold is said. TARGET is written whole or not at all; SOURCE is never changed.

    Args:
        source: the data set, as for `inspect`, or the folder of a benchmark as it was downloaded
        target: folder to write
        to: markups, fcsv, json, csv, csv_wide, datalist, nnlandmark, labelmap, labelme or coco
        from_: format of SOURCE, if it is not detected; or a benchmark, with its published split: afids, mml, pddca,
            feta, lfc, fetal_pose, isbi2015 or hand_xray
        images: refer (by their paths), link or copy; tables and lists refer if not given, folders are given links
        missing: what a name that one case's file lacks means: unknown or absent
        landmarks: names to keep, in this order: AC,PC
        coordinates: what the numbers of a table or old .fcsv are, if it does not say it: ras, lps, voxel, pixel, mm
        missing_value: coordinates that mark a missing point, taken as MISSING says: 0 or -1,-1; none: all are real
        names: name of a point in Slicer's files: labels, descriptions or order (1, 2, ...); else chosen for all files
        pixel_spacing: mm of a pixel of pictures, one number or x,y, if the files do not say it
        complete: of the benchmark mml, only the cases with all landmarks
        allow_missing: convert a benchmark also where files of some cases are not there
        overwrite: replace TARGET if it is there
        workers: processes for the images of a benchmark, one on each core if not given

    Returns:
        The exit status: 0, or 1 if cases were left out because of errors.

    Raises:
        UserError: nothing could be converted; nothing was written.

    Examples:
        auto_config convert scans raw/Dataset700_Skull --to nnlandmark
        auto_config convert points.csv as_markups --to markups --coordinates lps
        auto_config convert afids_download afids --from afids
    """
    from rich.console import Console

    from auto_config.datasets import FORMATS
    from auto_config.datasets.conversion import convert_dataset
    from auto_config.inspection.problems import problem_lines
    from auto_config.wording import counted

    if from_ is not None and from_ not in FORMATS:
        return _convert_benchmark(
            from_,
            source,
            target,
            to=to,
            images=images,
            given={
                "--landmarks": landmarks,
                "--coordinates": coordinates,
                "--pixel_spacing": pixel_spacing,
                "--missing_value": missing_value,
                "--names": names,
            },
            complete=complete,
            allow_missing=allow_missing,
            overwrite=overwrite,
            workers=workers,
        )
    if complete or allow_missing:
        option = "--complete" if complete else "--allow_missing"
        raise UserError(f"{option} is for public benchmarks; name one with --from, or leave the option out")
    done = convert_dataset(
        source,
        target,
        to=to,
        format=from_,
        images=images,
        missing=missing,
        landmarks=landmarks,
        coordinates=coordinates,
        names=names,
        pixel_spacing=pixel_spacing,
        missing_value=missing_value,
        overwrite=overwrite,
    )
    console = Console(highlight=False)
    errors = [problem for problem in done.problems if problem.severity == "error"]
    lines = problem_lines(done.problems)
    for severity, line in lines[:_SHOWN]:
        console.print(f"{severity}: {line}", markup=False, soft_wrap=True)
    if len(lines) > _SHOWN:
        console.print(f"... and {len(lines) - _SHOWN} more; auto_config inspect {source} shows all", markup=False)
    for loss in done.losses:
        console.print(f"lost: {loss}", markup=False, soft_wrap=True)
    cases, points = counted(len(done.dataset.cases), "case"), counted(len(done.dataset.names), "landmark")
    console.print(
        f"{target}: {cases} with {points} written as {to}. Next: auto_config inspect {target}",
        markup=False,
        soft_wrap=True,
    )
    return 1 if errors else 0


def _convert_benchmark(
    name: str,
    source: Place,
    target: Place,
    *,
    to: str,
    images: ImageMode | None,
    given: dict[str, object],
    complete: bool,
    allow_missing: bool,
    overwrite: bool,
    workers: int | None,
) -> int:
    """A benchmark as a datalist, after the options that a benchmark does not take are refused."""
    from auto_config.datasets import FORMATS
    from auto_config.public_datasets import BENCHMARKS
    from auto_config.public_datasets import convert as convert_benchmark

    if name not in BENCHMARKS:
        raise UserError(
            f"--from is {name!r}; allowed are the formats {', '.join(FORMATS)}, and the benchmarks "
            f"{', '.join(BENCHMARKS)}"
        )
    if to != "datalist":
        raise UserError(
            f"--from {name} writes a datalist; leave --to out, and convert the result once more with --to {to}"
        )
    for option, value in given.items():
        if value is not None:
            raise UserError(f"{option} is not for public benchmarks, whose files say it; leave it out")
    if images == "refer":
        raise UserError(f"--images is refer; --from {name} puts the images into the target, use link or copy")
    return convert_benchmark(
        name,
        source,
        target,
        images=images or "link",
        overwrite=overwrite,
        allow_missing=allow_missing,
        complete=complete,
        workers=workers,
    )
