"""Open a trained bundle, predict images from files or in memory, and take the points on as tables or Slicer files."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from auto_config.api.arrays import ArrayImage
from auto_config.api.plotting import slices_figure
from auto_config.bundle.opened import OpenBundle
from auto_config.bundle.opened import open_bundle as open_parts
from auto_config.bundle_scripts.images.files import case_name
from auto_config.bundle_scripts.images.frame import original_center
from auto_config.bundle_scripts.inference.prediction_files import (
    PredictionFolder,
    landmark_note,
    prediction_columns,
    prediction_rows,
    result_landmarks,
    verdict_of,
)
from auto_config.bundle_scripts.points.landmark_files import write_markups
from auto_config.bundle_scripts.points.landmarks import LandmarkSet
from auto_config.datasets import Dataset
from auto_config.datasets.images import read_image
from auto_config.errors import UserError
from auto_config.prediction.cost import peak_memory
from auto_config.prediction.input import find_images, wanted_images
from auto_config.wording import install_line

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

_SHOWN = 6
"""Landmarks that a picture shows where nobody names any."""


def pandas_package() -> Any:
    """The package pandas, which only tables need.

    Raises:
        UserError: it is not installed.
    """
    try:
        import pandas
    except ImportError as error:
        raise UserError(f"to_pandas() needs pandas; {install_line('pandas')}") from error
    return pandas


AnyImage = str | Path | ArrayImage
"""A file (or the folder of a DICOM series), or an image in memory."""


@dataclass(frozen=True)
class CasePrediction:
    """The landmarks of one image.

    Attributes:
        case: its name.
        result: all that is known, as ``CASE.json`` has it: see `LandmarkResultd` in the bundle's scripts.
        center: (D,) world mm of the middle of the image.
        seconds: that it took.
        unit: ``"mm"``, or ``"px"`` for pictures whose pixel size is not known.
    """

    case: str
    result: Mapping[str, Any]
    center: np.ndarray
    seconds: float
    unit: str = "mm"

    @property
    def names(self) -> tuple[str, ...]:
        """Landmark names, in the order of the bundle; that of one with many instances repeats."""
        return tuple(item["name"] for item in self.result["landmarks"])

    @property
    def points(self) -> np.ndarray:
        """(L, D) world mm, also of landmarks that are called absent."""
        return np.array([item["world"] for item in self.result["landmarks"]], dtype=np.float64)

    @property
    def present(self) -> np.ndarray:
        """(L,) whether each landmark is called present."""
        return np.array([bool(item["present"]) for item in self.result["landmarks"]])

    @property
    def confidence(self) -> np.ndarray:
        """(L,) probability that each is there, once the bundle is calibrated."""
        return np.array([item["confidence"] for item in self.result["landmarks"]], dtype=np.float64)

    @property
    def radius(self) -> np.ndarray:
        """(L,) mm of the ball that holds the true point with the probability ``result["level"]``; NaN if not known."""
        values = [item["radius_mm"] for item in self.result["landmarks"]]
        return np.array([np.nan if value is None else value for value in values], dtype=np.float64)

    @property
    def verdict(self) -> str:
        """Of the whole case: ``"ok"``, ``"check"`` or ``"failed"``; empty from bundles of earlier versions."""
        return str(verdict_of(self.result)["verdict"])

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why the verdict is not ``"ok"``, a sentence each."""
        return tuple(verdict_of(self.result)["reasons"])

    @property
    def landmarks(self) -> LandmarkSet:
        """As a `LandmarkSet`: those that are called present have a point, the others are absent."""
        return result_landmarks(self.result)

    def plot(
        self,
        image: AnyImage | Sequence[Path],
        *,
        truth: LandmarkSet | None = None,
        landmarks: Sequence[str] | None = None,
        pixel_spacing: Sequence[float] | None = None,
        width: float | None = None,
    ) -> Figure:
        """Slices through the points, with their regions and the true points.

        Args:
            image: the image that was predicted: a file, one file for each channel, or an `ArrayImage`.
            truth: true points in world mm; None where nobody knows them.
            landmarks: names of those to show; the first six if not given.
            pixel_spacing: mm of a pixel of a picture, if it was predicted with one.
            width: mm that each slice shows, such as a few times a region that is small; enough to know the place if not
                given.

        Raises:
            UserError: a landmark that the prediction does not have, an image that cannot be read, a width that is not
                above 0, or matplotlib is not installed.
        """
        wanted = list(dict.fromkeys(self.names))[:_SHOWN] if landmarks is None else list(landmarks)
        if unknown := [name for name in wanted if name not in self.names]:
            raise UserError(f"{self.case} has no landmark {unknown[0]!r}; it has {', '.join(self.names[:10])}")
        rows = [row for name in wanted for row, own in enumerate(self.names) if own == name]
        if isinstance(image, ArrayImage):
            shown = image.image()
        else:
            shown = read_image(
                [Path(image)] if isinstance(image, str | Path) else [Path(one) for one in image], pixel_spacing
            )
        true = None
        if truth is not None:
            ordered = truth.ordered([self.names[row] for row in rows])
            true = np.where(ordered.present[:, None], ordered.points, np.nan)
        return slices_figure(
            shown,
            [self.names[row] for row in rows],
            self.points[rows],
            truth=true,
            radius=self.radius[rows],
            present=self.present[rows],
            unit=self.unit,
            width=width,
        )

    def to_markups(self, path: str | Path) -> Path:
        """Write the points as Slicer Markups (``.mrk.json``)."""
        level, verdict = self.result.get("level"), verdict_of(self.result)
        notes = [landmark_note(item, level, self.unit, verdict) for item in self.result["landmarks"]]
        write_markups(Path(path), self.landmarks, descriptions=notes, node_name=self.case)
        return Path(path)


@dataclass(frozen=True)
class Predictions(Mapping[str, CasePrediction]):
    """The landmarks of several images, by the name of their case.

    Attributes:
        bundle: folder of the bundle.
        cases: predictions by case.
        peak_memory: MB of ``process`` and ``gpu``.
    """

    bundle: Path
    cases: Mapping[str, CasePrediction]
    peak_memory: Mapping[str, float | None]

    def __getitem__(self, case: str) -> CasePrediction:
        return self.cases[case]

    def __iter__(self) -> Iterator[str]:
        return iter(self.cases)

    def __len__(self) -> int:
        return len(self.cases)

    def to_pandas(self) -> pandas.DataFrame:
        """A table with the columns of ``predictions.csv``: a row for each case and landmark.

        Raises:
            UserError: pandas is not installed.
        """
        pandas = pandas_package()
        dims = next((one.points.shape[1] for one in self.cases.values() if len(one.names)), 3)
        rows = [row for case, one in self.cases.items() for row in prediction_rows(case, one.result, one.unit)]
        table = pandas.DataFrame(rows, columns=prediction_columns(dims))
        numbers = [column for column in table.columns if column not in ("case", "landmark", "verdict")]
        table[numbers] = table[numbers].apply(pandas.to_numeric, errors="coerce")
        return table

    def plot(
        self, case: str, truth: Dataset, *, landmarks: Sequence[str] | None = None, width: float | None = None
    ) -> Figure:
        """Slices of a case of a data set through its predicted points, beside the true ones: see `CasePrediction.plot`.

        Args:
            case: its name, in the predictions and in the data set.
            truth: the data set, which knows the image and, where it is labelled, the points.
            landmarks: names of those to show; the first six if not given.
            width: mm that each slice shows.

        Raises:
            UserError: there is no such case, and what `CasePrediction.plot` raises.
        """
        own = next((one for one in truth.cases if one.name == case), None)
        if own is None or case not in self.cases:
            where = "predictions" if own is not None else "data set"
            raise UserError(f"case {case!r} is not in the {where}; predicted are {', '.join(list(self)[:10])}")
        return self.cases[case].plot(
            own.image, truth=own.landmarks, landmarks=landmarks, pixel_spacing=own.pixel_spacing, width=width
        )

    def to_markups(self, folder: str | Path) -> list[Path]:
        """Write ``CASE.mrk.json`` of each case, for 3D Slicer."""
        Path(folder).mkdir(parents=True, exist_ok=True)
        return [one.to_markups(Path(folder) / f"{case}.mrk.json") for case, one in self.cases.items()]

    def save(self, folder: str | Path) -> Path:
        """Write what `auto_config predict` writes: Slicer files, tables and ``run.json``."""
        writer = PredictionFolder(folder, self.bundle)
        for case, one in self.cases.items():
            writer.write(case, one.result, image_center=one.center, seconds=one.seconds)
        writer.finish(options={"command": "predict in Python"}, peak_memory=self.peak_memory)
        return Path(folder)


@dataclass(frozen=True)
class Model:
    """A trained bundle, ready to predict.

    Attributes:
        opened: its parts.
        unit: of its points, ``"mm"`` or ``"px"``.
    """

    opened: OpenBundle
    unit: str = "mm"

    @property
    def names(self) -> tuple[str, ...]:
        """Landmark names."""
        return self.opened.names

    def predict(self, image: AnyImage | Sequence[Path], *, case: str | None = None) -> CasePrediction:
        """Predict one image.

        Args:
            image: a file, one file for each channel, or an `ArrayImage`.
            case: what to call it; the name of the file if not given.

        Raises:
            UserError: the image cannot be read, or does not fit the bundle.
        """
        start = time.perf_counter()
        if isinstance(image, ArrayImage):
            data, name = self.opened.preprocess_in_memory(image.image()), "image"
        else:
            paths = [Path(image)] if isinstance(image, str | Path) else list(image)
            data, name = self.opened.preprocess(paths), case_name(paths[0])
        done = self.opened.predict(data)
        center = original_center(data["image"], self.opened.spatial_dims)
        return CasePrediction(case or name, done["result"], center, time.perf_counter() - start, self.unit)


def open_bundle(bundle: str | Path, *, device: str | None = None, **settings: Any) -> Model:
    """Open a trained bundle, once for many images.

    Args:
        bundle: its folder.
        device: such as ``"cpu"`` or ``"cuda:1"``; a GPU if there is one.
        settings: other values of ids of its ``inference.json``: ``all_present=True``, ``region_level=0.8``.

    Raises:
        UserError: not a trained bundle, or a setting that it does not have.
    """
    opened = open_parts(bundle, device=device, settings=settings)
    landmarks = json.loads((opened.root / "configs" / "landmarks.json").read_text(encoding="utf-8"))
    return Model(opened, str(landmarks.get("unit", "mm")))


def predict(
    bundle: str | Path | Model,
    images: AnyImage | Mapping[str, AnyImage] | Sequence[AnyImage],
    *,
    device: str | None = None,
    **settings: Any,
) -> Predictions:
    """Predict images.

    Args:
        bundle: folder of a trained bundle, or what `open_bundle` gave.
        images: an image, several, or images by the name of their case. A path may be a folder of images or a data
            list (its test cases), as for `auto_config predict`.
        device: as for `open_bundle`; of a bundle that is not open yet.
        settings: the same.

    Raises:
        UserError: the bundle cannot be opened, an image cannot be read, or two have one name.
    """
    model = bundle if isinstance(bundle, Model) else open_bundle(bundle, device=device, **settings)
    if isinstance(bundle, Model) and (device is not None or settings):
        raise UserError("the bundle is open already; give device and settings to open_bundle")
    found = {case: model.predict(image, case=case) for case, image in _by_case(model, images).items()}
    return Predictions(model.opened.root, found, peak_memory(model.opened.device))


def _by_case(model: Model, images: Any) -> dict[str, Any]:
    if isinstance(images, Mapping):
        return dict(images)
    several = [images] if isinstance(images, str | Path | ArrayImage) else list(images)
    wanted = wanted_images(model.opened.root)
    by_case: dict[str, Any] = {}
    for number, image in enumerate(several):
        if isinstance(image, ArrayImage):
            found: dict[str, Any] = {f"image_{number}": image}
        else:
            found = dict(find_images(Path(image), **wanted))
        if twice := by_case.keys() & found.keys():
            raise UserError(f"two images are called '{min(twice)}'; give them as a dictionary by the name of the case")
        by_case |= found
    return by_case
