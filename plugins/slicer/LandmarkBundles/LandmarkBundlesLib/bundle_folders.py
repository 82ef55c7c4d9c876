"""The bundles of a folder on this machine: what each finds, or why it cannot be used."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

METADATA, INFERENCE, LANDMARKS = "configs/metadata.json", "configs/inference.json", "configs/landmarks.json"


@dataclass(frozen=True)
class LocalBundle:
    """A folder that is a bundle, or was meant to be one.

    Attributes:
        path: the folder.
        name: of the bundle; of the folder where its files do not say it.
        landmarks: their names in order.
        many: landmarks that an image may have any number of.
        modality: such as ``MR``; empty where nobody said it.
        version: of the bundle.
        problem: why it cannot predict here, in one line; empty where it can.
        calibrated: whether it knows how far off its points may be; without that it has no regions.
    """

    path: Path
    name: str
    landmarks: tuple[str, ...] = ()
    many: tuple[str, ...] = ()
    modality: str = ""
    version: str = ""
    problem: str = ""
    calibrated: bool = False

    @property
    def title(self) -> str:
        """A text for a list: the name, and that it cannot be used."""
        return f"{self.name} (cannot be used)" if self.problem else self.name

    @property
    def summary(self) -> str:
        """What it finds in one line, or why it cannot be used."""
        if self.problem:
            return self.problem
        parts = [f"{len(self.landmarks)} landmarks"]
        if self.modality not in ("", "unknown"):
            parts.append(self.modality)
        if self.version:
            parts.append(f"version {self.version}")
        if not self.calibrated:
            parts.append("not calibrated")
        return f"{', '.join(parts)}: {', '.join(self.landmarks)}"


class _BrokenError(Exception):
    """Why a folder is no bundle that can be used."""


def bundles_in(folder: Path) -> list[LocalBundle]:
    """The bundles of a folder, sorted by name: the folder itself if it is one, else those of its folders that are.

    Args:
        folder: folder of bundles. A folder with one of the two files that make a bundle, or with `configs`, was meant
            to be one and is in the list with its problem; others are passed over.

    Raises:
        OSError: the folder cannot be read.
    """
    if _meant(folder):
        return [read_bundle(folder)]
    return sorted((read_bundle(path) for path in folder.iterdir() if _meant(path)), key=lambda one: one.name.lower())


def read_bundle(path: Path) -> LocalBundle:
    """What a bundle says of itself; never fails, its ``problem`` says what is wrong."""
    name = path.name
    try:
        for file in (METADATA, INFERENCE):
            if not (path / file).is_file():
                raise _BrokenError(f"{path}: has no {file}; give a folder that `auto_config create` wrote")
        metadata = _object(path / METADATA)
        name = str(metadata.get("name") or name)
        _object(path / INFERENCE)
        image = metadata.get("network_data_format", {}).get("inputs", {}).get("image", {})
        table = _object(path / LANDMARKS)
        names = tuple(str(item["name"]) for item in table["landmarks"])
        many = tuple(str(item["name"]) for item in table["landmarks"] if item.get("instances") == "many")
        problem = _unusable(path, int(table["spatial_dims"]), int(image.get("num_channels", 1)))
        version = str(metadata.get("version", ""))
        calibrated = (path / "models" / "calibration.json").is_file()
        return LocalBundle(path, name, names, many, str(image.get("modality", "")), version, problem, calibrated)
    except _BrokenError as error:
        return LocalBundle(path, name, problem=str(error))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        return LocalBundle(path, name, problem=f"{path}: its configs do not say which landmarks it finds ({error!r})")


def landmark_table(path: Path) -> list[Mapping[str, Any]]:
    """The rows of a bundle's table of landmarks; none where it cannot be read."""
    try:
        return [item for item in _object(path / LANDMARKS)["landmarks"] if isinstance(item, Mapping)]
    except (_BrokenError, KeyError, TypeError):
        return []


def _meant(path: Path) -> bool:
    return path.is_dir() and ((path / "configs").is_dir() or (path / METADATA).exists() or (path / INFERENCE).exists())


def _unusable(path: Path, spatial_dims: int, channels: int) -> str:
    """Why a bundle whose files are in order cannot predict a volume of Slicer."""
    if spatial_dims != 3:
        return f"{path}: is for pictures; predict them with `auto_config predict`, or through a server"
    if channels != 1:
        return f"{path}: takes images of {channels} channels; predict them with `auto_config predict`"
    listed = path / "models" / "ensemble.json"
    try:
        files = [str(file) for file in _object(listed)["files"]] if listed.is_file() else ["model.pt"]
    except (_BrokenError, KeyError, TypeError):
        return f"{listed}: does not list the weights; train the bundle again"
    for file in files:
        if not (path / "models" / file).is_file():
            return f"{path}: has no models/{file}; train it with `auto_config train`"
    return ""


def _object(path: Path) -> Mapping[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise _BrokenError(f"{path}: cannot be read ({error.strerror or error})") from error
    except ValueError as error:
        raise _BrokenError(f"{path}: is not JSON ({error})") from error
    if not isinstance(document, Mapping):
        raise _BrokenError(f"{path}: must be a JSON object")
    return document
