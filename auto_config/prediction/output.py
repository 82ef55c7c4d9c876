"""The folder of predictions: what may be replaced there, and what is never lost."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path

from auto_config.bundle_scripts.inference.prediction_files import (
    CASE_ENDINGS,
    PREDICTIONS_FILE,
    RUN_FILE,
    UNCERTAINTY_FILE,
    foreign_file,
    previous_cases,
)
from auto_config.errors import UserError

EVALUATION_FILES = (
    "metrics.json",
    "per_landmark.csv",
    "per_case.csv",
    "instances.csv",
    "presence.csv",
    "regions.csv",
    "measures.csv",
    "other_model.csv",
    "by_group.csv",
    "report.html",
)
"""What `evaluate` writes beside predictions; it says nothing of those that replace them."""


def check_output(folder: Path, cases: Iterable[str], overwrite: bool) -> set[str]:
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


def remove_previous(folder: Path, previous: set[str], kept: Collection[str] = ()) -> None:
    """Take away the files of an earlier prediction and of its evaluation, so that nothing mixes with this one.

    Args:
        folder: Of the predictions.
        previous: Names of its cases.
        kept: Those that stay. Where there are some, the tables stay until they are written anew.
    """
    for case in previous - set(kept):
        for ending in CASE_ENDINGS:
            (folder / f"{case}{ending}").unlink(missing_ok=True)
    if any((folder / name).exists() for name in (PREDICTIONS_FILE, UNCERTAINTY_FILE, RUN_FILE)):
        tables = () if kept else (PREDICTIONS_FILE, UNCERTAINTY_FILE, RUN_FILE)
        for name in (*tables, *EVALUATION_FILES):
            (folder / name).unlink(missing_ok=True)
