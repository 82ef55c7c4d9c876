"""From a public benchmark as it was downloaded to a data set that `inspect` and `create` read without options."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from auto_config.bundle_scripts.files.text import atomic_write_text
from auto_config.bundle_scripts.points.landmarks import ABSENT, UNKNOWN
from auto_config.datasets.model.dataset import Problem
from auto_config.datasets.model.properties import properties_document
from auto_config.errors import UserError
from auto_config.inspection.problems import problem_lines
from auto_config.public_datasets import afids, feta, fetal_pose, hand_xray, isbi2015, lfc, mml, pddca
from auto_config.public_datasets.shared.benchmark import (
    SECTIONS,
    Benchmark,
    BenchmarkCase,
    BenchmarkReading,
    MissingFile,
)
from auto_config.public_datasets.shared.images import ImageTask, Transfer, target_name, transfer_image
from auto_config.running.parallel import map_cases
from auto_config.wording import counted

DATALIST = "datalist.json"
"""File of the converted data set; the images lie in ``images/`` beside it."""

BENCHMARKS: dict[str, Benchmark] = {
    one.name: one
    for one in (
        Benchmark("afids", "brain MR, 32 anatomical fiducials", afids.LAYOUT, afids.DOWNLOAD, afids.read),
        Benchmark("mml", "dental CT, 14 mandibular molar landmarks", mml.LAYOUT, mml.DOWNLOAD, mml.read),
        Benchmark("pddca", "head and neck CT, 5 bony landmarks", pddca.LAYOUT, pddca.DOWNLOAD, pddca.read),
        Benchmark("feta", "fetal brain MR, 5 measures", feta.LAYOUT, feta.DOWNLOAD, feta.read),
        Benchmark("lfc", "fetal cerebellum MR, 6 measures", lfc.LAYOUT, lfc.DOWNLOAD, lfc.read),
        Benchmark(
            "fetal_pose", "fetal ultrasound, 22 landmarks", fetal_pose.LAYOUT, fetal_pose.DOWNLOAD, fetal_pose.read
        ),
        Benchmark("isbi2015", "cephalograms, 19 landmarks (2D)", isbi2015.LAYOUT, isbi2015.DOWNLOAD, isbi2015.read),
        Benchmark("hand_xray", "hand X-rays, 37 landmarks (2D)", hand_xray.LAYOUT, hand_xray.DOWNLOAD, hand_xray.read),
    )
}
"""The public benchmarks by the name that ``convert --from`` takes."""

_SHOWN = 5


def read_benchmark(name: str, source: str | Path, *, complete: bool = False) -> BenchmarkReading:
    """Read a benchmark.

    Args:
        name: One of `BENCHMARKS`.
        source: Its folder, as it was downloaded and unpacked.
        complete: Only the cases with all landmarks (``mml`` alone).

    Raises:
        UserError: No such benchmark or folder, the folder is something else, or two of its cases have one name.
    """
    if name not in BENCHMARKS:
        raise UserError(f"--from is {name!r}; allowed are {', '.join(BENCHMARKS)}")
    if complete and name != "mml":
        raise UserError(f"--complete is a subset of mml; leave it out for {name}")
    folder = Path(source)
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; give the folder of {name}: {BENCHMARKS[name].layout}")
    read = partial(mml.read, complete=True) if complete else BENCHMARKS[name].read
    reading = read(folder.absolute())
    _check_unique(reading.cases)
    return reading


def convert(
    name: str,
    source: str | Path,
    out: str | Path,
    *,
    images: Transfer = "link",
    overwrite: bool = False,
    allow_missing: bool = False,
    complete: bool = False,
    workers: int | None = None,
    go_on: bool = False,
) -> int:
    """Convert a public benchmark to ``OUT/datalist.json`` with ``OUT/images/``.

    The data list has the published split, the points in world mm, single raters, and what is declared about the
    landmarks: pairs, exchangeable ends, measures, descriptions, notes. It is written whole or not at all.

    Args:
        name: One of `BENCHMARKS`.
        source: Its folder, as it was downloaded and unpacked.
        out: New or empty folder.
        images: Whether images are linked or copied; one with a wrong header is written anew in either case.
        overwrite: Replace `out` if it is a data set that was converted before.
        allow_missing: Leave out the cases whose files are not there or wrong, with a warning, instead of refusing.
        complete: Only the cases with all landmarks (``mml`` alone).
        workers: Processes for the images; None for one on each core.
        go_on: Leave `out` as it is where an earlier, whole conversion of the same data is there.

    Returns:
        0; 1 if cases were left out because `allow_missing` says so.

    Raises:
        UserError: Wrong options, another folder than that of the benchmark, or files that are missing or wrong.
    """
    if images not in ("link", "copy"):
        raise UserError(f"--images is {images!r}; allowed are link and copy")
    source, target = Path(source).absolute(), Path(out).absolute()
    go_on = go_on and not overwrite and (target / DATALIST).is_file()
    if not go_on:
        check_target(target, source, overwrite)
    reading = read_benchmark(name, source, complete=complete)
    console = Console(stderr=True, highlight=False)
    _report(reading, source, console, allow_missing=allow_missing)
    if not reading.cases:
        raise UserError(f"{source}: no case of {name} is complete; nothing was written")
    left_out = reading.missing or any(problem.severity == "error" for problem in reading.problems)
    if go_on:
        if not _is_whole(target, reading, images):
            check_target(target, source, overwrite)
        console.print(f"{target}: is there, converted before", markup=False, soft_wrap=True)
        return 1 if left_out else 0
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
    try:
        temporary.chmod(0o755)
        (temporary / "images").mkdir()
        tasks = [
            ImageTask(case.image, temporary / "images" / target_name(case.name, case.image), images)
            for case in reading.cases
        ]
        # Links take no time, so no processes are started for them.
        quick = images == "link" and not any(case.image.rewritten for case in reading.cases)
        reasons = map_cases(transfer_image, tasks, workers=1 if quick else workers, label="images")
        reading = _without_failed(reading, reasons, console, allow_missing=allow_missing)
        document = datalist(reading)
        text = json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False)
        atomic_write_text(temporary / DATALIST, text + "\n")
        _put(temporary, target)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    for line in summary(name, reading):
        console.print(line, markup=False, soft_wrap=True)
    console.print(f"{target}: written. Next: auto_config inspect {target}", markup=False, soft_wrap=True)
    left_out = reading.missing or any(problem.severity == "error" for problem in reading.problems)
    return 1 if left_out else 0


def _is_whole(target: Path, reading: BenchmarkReading, images: Transfer) -> bool:
    """Whether a folder holds what a conversion would write there."""
    paths = [target / "images" / target_name(case.name, case.image) for case in reading.cases]
    try:
        there = json.loads((target / DATALIST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    wanted = json.loads(json.dumps(datalist(reading)))
    linked = images == "copy" and any(path.is_symlink() for path in paths)
    return bool(there == wanted) and not linked and all(path.exists() for path in paths)


def datalist(reading: BenchmarkReading) -> dict[str, Any]:
    """The data list of a benchmark, image paths relative to its folder."""
    sections: dict[str, list[dict[str, Any]]] = {section: [] for section in SECTIONS}
    for case in reading.cases:
        item: dict[str, Any] = {
            "case": case.name,
            "image": f"images/{target_name(case.name, case.image)}",
            "label": case.landmarks.to_inline(),
        }
        if case.fold is not None:
            item["fold"] = case.fold
        if case.raters:
            item["raters"] = {rater: landmarks.to_inline() for rater, landmarks in case.raters.items()}
        sections[case.section].append(item)
    if not sections["validation"]:
        del sections["validation"]
    # Declared where it is one for all: then nobody has to trust the tags of the files.
    sizes = {case.image.pixel_mm for case in reading.cases}
    size = sizes.pop() if len(sizes) == 1 else None
    return {
        "landmarks": list(reading.names),
        "properties": properties_document(reading.names, reading.properties),
        **({} if size is None else {"pixel_spacing": [size, size]}),
        **sections,
    }


def summary(name: str, reading: BenchmarkReading) -> list[str]:
    """What was converted, a line each: cases and split, landmarks, raters, notes."""
    sections = Counter(case.section for case in reading.cases)
    split = ", ".join(f"{sections[section]} {section}" for section in SECTIONS if sections[section])
    cases = counted(len(reading.cases), "case")
    lines = [f"{name}: {BENCHMARKS[name].title}: {cases} ({split}), {len(reading.names)} landmarks"]
    for word, status in (("absent", ABSENT), ("unknown", UNKNOWN)):
        counts = {
            landmark: sum(int(case.landmarks.status[index] == status) for case in reading.cases)
            for index, landmark in enumerate(reading.names)
        }
        if any(counts.values()):
            lines.append(f"{word}: " + ", ".join(f"{key} {count}" for key, count in counts.items() if count))
    if raters := {rater for case in reading.cases for rater in case.raters}:
        with_raters = sum(bool(case.raters) for case in reading.cases)
        lines.append(f"raters: {', '.join(sorted(raters))} in {with_raters} cases")
    return lines + [f"note: {note}" for note in reading.properties.notes]


def check_target(target: Path, source: Path, overwrite: bool) -> None:
    """Refuse to write over anything but a data set that was converted before, and over that without being told to.

    Raises:
        UserError: In these cases.
    """
    if source == target or source.is_relative_to(target):
        raise UserError(f"{target}: holds the source {source}; give another folder to write to")
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return
    known = {DATALIST, "images"}
    if not target.is_dir() or not {path.name for path in target.iterdir()} <= known:
        raise UserError(f"{target}: exists and is no converted data set; give a folder that does not exist yet")
    if not overwrite:
        raise UserError(f"{target}: exists; give --overwrite to replace it, or another name")


def _check_unique(cases: Sequence[BenchmarkCase]) -> None:
    """Refuse two cases of one name: they would have one image.

    Raises:
        UserError: In that case.
    """
    seen: dict[str, Path] = {}
    for case in cases:
        other = seen.setdefault(case.name.casefold(), case.image.path)
        if other != case.image.path:
            raise UserError(
                f"{case.image.path}: a second case {case.name!r} beside {other}; move one copy of the data set away"
            )


def missing_message(missing: Sequence[MissingFile], source: Path) -> str:
    """One line: how many files are missing, which, why, and how to get them."""
    groups: dict[str, list[MissingFile]] = {}
    for one in missing:
        groups.setdefault(one.reason, []).append(one)
    parts = []
    for reason, files in groups.items():
        shown = " ".join(_below(one.path, source) for one in files[:_SHOWN])
        more = f" and {len(files) - _SHOWN} more" if len(files) > _SHOWN else ""
        what = reason.replace("PATH", shown if len(files) <= _SHOWN else ".")
        parts.append(f"{shown}{more}: {what}")
    cases = counted(len({one.case for one in missing}), "case")
    return f"{source}: files of {cases} are missing: {'; '.join(parts)}"


def _below(path: Path, source: Path) -> str:
    return path.relative_to(source).as_posix() if path.is_relative_to(source) else str(path)


def _report(reading: BenchmarkReading, source: Path, console: Console, *, allow_missing: bool) -> None:
    """Print the warnings, and refuse where cases would be left out that nobody allowed to.

    Raises:
        UserError: In that case.
    """
    warnings = [one for one in reading.problems if one.severity == "warning"]
    _print("warning", [line for _, line in problem_lines(warnings)], console)
    errors = [one.message for one in reading.problems if one.severity == "error"]
    blame = [missing_message(reading.missing, source)] if reading.missing else []
    if not errors and not blame:
        return
    if allow_missing:
        _print("left out", blame + errors, console)
        return
    if blame and not errors:
        raise UserError(f"{blame[0]}; or leave these cases out with --allow_missing")
    _print("error", blame + errors[1 if not blame else 0 :], console)
    first = errors[0] if not blame else f"{len(errors)} files are wrong and others are missing"
    raise UserError(f"{first}; nothing was written, --allow_missing leaves such cases out")


def _print(kind: str, messages: Sequence[str], console: Console) -> None:
    for message in messages[:20]:
        console.print(f"{kind}: {message}", markup=False, soft_wrap=True)
    if len(messages) > 20:
        console.print(f"{kind}: ... and {len(messages) - 20} more")


def _without_failed(
    reading: BenchmarkReading, reasons: Sequence[str | None], console: Console, *, allow_missing: bool
) -> BenchmarkReading:
    """The reading without the cases whose image could not be brought over.

    Raises:
        UserError: There are such cases and nobody allowed to leave them out.
    """
    failed = [
        Problem("error", reason, case.name)
        for case, reason in zip(reading.cases, reasons, strict=True)
        if reason is not None
    ]
    if not failed:
        return reading
    if not allow_missing:
        raise UserError(f"{failed[0].message} ({len(failed)} such images); --allow_missing leaves such cases out")
    _print("left out", [problem.message for problem in failed], console)
    names = {problem.case for problem in failed}
    kept: tuple[BenchmarkCase, ...] = tuple(case for case in reading.cases if case.name not in names)
    return replace(reading, cases=kept, problems=(*reading.problems, *failed))


def _put(temporary: Path, target: Path) -> None:
    """Move a finished folder to its place, in that of an older one."""
    if not target.exists():
        temporary.rename(target)
        return
    old = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}.old."))
    target.rename(old / target.name)
    temporary.rename(target)
    shutil.rmtree(old)
