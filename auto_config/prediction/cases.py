"""Predict image after image: files of each, and one line for each that cannot be predicted."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from auto_config.bundle.opened import OpenBundle
from auto_config.bundle_scripts.images.frame import original_center
from auto_config.bundle_scripts.inference.prediction_files import PredictionFolder, verdict_of
from auto_config.datasets.images import read_header
from auto_config.errors import one_line
from auto_config.prediction.fixed_cases import Fixed
from auto_config.prediction.level_set_files import LevelSets, write_level_sets
from auto_config.prediction.regions import find_regions


@dataclass(frozen=True)
class Wanted:
    """Files that are written for each case beside the Slicer file.

    Args:
        fcsv: ``CASE.fcsv``.
        json: ``CASE.json`` with all that is known of each landmark.
        labelmap: ``CASE.labels.nii.gz``, balls on the grid of the image.
        bounds: (L,) bounds of the densities for ``CASE.regions.nii.gz`` and ``.npz``, see `regions.level_sets`; None
            for none.
        level: Probability of these regions.
        fixed: Points that a person set, after which the others are looked for again; None for none.
    """

    fcsv: bool
    json: bool
    labelmap: bool
    bounds: np.ndarray | None
    level: float
    fixed: Fixed | None = None


def predict_cases(
    opened: OpenBundle, images: Mapping[str, tuple[Path, ...]], folder: PredictionFolder, wanted: Wanted, *, debug: bool
) -> dict[str, str]:
    """Predict all images, with a progress bar on standard error.

    Args:
        opened: The bundle.
        images: Files of each case.
        folder: Where the predictions go.
        wanted: Further files.
        debug: Let the error of a case through.

    Returns:
        The reason for each case that could not be predicted, which is printed, too.
    """
    failed: dict[str, str] = {}
    with _progress() as progress:
        task = progress.add_task("predict", total=len(images))
        for case, paths in images.items():
            start = time.perf_counter()
            try:
                for note in _notes(paths):
                    progress.console.print(f"warning: {note}", markup=False, highlight=False, soft_wrap=True)
                done, center, where = _predict_case(opened, case, paths, wanted)
            except Exception as error:
                if debug:
                    raise
                failed[case] = one_line(error)
                line = f"error: {_named(failed[case], paths[0])}"
                progress.console.print(line, markup=False, highlight=False, soft_wrap=True)
            else:
                seconds = time.perf_counter() - start
                folder.write(
                    case,
                    done["result"],
                    image_center=center,
                    seconds=seconds,
                    fcsv=wanted.fcsv,
                    inline_json=wanted.json,
                )
                if (turn := done["result"].get("turned_deg")) is not None:
                    note = (
                        f"{paths[0]}: lies turned by {turn:.0f} degrees against the training cases and was turned back"
                    )
                    progress.console.print(f"note: {note}", markup=False, highlight=False, soft_wrap=True)
                _save_volumes(folder.folder, case, done["pred"] if wanted.labelmap else None, where)
            progress.advance(task)
    return failed


def _save_volumes(folder: Path, case: str, balls: Any | None, regions: tuple[np.ndarray, LevelSets] | None) -> None:
    """Write the label map of balls (1, *shape) and the regions of a case, those that are there."""
    if balls is not None:
        _save_label_map(folder / f"{case}.labels.nii.gz", np.asarray(balls)[0], balls.affine)
    if regions is not None:
        _save_label_map(folder / f"{case}.regions.nii.gz", regions[0], regions[1].affine)
        write_level_sets(folder / f"{case}.regions.npz", regions[1])


def _predict_case(
    opened: OpenBundle, case: str, paths: tuple[Path, ...], wanted: Wanted
) -> tuple[dict[str, Any], np.ndarray, tuple[np.ndarray, LevelSets] | None]:
    """What the bundle gives for the files of an image, the world position of the image's middle, and its regions."""
    data = opened.preprocess(paths)
    done = opened.predict(data) if wanted.fixed is None else wanted.fixed.predict(opened, case, data)
    where = None
    if wanted.bounds is not None:
        where = find_regions(opened, data, _drawn(done["result"]), wanted.bounds, wanted.level)
    return done, original_center(data["image"], opened.spatial_dims), where


def _drawn(result: Mapping[str, Any]) -> Mapping[str, Any]:
    """What regions are drawn of: nothing of a case that has failed, whose regions nobody promises to hold."""
    if verdict_of(result)["verdict"] != "failed":
        return result
    return {**result, "landmarks": [{**item, "present": 0} for item in result["landmarks"]]}


def _save_label_map(path: Path, labels: np.ndarray, affine: Any) -> None:
    """Write a label map (spatial...) as NIfTI, atomically."""
    import nibabel as nib
    from monai.data.utils import to_affine_nd

    temporary = path.with_name(f".{path.name}")
    nib.save(nib.Nifti1Image(labels, to_affine_nd(3, np.asarray(affine))), temporary)
    temporary.replace(path)


def _notes(paths: tuple[Path, ...]) -> list[str]:
    """What `inspect` warns of in the way that files are read (colour); the bundle knows the size of a pixel itself."""
    if any(path.is_dir() for path in paths):
        return []
    header = read_header(paths)
    return [f"{header.path}: {note}" for note in header.notes if "--pixel_spacing" not in note]


def _named(reason: str, path: Path) -> str:
    """The reason with the file in front, unless it names it already."""
    return reason if str(path) in reason else f"{path}: {reason}"


def _progress() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(file=sys.stderr))
