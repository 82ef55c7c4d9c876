"""What every peer needs: the split of a data set, predictions in the form that `evaluate` reads, and the evaluation."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from auto_config.bundle_scripts.files.text import atomic_write_text
from auto_config.bundle_scripts.images.frame import image_center
from auto_config.datasets.images import Header, read_header
from auto_config.datasets.model.dataset import Case, Dataset, present_points
from auto_config.errors import UserError
from auto_config.evaluation.predictions import WORLD_COLUMNS
from auto_config.planning import make_split, read_test_file
from auto_config.prediction.cost import process_memory


@dataclass(frozen=True)
class PeerSplit:
    """The cases of a data set by what they are for.

    Attributes:
        training: cases that the weights are learnt from.
        validation: training cases that only choose among weights.
        test: cases that are predicted.
    """

    training: tuple[Case, ...]
    validation: tuple[Case, ...]
    test: tuple[Case, ...]

    @property
    def known(self) -> tuple[Case, ...]:
        """All training cases, those of the validation too."""
        return (*self.training, *self.validation)


def split_cases(dataset: Dataset, test: Path | None) -> PeerSplit:
    """The split of `create --test FILE` and `train --fold 0`: the same cases train, choose weights and test.

    Args:
        dataset: as it was read.
        test: file with the name of a test case on each line; None for those that the data set declares.

    Raises:
        UserError: the file cannot be read or holds unknown names, or no case is left for one of the three.
    """
    names = None if test is None else read_test_file(test)
    found = make_split(dataset.cases, test_fraction=0.0, test_names=names)
    first = {name for name, fold in found.folds.items() if fold == 0}
    split = PeerSplit(
        training=tuple(case for case in dataset.cases if case.name in found.folds and case.name not in first),
        validation=tuple(case for case in dataset.cases if case.name in first),
        test=tuple(case for case in dataset.cases if case.name in found.test),
    )
    if not (split.training and split.validation and split.test):
        raise UserError(
            f"{dataset.source}: {len(split.training)} cases to train on, {len(split.validation)} to validate on and "
            f"{len(split.test)} to test on; each needs one: give --test FILE, and more cases"
        )
    return split


def centers(cases: Sequence[Case]) -> dict[str, np.ndarray]:
    """The middle of each image, (D,) world mm by the name of the case, from the headers alone."""
    return {case.name: _center(read_header(case.image, case.pixel_spacing)) for case in cases}


def _center(header: Header) -> np.ndarray:
    return image_center(header.shape, header.affine)


def write_predictions(
    folder: Path,
    dataset: Dataset,
    split: PeerSplit,
    points: Mapping[str, np.ndarray],
    seconds: Mapping[str, float],
    *,
    package: tuple[str, str],
) -> None:
    """Write ``predictions.csv`` and ``run.json``, as far as `evaluate` reads them.

    Args:
        folder: where they go; made if it is not there.
        dataset: with the names of landmarks.
        split: its training cases give the mean shape, which `evaluate` shows beside the errors.
        points: (L, D) world mm by the name of the test case.
        seconds: that each test case took.
        package: name and version of what predicted.
    """
    folder.mkdir(parents=True, exist_ok=True)
    middles = centers([*split.known, *split.test])
    columns = ["x_px", "y_px"] if dataset.unit == "px" else []
    with (folder / "predictions.csv").open("w", encoding="utf-8", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["case", "landmark", *columns, *WORLD_COLUMNS[dataset.spatial_dims], "present"])
        for case in split.test:
            for name, point in zip(dataset.names, points[case.name], strict=True):
                numbers = [f"{value:.6f}" for value in point]
                table.writerow([case.name, name, *numbers, *([""] * len(columns)), 1])
    offsets = [present_points(case, dataset.names, dataset.spatial_dims) - middles[case.name] for case in split.known]
    known = np.isfinite(offsets)
    mean = np.where(known, offsets, 0.0).sum(0) / np.maximum(known.sum(0), 1)
    # A landmark that no training case has is left out: its mean is not known.
    shape = {name: mean[k].tolist() for k, name in enumerate(dataset.names) if known[:, k].any()}
    run: dict[str, Any] = {
        "bundle": {"name": package[0], "version": package[1]},
        "training_cases": [case.name for case in split.known],
        "mean_shape": shape,
        "image_centers": {case.name: middles[case.name].tolist() for case in split.test},
        "seconds": {name: round(value, 3) for name, value in seconds.items()},
        "peak_memory_mb": {"process": process_memory(), "gpu": None},
        "failed": {},
    }
    atomic_write_text(folder / "run.json", json.dumps(run, indent=1, ensure_ascii=False) + "\n")


def evaluated(folder: Path, source: Path, pixel_spacing: Sequence[float] | None) -> dict[str, Any]:
    """Let `auto_config evaluate` compare predictions with the truth, as ours are compared.

    Args:
        folder: of the predictions.
        source: of the data set.
        pixel_spacing: mm of a pixel of pictures, as `evaluate` takes it.

    Returns:
        The content of ``metrics.json``.

    Raises:
        UserError: the evaluation failed; it said why.
    """
    pixels = [] if pixel_spacing is None else ["--pixel_spacing", ",".join(map(str, pixel_spacing))]
    command = [sys.executable, "-m", "auto_config", "evaluate", str(folder), str(source), *pixels]
    # What it prints belongs to a person; standard output is for the JSON of the script.
    if subprocess.run(command, check=False, stdout=sys.stderr).returncode:
        raise UserError(f"{folder}: was not evaluated")
    return json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
