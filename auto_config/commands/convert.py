"""Convert a data set, or a public benchmark, from any format that is read to any that is written: `convert`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from auto_config.datasets import Coordinates, Dataset, Missing, Problem, read_dataset
from auto_config.datasets.formats.shared.options import NameField
from auto_config.datasets.formats.shared.target import ImageMode
from auto_config.datasets.registry import FORMATS
from auto_config.datasets.writing import check_target, write_dataset
from auto_config.errors import UserError
from auto_config.inspection.problems import counted, problem_lines

_SHOWN = 20


@dataclass(frozen=True)
class Conversion:
    """What was converted.

    Args:
        dataset: As it was read; all its cases are written.
        problems: What was found wrong in the source; a case that cannot be read is named there.
        losses: What the written format cannot hold, a sentence each.
    """

    dataset: Dataset
    problems: tuple[Problem, ...]
    losses: tuple[str, ...]


def convert(
    source: str,
    target: str,
    *,
    to: str = "datalist",
    from_: str | None = None,
    images: ImageMode | None = None,
    missing: Missing = "unknown",
    landmarks: Sequence[str] | None = None,
    coordinates: Coordinates | None = None,
    names: NameField | None = None,
    pixel_spacing: Sequence[float] | None = None,
    missing_value: str | None = None,
    complete: bool = False,
    allow_missing: bool = False,
    overwrite: bool = False,
    workers: int | None = None,
) -> int:
    """Convert a data set or a public benchmark, and say what was left out and what was lost.

    Args:
        source: The data set, or the folder of a benchmark as it was downloaded.
        target: Folder to write.
        to: Format to write, one of `datasets.formats.WRITERS`.
        from_: Format of the source, one of `FORMATS`, or the name of a benchmark; the format is detected if None.
        images: ``"refer"``, ``"link"`` or ``"copy"``, see `convert_dataset`.
        missing: Status of a name that one case's file lacks.
        landmarks: Names to keep, in this order; all if None.
        coordinates: What the numbers of a table are, see `read_dataset`.
        names: What points of Slicer's files are called by, see `read_dataset`.
        pixel_spacing: Pixel size of pictures in mm, one number or (x, y).
        missing_value: What marks a missing point, see `read_dataset`.
        complete: Of a benchmark, only the cases with all landmarks.
        allow_missing: Convert a benchmark also where files of some cases are not there.
        overwrite: Replace `target` if it is there.
        workers: Processes for the images of a benchmark; one on each core if None.

    Returns:
        0, or 1 if cases were left out because of errors.

    Raises:
        UserError: Nothing could be converted; nothing was written.
    """
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
    source: str,
    target: str,
    *,
    to: str,
    images: ImageMode | None,
    given: dict[str, object],
    complete: bool,
    allow_missing: bool,
    overwrite: bool,
    workers: int | None,
) -> int:
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


def convert_dataset(
    source: str | Path,
    target: str | Path,
    *,
    to: str,
    format: str | None = None,
    images: ImageMode | None = None,
    missing: Missing = "unknown",
    landmarks: Sequence[str] | None = None,
    coordinates: Coordinates | None = None,
    names: NameField | None = None,
    pixel_spacing: float | Sequence[float] | None = None,
    missing_value: str | None = None,
    overwrite: bool = False,
) -> Conversion:
    """Read a data set and write it in another format, whole or not at all.

    Args:
        source: The data set.
        target: Folder to write.
        to: One of `datasets.formats.WRITERS`.
        format: Format of the source, one of `FORMATS`; detected if None.
        images: ``"refer"`` names the images by their paths, ``"link"`` and ``"copy"`` put them into `target`; what is
            usual for the format if None: a table or a list refers, a folder is given links.
        missing: Status of a name that one case's file lacks.
        landmarks: Names to keep, in this order; all if None.
        coordinates: As for `read_dataset`.
        names: As for `read_dataset`.
        pixel_spacing: As for `read_dataset`.
        missing_value: As for `read_dataset`.
        overwrite: Replace `target` if it is there.

    Returns:
        What was read, what is wrong in it, and what was lost.

    Raises:
        UserError: The source cannot be read, the format cannot hold it, or the target is there.
    """
    path = check_target(source, target, to, images, overwrite=overwrite)
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
    if dataset.format == "images":
        raise UserError(f"{source}: holds images but no landmarks; there is nothing to convert")
    if not dataset.cases:
        first = next((problem for problem in problems if problem.severity == "error"), problems[0])
        raise UserError(f"{source}: no case can be converted; the first of {len(problems)} problems: {first.message}")
    losses = write_dataset(dataset, path, to, images, overwrite=overwrite)
    return Conversion(dataset, tuple(problems), tuple(losses))
