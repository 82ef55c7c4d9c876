"""A bundle as three tasks of MONAI Label: find landmarks, move them by clicks, and give them as Slicer's markups."""

from __future__ import annotations

import tempfile
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from monailabel.interfaces.tasks.infer_v2 import InferTask, InferType
from monailabel.utils.others.generic import device_list, device_map

from auto_config.bundle_scripts.grid.grids import apply_affine

from ..core.errors import ClientError
from ..geometry.frames import Frame
from ..labels.label_map_files import LABEL_MAP_ENDINGS, write_label_map
from ..labels.slicer_files import write_fiducials, write_roi_boxes
from ..store.known import Known
from .bundles import Prediction, ServedBundle
from .definitions import definitions
from .editing import edited, new_clicks, read_clicks

TAGS = ("original", "final")
POINTS_FORMATS = ("roi", "fiducial")

KnownPoints = Callable[[str, Sequence[str]], Known]
"""From the id of an image and landmark names to what is known of them."""


class LandmarkTask(InferTask):
    """What the three tasks share: the bundle, its names, the device, the form of the answer.

    The answer is the path of a temporary file, which the caller removes, and a dictionary with ``landmarks`` (the
    bundle's ``result["landmarks"]``), ``label_names`` (name to value, 1..N) and, where the bundle found points, its
    ``result["verdict"]`` as ``verdict``.

    Args:
        bundle: what finds the landmarks.
        type: what clients take the task for.
        description: one sentence for the client's user.
        options: what clients may choose: a list of strings, whose first is the default, or a boolean.
        device: what to run on if the request says nothing; None for the bundle's own choice.
    """

    def __init__(
        self, bundle: ServedBundle, type: InferType, description: str, options: dict[str, Any], device: str | None
    ) -> None:
        devices = [device] if device else device_list()
        config = {"device": devices, **options, "save_label": False, "label_tag": list(TAGS)}
        super().__init__(type, list(bundle.card.names), 3, description, config)
        self.bundle = bundle

    def info(self) -> dict[str, Any]:
        """As the base class; the names and their values are those that the bundle has now.

        ``many`` are the names of which an image may have any number, ``atlas`` says what landmarks are, where the
        bundle has an atlas.
        """
        names, many = self.bundle.card.names, list(self.bundle.card.many)
        atlas = definitions(self.bundle.root, names)
        return {**super().info(), "labels": self.label_names(), "many": many, "atlas": atlas}

    def label_names(self) -> dict[str, int]:
        """The value of each landmark in the label map, 1..N."""
        return {name: value for value, name in enumerate(self.bundle.card.names, start=1)}

    def is_valid(self) -> bool:
        """Always: a bundle without weights answers with what to do."""
        return True

    def get_path(self, validate: bool = True) -> str | None:
        """The weights that clients may download, if there are any or `validate` is off."""
        path = self.bundle.root / "models" / "model.pt"
        return str(path) if path.is_file() or not validate else None

    def __call__(self, request: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        """Answer a request.

        Args:
            request: ``image`` is the path of the image file; ``image_id`` its id, if it is in the data store;
                ``is_gone`` says whether nobody waits for the answer any more.

        Returns:
            The file and the JSON part of the answer; ``ball_radius_mm`` is that of the balls for viewers.

        Raises:
            ClientError: an option that is not allowed, an image or a bundle that cannot be used.
        """
        prediction = self.find(request)
        path = self.write(prediction, request)
        params = {"landmarks": prediction.landmarks, "label_names": self.label_names()}
        verdict = {} if prediction.verdict is None else {"verdict": prediction.verdict}
        return str(path), {**params, **verdict, "ball_radius_mm": prediction.ball_radius_mm}

    def find(self, request: Mapping[str, Any]) -> Prediction:
        """The landmarks that the answer is about."""
        is_gone = request.get("is_gone")
        return self.bundle.predict(Path(request["image"]), device=self._device(request), is_gone=is_gone)

    def clicks(self, request: Mapping[str, Any]) -> dict[str, list[list[float]]]:  # noqa: ARG002  of one that has some
        """The clicks that the answer follows, of landmarks of which an image may have any number."""
        return {}

    @abstractmethod
    def write(self, prediction: Prediction, request: Mapping[str, Any]) -> Path:
        """Write the file of the answer."""

    def new_file(self, ending: str) -> Path:
        """A new empty file outside of the data store; whoever gets it removes it.

        It lies in a folder that no client writes into: a client on this machine keeps the answer in the temporary
        folder under the same name, where it would be removed with ours.
        """
        folder = Path(self._answers.name)
        folder.mkdir(mode=0o700, exist_ok=True)  # a machine may clear its temporary folders while the server runs
        with tempfile.NamedTemporaryFile(dir=folder, prefix="landmarks_", suffix=ending, delete=False) as file:
            return Path(file.name)

    @cached_property
    def _answers(self) -> tempfile.TemporaryDirectory[str]:
        return tempfile.TemporaryDirectory(prefix="landmark_answers_")

    def _device(self, request: Mapping[str, Any]) -> str:
        """What torch calls the device; the request may use that name, the one that clients show, or cpu."""
        devices = device_map()
        name = choice(request, "device", [*self._config["device"], *devices, *devices.values(), "cpu"])
        return devices.get(name, name)


class LandmarkInfer(LandmarkTask):
    """NAME: a label map of small balls on the grid of the image."""

    def __init__(self, bundle: ServedBundle, device: str | None = None) -> None:
        super().__init__(bundle, InferType.SEGMENTATION, bundle.card.description, {}, device)

    def write(self, prediction: Prediction, request: Mapping[str, Any]) -> Path:
        """The label map, of the ending that the request wants."""
        path = self.new_file(label_map_ending(request))
        compress = bool(request.get("result_compress", False))
        write_label_map(path, prediction.labels, prediction.affine, compress=compress)
        return path


class LandmarkEdit(LandmarkInfer):
    """NAME_edit: clicked landmarks move there, and with them those that cannot be where they are any more.

    The others stay where they were, as do all that a person saved. Where an image may have many of a landmark, a click
    adds one or moves the nearest.

    Args:
        bundle: what finds the landmarks.
        known: gives what is known of an image; the bundle finds the other landmarks.
        device: what to run on if the request says nothing.
    """

    def __init__(self, bundle: ServedBundle, known: KnownPoints, device: str | None = None) -> None:
        super().__init__(bundle, device)
        self.type = InferType.DEEPEDIT
        self.description = f"Click where a landmark should be. {bundle.card.description}"
        self._known = known

    def find(self, request: Mapping[str, Any]) -> Prediction:
        """The newest landmarks of the image with the clicked ones at their clicks."""
        names, many = self.bundle.card.names, self.bundle.card.many
        frame = self.bundle.frame(Path(request["image"]))
        clicks = read_clicks(request, names, frame.grid.shape, many)
        image_id = request.get("image_id")
        known = self._known(image_id, names) if image_id else Known()
        # A label, or another bundle, may have several of a landmark of which this bundle knows one.
        at_places = {name: points for name, points in known.points.items() if name in many or len(points) == 1}
        # A click says where a landmark is, but not where its other instances are.
        unsaid = [name for name in names if name not in at_places and (name not in clicks or name in many)]
        only_clicks = not self.bundle.trained and set(unsaid) <= set(clicks)
        asked = None if not unsaid or only_clicks else super().find(request)
        moved = self._moved(request, clicks, known, frame)
        elsewhere = {item["name"] for item in moved}
        found = [item for item in ([] if asked is None else asked.landmarks) if item["name"] not in elsewhere] + moved
        at_places = {name: points for name, points in at_places.items() if name not in elsewhere}
        clicks = {
            name: new_clicks(voxels, known.clicks.get(name, ())) if name in many else voxels
            for name, voxels in clicks.items()
        }
        least = {name: distance * frame.scale for name, distance in many.items()}
        landmarks = edited(names, clicks, at_places, found, frame.grid.affine, many=least)
        return self.bundle.shown(landmarks, frame, None if asked is None else asked.verdict)

    def _moved(
        self, request: Mapping[str, Any], clicks: Mapping[str, np.ndarray], known: Known, frame: Frame
    ) -> list[dict[str, Any]]:
        """The landmarks that clicks move beside the clicked ones; those that a person saved never move."""
        names, many = self.bundle.card.names, self.bundle.card.many
        saved = {name: points[0].world for name, points in known.points.items() if points[0].saved and name not in many}
        if many or not clicks or not self.bundle.trained or len({*saved, *clicks}) == len(names):
            return []
        placed = {name: apply_affine(frame.grid.affine, voxels[-1:])[0] for name, voxels in clicks.items()}
        kept = {name: place for name, place in saved.items() if name not in placed}
        is_gone = request.get("is_gone")
        return self.bundle.moved(Path(request["image"]), placed, kept, device=self._device(request), is_gone=is_gone)

    def clicks(self, request: Mapping[str, Any]) -> dict[str, list[list[float]]]:
        """As the base class."""
        return {name: request[name] for name in self.bundle.card.many if request.get(name)}


class LandmarkPoints(LandmarkTask):
    """NAME_points: Slicer's markups, sub-voxel: ROI boxes, which its plugin submits again, or a point list.

    Args:
        bundle: what finds the landmarks.
        points_format: the default, ``roi`` or ``fiducial``.
        device: what to run on if the request says nothing.
    """

    def __init__(self, bundle: ServedBundle, points_format: str = "roi", device: str | None = None) -> None:
        formats = sorted(POINTS_FORMATS, key=lambda name: name != points_format)
        options = {"points_format": formats}
        super().__init__(bundle, InferType.DETECTION, bundle.card.description, options, device)

    def write(self, prediction: Prediction, request: Mapping[str, Any]) -> Path:
        """The markups; a box is as large as the ball would be."""
        if choice(request, "points_format", self._config["points_format"]) == "fiducial":
            path = self.new_file(".mrk.json")
            write_fiducials(path, prediction.landmarks, prediction.verdict)
            return path
        path = self.new_file(".json")
        write_roi_boxes(path, prediction.landmarks, size_mm=2 * prediction.ball_radius_mm)
        return path


def choice(request: Mapping[str, Any], name: str, allowed: Sequence[str]) -> str:
    """The value of an option; the first allowed one if the request says nothing.

    Raises:
        ClientError: a value that is not allowed.
    """
    value = first(request.get(name))
    if value is None or value == "":
        return allowed[0]
    if value not in allowed:
        raise ClientError(f"{name} is '{value}'; allowed are {', '.join(allowed)}")
    return str(value)


def first(value: Any) -> Any:
    """The first of a list: clients whose user chose nothing send back all that they were offered."""
    if isinstance(value, list):
        return value[0] if value else None
    return value


def label_map_ending(request: Mapping[str, Any]) -> str:
    """The ending of the label map that a request wants, ``.nrrd`` if it does not say.

    Raises:
        ClientError: another ending than those that can be written.
    """
    wanted = request.get("result_extension") or LABEL_MAP_ENDINGS[0]
    if wanted == ".seg.nrrd":
        return ".nrrd"  # Slicer asks so for segments that overlap, which balls do not; it reads a label map as well
    if wanted not in LABEL_MAP_ENDINGS:
        raise ClientError(f"result_extension is '{wanted}'; allowed are {', '.join(LABEL_MAP_ENDINGS)}")
    return str(wanted)
