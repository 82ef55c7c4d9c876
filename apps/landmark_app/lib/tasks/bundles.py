"""The bundles of a folder, each opened when it is first needed and again when its files change."""

from __future__ import annotations

import contextlib
import json
import logging
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from auto_config.bundle.opened import OpenBundle, open_bundle, weight_files
from auto_config.bundle_scripts.grid.grids import apply_affine
from auto_config.bundle_scripts.grid.label_map import draw_balls
from auto_config.errors import UserError

from ..core.errors import ClientError
from ..geometry.frames import Frame, read_frame
from ..labels.slicer_files import row_points
from .corrections import Corrections

logger = logging.getLogger(__name__)

EDIT, POINTS = "_edit", "_points"
"""What a bundle's name gets in the names of its other two tasks."""

_PARTS = ("configs", "scripts", "models")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_WATCHED = ("configs/*.json", "scripts/**/*.py", "models/*.json", "models/fold_*/instances.json")

Signature = tuple[tuple[str, int, int], ...]


@dataclass(frozen=True)
class Card:
    """What is known of a bundle without opening it.

    Attributes:
        names: landmark names in channel order, as people write them.
        version: of the bundle.
        description: one sentence about the bundle.
        ball_radius_mm: radius of the balls that its post-processing draws, in its own world.
        spatial_dims: 3, or 2 for pictures.
        pixel_spacing: pixel size (x, y) in mm with which it reads every picture; None for what each file says.
        many: landmarks of which an image may have any number, with the mm that two of them are never nearer than.
    """

    names: tuple[str, ...]
    version: str
    description: str
    ball_radius_mm: float
    many: Mapping[str, float] = field(default_factory=dict)
    spatial_dims: int = 3
    pixel_spacing: tuple[float, float] | None = None


@dataclass(frozen=True)
class Prediction:
    """What a bundle finds in an image.

    Attributes:
        landmarks: the bundle's ``result["landmarks"]``: name, world (RAS mm), voxel (of the image file), confidence,
            present, radius_mm and more, in channel order; of a landmark with many instances one for each, with its
            number ``instance`` from 1. Of a picture, world and voxel are those of the volume of one slice that viewers
            show; radii and spreads are in the bundle's own unit.
        labels: (I, J, K) uint8 or uint16, balls with the values 1..N on the grid of the image file.
        affine: (4, 4) float64, voxel of the image file to RAS mm.
        ball_radius_mm: radius of the balls in the world of viewers.
        verdict: the bundle's ``result["verdict"]``: ``verdict`` (ok, check, failed), ``reasons`` and more; None of
            bundles that give none, and where the bundle was not asked.
    """

    landmarks: list[dict[str, Any]]
    labels: np.ndarray
    affine: np.ndarray
    ball_radius_mm: float
    verdict: dict[str, Any] | None = None


class ServedBundle:
    """A bundle that several requests use at once.

    One request at a time has the network, which bounds memory however many clients there are. The others wait.

    Args:
        root: folder of the bundle; its name is the bundle's name.

    Raises:
        UserError: the name cannot be used, or the files that say what the bundle finds cannot be read.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self.name = root.name
        if not _NAME.fullmatch(self.name):
            raise UserError(
                f"{root}: a served bundle's folder has a name of A-Z, a-z, 0-9, '.', '_' and '-'; rename it"
            )
        self.card = read_card(self.root)
        self.error: str | None = None
        self._lock = threading.Lock()
        self._open: tuple[str | None, Signature, OpenBundle] | None = None
        self.corrections = Corrections()

    @property
    def trained(self) -> bool:
        """Whether there are weights to predict with."""
        try:
            return bool(weight_files(self.root))
        except (UserError, TypeError, KeyError):
            return False

    def predict(
        self, image: Path, *, device: str | None = None, is_gone: Callable[[], bool] | None = None
    ) -> Prediction:
        """Find the landmarks of an image.

        Args:
            image: file that the bundle's readers know.
            device: such as ``cpu`` or ``cuda:1``; None for the bundle's own choice.
            is_gone: says whether nobody waits for the answer any more; asked before each call of the network.

        Raises:
            ClientError: the bundle has no weights (409) or is broken (500), the image cannot be read (422), or nobody
                waits for the answer any more (499).
        """
        with self._lock:
            opened = self._current(device)
            frame, data = self._prepared(opened, image)
            with _ends_when(is_gone, opened.network):
                done = self.corrections.predict(opened, image, data)
        landmarks: list[dict[str, Any]] = done["result"]["landmarks"]
        verdict: dict[str, Any] | None = done["result"].get("verdict")
        if self.card.spatial_dims == 2:
            return self.shown([_shown(item, frame) for item in landmarks], frame, verdict)
        balls = done["pred"]
        return Prediction(
            landmarks=landmarks,
            labels=balls[0].cpu().numpy(),
            affine=np.asarray(balls.affine.cpu().numpy(), dtype=np.float64),
            ball_radius_mm=self.card.ball_radius_mm,
            verdict=verdict,
        )

    def moved(
        self,
        image: Path,
        clicks: Mapping[str, np.ndarray],
        saved: Mapping[str, np.ndarray | None],
        *,
        device: str | None = None,
        is_gone: Callable[[], bool] | None = None,
    ) -> list[dict[str, Any]]:
        """The landmarks that must lie elsewhere than they were found, given where a person put others.

        Args:
            image: file that the bundle's readers know.
            clicks: RAS mm (3,) of viewers, of each landmark that is clicked.
            saved: the same of landmarks that a person saved before; None for one that is absent.
            device: as for `predict`.
            is_gone: as for `predict`.

        Returns:
            In the form of `Prediction.landmarks`; nothing where the bundle's shape says nothing of them.

        Raises:
            ClientError: as `predict`.
        """
        with self._lock:
            opened = self._current(device)
            if not self.corrections.possible:
                return []
            frame = self.frame(image)
            with _ends_when(is_gone, opened.network):
                landmarks = self.corrections.moved(
                    opened, image, frame, lambda: self._prepared(opened, image)[1], (clicks, saved)
                )
        return [_shown(item, frame) for item in landmarks] if self.card.spatial_dims == 2 else landmarks

    def frame(self, image: Path) -> Frame:
        """Where viewers show an image, and where the bundle has it.

        Raises:
            ClientError: the image cannot be read, or is none of those that the bundle takes (422).
        """
        try:
            return read_frame(image, self.card.spatial_dims, self.card.pixel_spacing)
        except UserError as error:
            message = str(error).replace(str(image), image.name)
            raise ClientError(message, HTTPStatus.UNPROCESSABLE_ENTITY) from error

    def shown(self, landmarks: list[dict[str, Any]], frame: Frame, verdict: dict[str, Any] | None = None) -> Prediction:
        """Landmarks in the world of viewers, with the balls that viewers get."""
        radius, grid = self.card.ball_radius_mm * frame.scale, frame.grid
        values = np.array([self.card.names.index(item["name"]) + 1 for item in landmarks])
        labels = draw_balls(row_points(landmarks), grid.shape, grid.affine, radius, values)
        return Prediction(landmarks, labels, grid.affine, radius, verdict)

    def _prepared(self, opened: OpenBundle, image: Path) -> tuple[Frame, dict[str, Any]]:
        """Where viewers show an image, and what the network gets of it."""
        try:
            frame = read_frame(image, self.card.spatial_dims, self.card.pixel_spacing)
            return frame, opened.preprocess(image)
        except Exception as error:  # readers and transforms raise whatever they like over an odd image
            reason = str(error) if isinstance(error, UserError) else _first_line(error.__cause__ or error)
            message = f"{image.name}: bundle '{self.name}' cannot use the image ({reason.replace(str(image), 'it')})"
            raise ClientError(message, HTTPStatus.UNPROCESSABLE_ENTITY) from error

    def _current(self, device: str | None) -> OpenBundle:
        """The bundle with the weights, configs and scripts that are on disk now."""
        if not (self.root / "models" / "ensemble.json").is_file() and not self.trained:
            self._open = None
            raise ClientError(
                f"bundle '{self.name}' has no weights yet; label some images and train it, or choose another model",
                HTTPStatus.CONFLICT,
            )
        # Taken before reading: what changes meanwhile is read again at the next request.
        signature = _signature(self.root)
        if self._open is None or self._open[:2] != (device, signature):
            # The old network makes room before the new one comes.
            self._open = None
            self._open = (device, signature, self._opened(device))
            self.corrections.begin(self._open[2])
            self.card = read_card(self.root)
        return self._open[2]

    def _opened(self, device: str | None) -> OpenBundle:
        try:
            opened = open_bundle(self.root, device=device)
        except Exception as error:  # a bundle is code, which may raise anything
            logger.exception("bundle %s cannot be opened", self.name)
            reason = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {_first_line(error)}"
            self.error = reason.replace(str(self.root), self.name)
            raise ClientError(
                f"bundle '{self.name}' cannot be used: {self.error}", HTTPStatus.INTERNAL_SERVER_ERROR
            ) from error
        self.error = None
        return opened


@contextlib.contextmanager
def _ends_when(is_gone: Callable[[], bool] | None, network: nn.Module) -> Iterator[None]:
    """Let calls of a network fail as soon as nobody waits for what it finds."""

    def look(*_: Any) -> None:
        if is_gone is not None and is_gone():
            raise ClientError("the client is gone", 499)

    hook = network.register_forward_pre_hook(look)
    try:
        yield
    finally:
        hook.remove()


def find_bundles(folder: Path, chosen: Iterable[str] | None = None) -> tuple[dict[str, ServedBundle], dict[str, str]]:
    """The bundles of a folder, and those that cannot be served.

    Args:
        folder: holds a folder for each bundle.
        chosen: names of the wanted bundles; None for all.

    Returns:
        The usable bundles by name, and one line for each of the others, also by name.

    Raises:
        UserError: no such folder, no bundle in it, or a chosen one that is not there.
    """
    roots = {root.name: root for root in bundle_folders(folder)}
    wanted = list(roots) if chosen is None else list(chosen)
    for name in wanted:
        if name not in roots:
            raise UserError(f"{folder}: has no bundle '{name}'; there are {', '.join(roots)}")
    bundles: dict[str, ServedBundle] = {}
    broken: dict[str, str] = {}
    for name in wanted:
        for suffix in (EDIT, POINTS):
            if name.endswith(suffix) and name.removesuffix(suffix) in wanted:
                broken[name] = (
                    f"its name is that of a task of the bundle '{name.removesuffix(suffix)}'; rename its folder"
                )
        if name in broken:
            continue
        try:
            bundles[name] = ServedBundle(roots[name])
        except UserError as error:
            broken[name] = str(error).replace(str(roots[name].resolve()), name)
    return bundles, broken


def without_pictures(bundles: Mapping[str, ServedBundle]) -> tuple[dict[str, ServedBundle], dict[str, str]]:
    """The bundles that a DICOMweb server's series can be served to, and a line for each of the others, by name."""
    reason = "it is for pictures, which are served from a folder and not from a DICOMweb server"
    kept = {name: bundle for name, bundle in bundles.items() if bundle.card.spatial_dims != 2}
    return kept, {name: reason for name in bundles if name not in kept}


def bundle_folders(folder: Path) -> list[Path]:
    """The folders in ``folder`` that are meant to be bundles, whole or not, by name.

    Raises:
        UserError: no such folder, or no bundle in it.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: is no folder; give the folder that holds the bundles")
    if (folder / "configs").is_dir():
        raise UserError(f"{folder}: is a bundle itself; give the folder that holds it, {folder.resolve().parent}")
    found = sorted(root for root in folder.iterdir() if any((root / part).is_dir() for part in _PARTS))
    if not found:
        raise UserError(f"{folder}: holds no bundle; put there what `auto_config create` writes")
    return found


def read_card(root: Path) -> Card:
    """Read what a bundle finds from its configs.

    Raises:
        UserError: a config is missing or damaged, or the bundle is not one that can be served; names the file.
    """
    metadata = _read(root, "metadata", lambda content: (str(content.get("version", "")), content.get("description")))
    names, dims, many = _read(root, "landmarks", _landmarks)
    if dims not in (2, 3):
        raise UserError(
            f"{root}/configs/landmarks.json: has {dims} dimensions; bundles for 2D and 3D images are served"
        )
    radius = _read(
        root,
        "inference",
        lambda content: float(
            next(
                step["radius_mm"]
                for step in content["postprocessing"]["transforms"]
                if step["_target_"].endswith(".BallLabelMapd")
            )
        ),
    )
    spacing = _read(root, "inference", _pixel_spacing) if dims == 2 else None
    version, description = metadata
    return Card(names, version, str(description or f"Finds {len(names)} landmarks."), radius, many, dims, spacing)


def _read(root: Path, name: str, take: Callable[[Any], Any]) -> Any:
    """What ``take`` finds in a config."""
    path = root / "configs" / f"{name}.json"
    try:
        return take(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); create the bundle again") from error
    except (ValueError, TypeError, KeyError, AttributeError, StopIteration) as error:
        reason = f"{type(error).__name__}: {_first_line(error)}"
        raise UserError(f"{path}: is damaged ({reason}); create the bundle again") from error


def _landmarks(content: Any) -> tuple[tuple[str, ...], int, dict[str, float]]:
    """Names, dimensions, and the landmarks of which an image may have many, with their least distance in mm."""
    items = content["landmarks"]
    many = {
        str(item["name"]): float(item.get("min_distance_mm") or 0.0)
        for item in items
        if item.get("instances") == "many"
    }
    return tuple(str(item["name"]) for item in items), int(content["spatial_dims"]), many


def _pixel_spacing(content: Any) -> tuple[float, float] | None:
    """The pixel size (x, y) in mm with which a bundle reads every picture."""
    spacing = content.get("pixel_spacing")
    return None if spacing is None else (float(spacing[0]), float(spacing[1]))


def _shown(item: dict[str, Any], frame: Frame) -> dict[str, Any]:
    """A landmark of a picture as viewers have it; matrices of the bundle's plane are left out."""
    kept = {key: value for key, value in item.items() if not key.endswith("_mm2")}
    world = frame.to_shown(np.array([item["world"]]))
    voxel = apply_affine(np.linalg.inv(frame.grid.affine), world)[0]
    return {**kept, "world": world[0].tolist(), "voxel": [float(x) for x in voxel]}


def _signature(root: Path) -> Signature:
    """Name, size and time of change of each file that decides what a bundle predicts."""
    files = {path for pattern in _WATCHED for path in root.glob(pattern)}
    with contextlib.suppress(UserError, TypeError, KeyError):  # opening says what is wrong with the list of weights
        files |= set(weight_files(root))
    entries = []
    for path in sorted(files):
        with contextlib.suppress(FileNotFoundError):  # a training removes the calibration of weights that it replaces
            stat = path.stat()
            entries.append((str(path.relative_to(root)), stat.st_size, stat.st_mtime_ns))
    return tuple(entries)


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [""])[0]
