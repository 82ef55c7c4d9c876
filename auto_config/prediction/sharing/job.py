"""What a process needs to predict images: how the bundle is opened, and which files are wanted."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from auto_config.bundle.opened import OpenBundle, open_bundle
from auto_config.bundle_scripts.images.frame import original_center
from auto_config.bundle_scripts.inference.prediction_files import verdict_of
from auto_config.bundle_scripts.points.landmarks import LandmarkSet
from auto_config.choices import Runtime
from auto_config.datasets.images import read_header
from auto_config.errors import one_line
from auto_config.prediction.level_set_files import LevelSets, write_level_sets
from auto_config.prediction.regions import find_regions, level_sets, missing_regions

if TYPE_CHECKING:
    from auto_config.prediction.fixed_cases import Fixed

LABELS, REGIONS, LEVEL_SETS = VOLUMES = (".labels.nii.gz", ".regions.nii.gz", ".regions.npz")
"""What the further files of a case end with."""


@dataclass(frozen=True)
class Job:
    """A bundle and what is wanted of it, for any process.

    Args:
        bundle: Its folder.
        output: Folder of the results, in which files of a case are first written under a name with a dot.
        plausibility: See `open_bundle`, as the next one.
        settings: Other values for ids of ``inference.json``.
        runtime: ``torch``, or ``onnx`` for networks by onnxruntime.
        fcsv: Write ``CASE.fcsv``.
        json: Write ``CASE.json`` with all that is known of each landmark.
        labelmap: Write ``CASE.labels.nii.gz``, balls on the grid of the image.
        regions: Write ``CASE.regions.nii.gz`` and ``.npz``.
        level: Probability of these regions.
        fixed: Points that a person set in some cases, after which the others are looked for again; None for none.
        debug: Let the error of a case through.
    """

    bundle: Path
    output: Path
    plausibility: bool | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    runtime: Runtime = "torch"
    fcsv: bool = False
    json: bool = False
    labelmap: bool = False
    regions: bool = False
    level: float = 0.9
    fixed: Mapping[str, LandmarkSet] | None = None
    debug: bool = False


@dataclass(frozen=True)
class Outcome:
    """What came of a case.

    Args:
        case: Its name.
        result: Of the bundle, see `LandmarkResultd`; None where it could not be predicted.
        center: (D,) world mm of the middle of the image.
        seconds: That it took.
        notes: Lines to print.
        error: Why it could not be predicted, in one line.
        volumes: Further files of the case, by the name that each shall have, as they lie there now.
    """

    case: str
    result: dict[str, Any] | None
    center: np.ndarray
    seconds: float
    notes: tuple[str, ...] = ()
    error: str | None = None
    volumes: Mapping[str, Path] = field(default_factory=dict)


class Predictor:
    """An open bundle that predicts the images of a job.

    Args:
        job: What is wanted.
        device: Such as ``cuda:1``; None for the bundle's own choice.

    Attributes:
        device: Where it predicts.
        notes: Lines on what the bundle cannot do of the job.

    Raises:
        UserError: The bundle cannot be opened, or the points that a person set cannot move others.
    """

    def __init__(self, job: Job, device: str | None) -> None:
        self._job, self._ends = job, ExitStack()
        self._opened: OpenBundle = open_bundle(
            job.bundle, device=device, plausibility=job.plausibility, settings=job.settings
        )
        if job.runtime == "onnx":
            from auto_config.exporting.runtime import by_onnxruntime

            self._opened = self._ends.enter_context(by_onnxruntime(self._opened))
        self._fixed: Fixed | None = None
        if job.fixed is not None:
            from auto_config.prediction.fixed_cases import Fixed

            self._fixed = Fixed.of(self._opened, job.fixed)
        self._bounds = level_sets(self._opened, job.level) if job.regions else None
        self.device = self._opened.device
        self.notes = [] if self._bounds is None else missing_regions(self._opened, self._bounds, job.level)

    def close(self) -> None:
        """Let go of what the runtime has on disk."""
        self._ends.close()

    def read(self, paths: tuple[Path, ...]) -> tuple[dict[str, Any], float]:
        """The image on the planned grid, and the seconds that it took.

        Args:
            paths: Its files, one for each channel.
        """
        start = time.perf_counter()
        return self._opened.preprocess(paths), time.perf_counter() - start

    def predict(
        self, case: str, paths: tuple[Path, ...], content: Callable[[], tuple[dict[str, Any], float]] | None = None
    ) -> Outcome:
        """Predict the image of a case and write its further files; an error of the case is its outcome.

        Args:
            case: Its name.
            paths: Its files, one for each channel.
            content: Gives what `read` gives, or raises what it raised; None: it is read now.

        Returns:
            The outcome; its seconds are those of reading and of predicting.
        """
        notes = []
        try:
            notes += [f"warning: {note}" for note in _notes(paths)]
            data, reading = self.read(paths) if content is None else content()
            start = time.perf_counter()
            done, center, where = self._found(case, data)
        except Exception as error:
            if self._job.debug:
                raise
            reason = one_line(error)
            said = reason if str(paths[0]) in reason else f"{paths[0]}: {reason}"
            return Outcome(case, None, np.zeros(0), 0.0, (*notes, f"error: {said}"), reason)
        seconds, result = reading + time.perf_counter() - start, done["result"]
        if (turn := result.get("turned_deg")) is not None:
            said = f"lies turned by {turn:.0f} degrees against the training cases and was turned back"
            notes.append(f"note: {paths[0]}: {said}")
        if (why := result.get("all_windows")) is not None:
            notes.append(f"note: {paths[0]}: all windows were looked at ({why})")
        return Outcome(case, result, center, seconds, tuple(notes), volumes=self._volumes(case, done, where))

    def _found(
        self, case: str, data: dict[str, Any]
    ) -> tuple[dict[str, Any], np.ndarray, tuple[np.ndarray, LevelSets] | None]:
        """What the bundle gives for an image, the world position of the image's middle, and its regions."""
        done = self._opened.predict(data) if self._fixed is None else self._fixed.predict(self._opened, case, data)
        where = None
        if self._bounds is not None:
            where = find_regions(self._opened, data, _drawn(done["result"]), self._bounds, self._job.level)
        return done, original_center(data["image"], self._opened.spatial_dims), where

    def _volumes(
        self, case: str, done: Mapping[str, Any], where: tuple[np.ndarray, LevelSets] | None
    ) -> dict[str, Path]:
        """Write the label map of balls and the regions of a case, those that are wanted, under names with a dot."""
        written = {}

        def place(ending: str) -> Path:
            written[f"{case}{ending}"] = self._job.output / f".{case}{ending}"
            return written[f"{case}{ending}"]

        if self._job.labelmap:
            balls = done["pred"]
            _save_label_map(place(LABELS), np.asarray(balls)[0], balls.affine)
        if where is not None:
            _save_label_map(place(REGIONS), where[0], where[1].affine)
            write_level_sets(place(LEVEL_SETS), where[1])
        return written


def _drawn(result: Mapping[str, Any]) -> Mapping[str, Any]:
    """What regions are drawn of: nothing of a case that has failed, whose regions nobody promises to hold."""
    if verdict_of(result)["verdict"] != "failed":
        return result
    return {**result, "landmarks": [{**item, "present": 0} for item in result["landmarks"]]}


def _save_label_map(path: Path, labels: np.ndarray, affine: Any) -> None:
    """Write a label map (spatial...) as NIfTI."""
    import nibabel as nib
    from monai.data.utils import to_affine_nd

    nib.save(nib.Nifti1Image(labels, to_affine_nd(3, np.asarray(affine))), path)


def _notes(paths: tuple[Path, ...]) -> list[str]:
    """What `inspect` warns of in the way that files are read (colour); the bundle knows the size of a pixel itself."""
    if any(path.is_dir() for path in paths):
        return []
    header = read_header(paths)
    return [f"{header.path}: {note}" for note in header.notes if "--pixel_spacing" not in note]
