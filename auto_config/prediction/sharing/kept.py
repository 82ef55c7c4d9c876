"""Which results of an earlier prediction are complete and were made alike, so that they need not be made again."""

from __future__ import annotations

import csv
import hashlib
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from auto_config import __version__
from auto_config.bundle_scripts.inference.prediction_files import PREDICTIONS_FILE, RUN_FILE, UNCERTAINTY_FILE
from auto_config.bundle_scripts.points.landmarks import LandmarkSet


def digest_of_run(bundle: Path, weights: Sequence[Path], options: Mapping[str, Any]) -> str:
    """What decides every result of a run beside its image: bundle, weights, version and options.

    Weights count by the checksums that their files hold of each tensor, so that large ones need not be read.

    Args:
        bundle: Folder of the bundle.
        weights: Files in use.
        options: Those that change results or which files there are, JSON-able.
    """
    content = hashlib.sha256(json.dumps([__version__, dict(options)], sort_keys=True).encode())
    for path in weights:
        content.update(_checksums(path))
    others = [*(bundle / "models").rglob("*.json"), *(bundle / "configs").glob("*.json")]
    names = {"configs/train.json", "configs/evaluate.json", "configs/multi_gpu_train.json"}
    for path in sorted([*others, *(bundle / "scripts").rglob("*.py")]):
        name = path.relative_to(bundle).as_posix()
        if name not in names and path.name not in ("score.json", "out_of_fold.json"):
            content.update(f"\n{name}\n".encode() + hashlib.sha256(path.read_bytes()).digest())
    return content.hexdigest()


def _checksums(path: Path) -> bytes:
    """Names, sizes and CRC-32 of all tensors of a file of weights, or the hash of a file of another kind."""
    try:
        with zipfile.ZipFile(path) as archive:
            rows = [(one.filename.partition("/")[2], one.file_size, one.CRC) for one in archive.infolist()]
        return json.dumps(rows).encode()
    except zipfile.BadZipFile:
        return hashlib.sha256(path.read_bytes()).digest()


def digest_of_image(paths: Sequence[Path], fixed: LandmarkSet | None = None) -> str:
    """What decides the result of one case: name, size and time of change of its files, and points that were set.

    The spacing of an array stands beside it, in ``CASE.npy.json``, which counts too.

    Args:
        paths: Files, one for each channel, or a folder with a DICOM series.
        fixed: Points that a person set; None for none.
    """
    parts = [part for path in paths for part in (sorted(path.iterdir()) if path.is_dir() else [path])]
    parts += [beside for part in parts if (beside := part.with_name(f"{part.name}.json")).is_file()]
    files = [(part.name, part.stat().st_size, part.stat().st_mtime_ns) for part in parts if part.exists()]
    given = None if fixed is None else fixed.to_inline()
    return hashlib.sha256(json.dumps([files, given], sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Kept:
    """Results of an earlier run, as its files have them.

    Args:
        rows: Of ``predictions.csv`` for each case.
        uncertainty: Of ``uncertainty.csv`` for each case.
        entries: What ``run.json`` says of each case, see `PredictionFolder.keep`.
        training_cases: Those of them that the bundle was trained on.
        stale: Cases of the same weights and options whose image has changed, or whose files are not all there.
    """

    rows: Mapping[str, list[list[str]]]
    uncertainty: Mapping[str, list[list[str]]]
    entries: Mapping[str, dict[str, Any]]
    training_cases: tuple[str, ...] = ()
    stale: frozenset[str] = frozenset()

    def __len__(self) -> int:
        return len(self.entries)


def kept_results(folder: Path, digest: str, images: Mapping[str, str], endings: Sequence[str]) -> Kept:
    """The complete results of an earlier run of the same digest.

    Those of cases that are not asked for now stay, too, where the same weights and options made them.

    Args:
        folder: Of the results.
        digest: Of this run.
        images: `digest_of_image` of each case that is asked for.
        endings: What the files of a case end with.
    """
    nothing = Kept({}, {}, {})
    try:
        run = json.loads((folder / RUN_FILE).read_text(encoding="utf-8"))
        made, entries = run["made_by"], run["made_by"]["cases"]
        rows, uncertainty = (_rows_of(folder / name) for name in (PREDICTIONS_FILE, UNCERTAINTY_FILE))
    except (OSError, ValueError, KeyError, TypeError):
        return nothing
    if made.get("digest") != digest:
        return nothing
    complete = {
        case: entry
        for case, entry in entries.items()
        if images.get(case, entry["image"]) == entry["image"]
        and Path(case).name == case
        and all((folder / f"{case}{ending}").is_file() for ending in endings)
    }
    seen = tuple(case for case in run.get("training_cases", ()) if case in complete)
    return Kept(
        {case: rows.get(case, []) for case in complete},
        {case: uncertainty.get(case, []) for case in complete},
        complete,
        seen,
        frozenset(set(entries) - set(complete)),
    )


def _rows_of(path: Path) -> dict[str, list[list[str]]]:
    """Lines of a table by the case in their first cell."""
    found: dict[str, list[list[str]]] = {}
    with path.open(encoding="utf-8", newline="") as stream:
        for number, row in enumerate(csv.reader(stream)):
            if number:
                found.setdefault(row[0], []).append(row)
    return found
