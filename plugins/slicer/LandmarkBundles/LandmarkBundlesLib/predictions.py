"""`auto_config predict` for one volume: the command, and what it gave."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .landmarks import DEFINED, Landmark, read_markups, write_markups
from .verdicts import Verdict, read_verdict

CASE = "case"
"""Name of the volume's file: a case is called after it, and any name of a node is safe with it."""
LEVELS = (0.5, 0.8, 0.9, 0.95)


@dataclass(frozen=True)
class Options:
    """How to predict.

    Attributes:
        level: probability with which the regions hold their landmarks.
        device: such as ``cpu`` or ``cuda:1``; empty for a GPU if there is one.
        regions: whether the regions are wanted as a label map.
        all_present: call every landmark present, whatever the calibration says.
    """

    level: float = 0.9
    device: str = ""
    regions: bool = False
    all_present: bool = False


@dataclass(frozen=True)
class Outcome:
    """What a prediction gave.

    Attributes:
        landmarks: LPS mm of the volume's own frame, in the order of the bundle, with what is known in the description.
        verdict: on the case.
        regions: label map of the regions, if there is one.
        notes: lines that the program printed beside: warnings, notes, what was not judged.
    """

    landmarks: tuple[Landmark, ...]
    verdict: Verdict
    regions: Path | None
    notes: tuple[str, ...] = ()


class PredictionError(Exception):
    """A prediction that gave nothing, and why, in one line."""


def command(
    program: Sequence[str], bundle: Path, folder: Path, options: Options, fixed: Sequence[Landmark] = ()
) -> list[str]:
    """The command that predicts the volume of a folder, and the file of points that it reads.

    Args:
        program: first words, of `find_program`.
        bundle: its folder.
        folder: where the volume lies as `image_file`; the results go into `results_folder`.
        options: how.
        fixed: points that a person set, which move the others.
    """
    words = [*program, "predict", str(bundle), str(image_file(folder)), str(results_folder(folder)), "--overwrite"]
    words += ["--level", f"{options.level:g}"]
    if options.device.strip():
        words += ["--device", options.device.strip()]
    if options.regions:
        words.append("--regions")
    if options.all_present:
        words.append("--all_present")
    if fixed:
        file = folder / "fixed.mrk.json"
        file.write_text(write_markups(fixed, "fixed"), encoding="utf-8")
        words += ["--fixed", str(file)]
    return words


def image_file(folder: Path) -> Path:
    """Where the volume is written, as NRRD."""
    return folder / f"{CASE}.nrrd"


def results_folder(folder: Path) -> Path:
    """Where the results are written."""
    return folder / "results"


def read_outcome(folder: Path, lines: Sequence[str] = ()) -> Outcome:
    """What a prediction wrote.

    Args:
        folder: as for `command`.
        lines: what the program printed.

    Raises:
        PredictionError: a file is missing or is none.
        MarkupsError: the points cannot be read.
    """
    results = results_folder(folder)
    try:
        text = (results / f"{CASE}.mrk.json").read_text(encoding="utf-8")
        run = json.loads((results / "run.json").read_text(encoding="utf-8"))
        verdict = read_verdict(run.get("verdicts", {}).get(CASE))
    except (OSError, ValueError, AttributeError) as error:
        raise PredictionError(f"the prediction left no result that can be read ({error})") from error
    regions = results / f"{CASE}.regions.nii.gz"
    notes = tuple(line for line in lines if line.startswith(("warning: ", "note: ")) or "region" in line)
    landmarks = tuple(read_markups(text))
    return Outcome(landmarks, verdict, regions if regions.is_file() else None, notes)


def progress(lines: Sequence[str], seconds: float) -> str:
    """How far a prediction is, in one line.

    Args:
        lines: what it printed so far.
        seconds: since its start.
    """
    said = next((line for line in reversed(lines) if line.startswith(("warning: ", "note: "))), "")
    return f"Predicting, {seconds:.0f} s" + (f" ({said})" if said else "")


def set_by_person(
    served: Sequence[Landmark], shown: Sequence[Landmark], before: Sequence[str] = (), tolerance_mm: float = 1e-3
) -> list[Landmark]:
    """The points that a person set, which go back to repair the rest.

    A landmark counts if it was moved, placed or said to be missing since it was served, or was set before that. One
    that is undefined now, because it is still to be placed, does not.

    Args:
        served: what the last prediction gave.
        shown: the points as they are now, in the same frame.
        before: names that a person set in earlier rounds.
        tolerance_mm: how far a point may be from where it was served, for rounding on the way through Slicer.

    Returns:
        Only these, each once with its place of now; of a landmark with many instances all of them.
    """
    names = list(dict.fromkeys(point.name for point in shown))
    return [
        point
        for name in names
        if name in before or not _same(_of(served, name), _of(shown, name), tolerance_mm)
        for point in _of(shown, name)
        if point.status != "undefined"
    ]


def _of(points: Sequence[Landmark], name: str) -> list[Landmark]:
    return [point for point in points if point.name == name]


def _same(one: Sequence[Landmark], other: Sequence[Landmark], tolerance_mm: float) -> bool:
    if [point.status for point in one] != [point.status for point in other]:
        return False
    for index, point in enumerate(one):
        if point.status == DEFINED:
            here, there = point.position or (), other[index].position or ()
            if max(abs(a - b) for a, b in zip(here, there)) > tolerance_mm:  # noqa: B905  Python 3.9 has no `strict`
                return False
    return True
