"""`predict`: from a trained bundle and image files to landmark files."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from auto_config.bundle_scripts.prediction_files import (
    CASE_ENDINGS,
    PREDICTIONS_FILE,
    RUN_FILE,
    UNCERTAINTY_FILE,
    PredictionFolder,
    foreign_file,
    previous_cases,
)
from auto_config.datasets.images import read_header
from auto_config.errors import UserError
from auto_config.prediction.input import find_images, training_cases, wanted_images
from auto_config.prediction.level_set_files import LevelSets, write_level_sets

DONE, SOME_FAILED, ALL_FAILED = 0, 1, 2
EVALUATION_FILES = (
    "metrics.json",
    "per_landmark.csv",
    "per_case.csv",
    "instances.csv",
    "presence.csv",
    "regions.csv",
    "measures.csv",
    "other_model.csv",
    "report.html",
)
"""What `evaluate` writes beside predictions; it says nothing of those that replace them."""


def predict(
    bundle: str | Path,
    input: str | Path,
    output: str | Path,
    *,
    device: str | None = None,
    fcsv: bool = False,
    json: bool = False,
    labelmap: bool = False,
    regions: bool = False,
    plausibility: bool | None = None,
    shape_prior: bool = False,
    all_present: bool = False,
    level: float = 0.9,
    overwrite: bool = False,
    debug: bool = False,
) -> int:
    """Predict the landmarks of an image or DICOM series, of a folder of them or of the test images of a data list.

    Writes ``CASE.mrk.json`` (Slicer, LPS mm) for each image, ``predictions.csv``, ``uncertainty.csv`` and ``run.json``.
    An image that cannot be predicted is reported in one line and the others are predicted.

    Args:
        bundle: folder of a trained bundle.
        input: an image, a folder with a DICOM series, a folder of images, or a data list (.json) whose test images are
            predicted.
        output: folder for the results.
        device: such as ``cpu`` or ``cuda:1``; None for a GPU if there is one.
        fcsv: also write ``CASE.fcsv``.
        json: also write ``CASE.json`` with all that is known of each landmark.
        labelmap: also write ``CASE.labels.nii.gz``, balls on the grid of the image.
        regions: also write ``CASE.regions.nii.gz``, on the grid of the network: the parts of the image that hold each
            landmark with the probability ``level`` (level sets of the heatmaps), for a calibrated bundle; and
            ``CASE.regions.npz`` with the whole region of each, also where another one overlays it.
        plausibility: switches the shape check between two stages; None for the bundle's own choice.
        shape_prior: where the shape of the others rules out a point, take that maximum of its heatmap that is best
            with a Gaussian prior about the expected place. A bundle with one stage must be calibrated for it.
        all_present: call every landmark present, whatever the calibration says.
        level: probability with which the regions of a calibrated bundle hold their landmarks.
        overwrite: replace an earlier prediction in ``output``.
        debug: let the error of a case through, with its traceback.

    Returns:
        0 if all images were predicted, 1 if some were not, 2 if none was.

    Raises:
        UserError: wrong bundle, no image, or an output folder that would lose files.
    """
    images = find_images(Path(input), **wanted_images(Path(bundle)))
    folder = Path(output)
    previous = _check_output(folder, list(images), overwrite)

    # MONAI takes seconds to import, so everything that can be wrong without it has been checked before.
    from auto_config.bundle.opened import open_bundle

    # What is not asked for is not set, so that bundles from before these settings still predict.
    chosen = {"shape_prior": (shape_prior, False), "all_present": (all_present, False), "region_level": (level, 0.9)}
    settings = {name: value for name, (value, default) in chosen.items() if value != default}
    opened = open_bundle(bundle, device=device, plausibility=plausibility, settings=settings)
    from auto_config.prediction.regions import level_sets, missing_regions

    bounds = level_sets(opened, level) if regions else None
    for line in [] if bounds is None else missing_regions(opened, bounds, level):
        print(line, file=sys.stderr)
    seen = training_cases(opened.root, images)
    _remove_previous(folder, previous)
    writer = PredictionFolder(folder, opened.root)
    failed: dict[str, str] = {}
    with _progress() as progress:
        task = progress.add_task("predict", total=len(images))
        for case, paths in images.items():
            start = time.perf_counter()
            try:
                for note in _notes(paths):
                    progress.console.print(f"warning: {note}", markup=False, highlight=False, soft_wrap=True)
                done, center, where = _predict_case(opened, paths, bounds, level)
            except Exception as error:
                if debug:
                    raise
                failed[case] = one_line(error)
                progress.console.print(
                    f"error: {_named(failed[case], paths[0])}", markup=False, highlight=False, soft_wrap=True
                )
            else:
                seconds = time.perf_counter() - start
                writer.write(case, done["result"], image_center=center, seconds=seconds, fcsv=fcsv, inline_json=json)
                if labelmap:
                    _save_label_map(folder / f"{case}.labels.nii.gz", np.asarray(done["pred"])[0], done["pred"].affine)
                if where is not None:
                    _save_label_map(folder / f"{case}.regions.nii.gz", where[0], where[1].affine)
                    write_level_sets(folder / f"{case}.regions.npz", where[1])
            progress.advance(task)
    options = {
        "command": "predict",
        "device": str(opened.device),
        "plausibility": plausibility,
        "shape_prior": shape_prior,
        "all_present": all_present,
        "level": level,
        "fcsv": fcsv,
        "json": json,
        "labelmap": labelmap,
        "regions": regions,
    }
    writer.finish(options=options, failed=failed, training_cases=[case for case in seen if case not in failed])
    _say_what_was_done(folder, len(images) - len(failed), failed)
    if not failed:
        return DONE
    return SOME_FAILED if len(failed) < len(images) else ALL_FAILED


def _check_output(folder: Path, cases: list[str], overwrite: bool) -> set[str]:
    """Names of the cases of an earlier prediction, which may be replaced; refuses to lose anything else."""
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder}: is a file; give a folder for the predictions")
    previous = previous_cases(folder)
    earlier = [name for name in (PREDICTIONS_FILE, UNCERTAINTY_FILE, RUN_FILE) if (folder / name).exists()]
    if earlier and not overwrite:
        raise UserError(
            f"{folder / earlier[0]}: an earlier prediction is there; give another folder, or --overwrite to replace it"
        )
    for case in cases:
        if (path := foreign_file(folder, case, previous)) is not None:
            raise UserError(
                f"{path}: exists and no earlier prediction wrote it; give another folder for the predictions"
            )
    return previous


def _remove_previous(folder: Path, previous: set[str]) -> None:
    """Take away the files of an earlier prediction and of its evaluation, so that nothing mixes with this one."""
    for case in previous:
        for ending in CASE_ENDINGS:
            (folder / f"{case}{ending}").unlink(missing_ok=True)
    if any((folder / name).exists() for name in (PREDICTIONS_FILE, UNCERTAINTY_FILE, RUN_FILE)):
        for name in (PREDICTIONS_FILE, UNCERTAINTY_FILE, RUN_FILE, *EVALUATION_FILES):
            (folder / name).unlink(missing_ok=True)


def _predict_case(
    opened: Any, paths: tuple[Path, ...], bounds: np.ndarray | None, level: float
) -> tuple[dict[str, Any], np.ndarray, tuple[np.ndarray, LevelSets] | None]:
    """What the bundle gives for the files of an image, the world position of the image's middle, and its regions."""
    from auto_config.bundle_scripts.image_frame import original_center
    from auto_config.prediction.regions import find_regions

    data = opened.preprocess(paths)
    done = opened.predict(data)
    where = None if bounds is None else find_regions(opened, data, done["result"], bounds, level)
    return done, original_center(data["image"], opened.spatial_dims), where


def _save_label_map(path: Path, labels: np.ndarray, affine: Any) -> None:
    """Write a label map (spatial...) as NIfTI, atomically."""
    import nibabel as nib
    from monai.data.utils import to_affine_nd

    temporary = path.with_name(f".{path.name}")
    nib.save(nib.Nifti1Image(labels, to_affine_nd(3, np.asarray(affine))), temporary)
    temporary.replace(path)


def one_line(error: Exception) -> str:
    """The first cause of an error on one line; MONAI wraps it into 'applying transform ...'."""
    while error.__cause__ is not None and not isinstance(error, UserError) and isinstance(error.__cause__, Exception):
        error = error.__cause__
    return " ".join(str(error).split()) or type(error).__name__


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


def _say_what_was_done(folder: Path, count: int, failed: dict[str, str]) -> None:
    print(f"{count} {'image' if count == 1 else 'images'} predicted: {folder / PREDICTIONS_FILE}")
    if failed:
        print(f"{len(failed)} not predicted, see 'failed' in {folder / RUN_FILE}: {', '.join(failed)}", file=sys.stderr)
