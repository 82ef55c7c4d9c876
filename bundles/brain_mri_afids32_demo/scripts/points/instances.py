"""Landmarks of which an image has any number (many), and pairs of landmarks that may change places (exchangeable).

A network has one channel for each landmark. Points travel in rows: row ``r < L`` is the first (or only) point of
landmark ``r``, and behind these every landmark of which there are many has further rows, empty where an image has
fewer. Many points of one landmark, or the two points of an exchangeable pair, share one target: the maximum of their
cones. So the target does not change when its points change places, in a patch that shows only some of them too; an
assignment that the loss chooses for each patch would let one channel answer for whichever end a patch shows.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .landmarks import ABSENT, PRESENT, UNKNOWN, LandmarkFileError, LandmarkSet

THRESHOLD = 0.5
"""Confidence from which an instance counts before a training has calibrated it: half the height of a cone."""

THRESHOLDS_FILE = "instances.json"
"""Beside the weights: ``{"thresholds": {name: confidence}, "f1": {name: of the validation cases}}``."""


@dataclass(frozen=True)
class Instances:
    """How rows of points belong to landmarks.

    Args:
        names: (L,) landmark names in the order of the channels.
        most: (L,) number of rows of each landmark; 1 where an image has one of them.
        many: (L,) whether an image may have any number.
        exchangeable: pairs of channels whose points may change places.
        min_distance_mm: (L,) two instances, or the two of a pair, are never nearer than this; 0 for other landmarks.
        thresholds: (L,) confidence from which an instance counts.
        match_mm: (L,) within this a predicted instance counts as a true one; empty for ``min_distance_mm``.
    """

    names: tuple[str, ...]
    most: tuple[int, ...]
    many: tuple[bool, ...]
    exchangeable: tuple[tuple[int, int], ...]
    min_distance_mm: tuple[float, ...]
    thresholds: tuple[float, ...]
    match_mm: tuple[float, ...] = ()

    @property
    def match_limits(self) -> tuple[float, ...]:
        """(L,) mm within which a predicted instance counts as a true one."""
        return self.match_mm or self.min_distance_mm

    @classmethod
    def single(cls, names: Sequence[str]) -> Instances:
        """Landmarks of which an image has one each, with names that say which is which."""
        count = len(names)
        return cls(tuple(names), (1,) * count, (False,) * count, (), (0.0,) * count, (THRESHOLD,) * count)

    @property
    def channels(self) -> tuple[int, ...]:
        """(R,) channel of each row: one row for each landmark, then the further rows of one landmark after another."""
        further = [channel for channel, most in enumerate(self.most) for _ in range(most - 1)]
        return (*range(len(self.names)), *further)

    @property
    def members(self) -> tuple[tuple[int, ...], ...]:
        """For each channel the rows whose points make up its target."""
        rows = self.channels
        own = [[row for row, of in enumerate(rows) if of == channel] for channel in range(len(self.names))]
        for first, second in self.exchangeable:
            own[first] = own[second] = [first, second]
        return tuple(map(tuple, own))

    def label_rows(self, landmarks: LandmarkSet) -> tuple[np.ndarray, np.ndarray]:
        """The points of an image as rows.

        Args:
            landmarks: in the order of the channels.

        Returns:
            ``(R, D)`` world mm, NaN where not present, and ``(R,)`` status. A further row without an instance is
            absent; where the landmark is unknown, its further rows are unknown.

        Raises:
            LandmarkFileError: more instances than there are rows.
        """
        rows = self.channels
        points = np.full((len(rows), landmarks.spatial_dims), np.nan)
        status = np.full(len(rows), ABSENT, dtype=np.int8)
        points[: len(self.names)], status[: len(self.names)] = landmarks.points, landmarks.status
        for channel in np.flatnonzero(self.many):
            own = [row for row, of in enumerate(rows) if of == channel]
            found = landmarks.instances.get(self.names[channel], landmarks.points[channel : channel + 1])
            if len(found) > len(own):
                raise LandmarkFileError(
                    f"landmark {self.names[channel]!r} has {len(found)} instances, the bundle was made for at most "
                    f"{len(own)}; raise its 'most_instances' in configs/landmarks.json"
                )
            if landmarks.status[channel] == PRESENT:
                points[own[: len(found)]], status[own[: len(found)]] = found, PRESENT
            else:
                status[own] = landmarks.status[channel]
        return points, status

    def reduce(self, points: torch.Tensor, status: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """From rows to what each channel has to show.

        A channel is present where one of its points is; else absent where all are; else unknown. A point that nobody
        annotated (unknown, without coordinates) leaves all channels that it could belong to unknown.

        Args:
            points: ``(B, R, D)``, NaN where a row has none.
            status: ``(B, R)``.

        Returns:
            ``(B, L, K, D)``, NaN where a channel has fewer than K points that are present, and ``(B, L)`` status.
        """
        members = self.members
        width = max(map(len, members))
        index = torch.tensor([[*rows, *[rows[0]] * (width - len(rows))] for rows in members], device=points.device)
        filled = torch.tensor([[i < len(rows) for i in range(width)] for rows in members], device=points.device)
        gathered, states = points[:, index], status[:, index]
        present = (states == PRESENT) & filled
        nobody_knows = ((states == UNKNOWN) & ~torch.isfinite(gathered).all(-1)).any(-1)
        one_present, all_absent = present.any(-1), (states == ABSENT).all(-1)
        unknown = torch.full_like(status[:, : len(members)], UNKNOWN)
        reduced = torch.where(all_absent, ABSENT, torch.where(one_present, PRESENT, unknown))
        shown = present & ~nobody_knows[..., None]
        return (torch.where(shown[..., None], gathered, torch.nan), torch.where(nobody_knows, unknown, reduced))

    def counted(
        self, confidence: np.ndarray, finite: np.ndarray, thresholds: Sequence[float] | np.ndarray | None = None
    ) -> list[int]:
        """Rows of a prediction that count, those of one landmark together.

        Of a landmark with many, the rows that have a point and enough confidence; where none has, the one with the most
        confidence. Of other landmarks their row.

        Args:
            confidence: ``(R,)``.
            finite: ``(R,)`` bool, the row has a point.
            thresholds: ``(L,)`` for these confidences; None for those of the training.
        """
        rows = np.array(self.channels)
        limits = np.asarray(self.thresholds if thresholds is None else thresholds)
        enough = np.asarray(finite) & (confidence >= limits[rows])
        counted: list[int] = []
        for channel, many in enumerate(self.many):
            own = np.flatnonzero(rows == channel)
            best = own[np.argmax(np.where(finite[own], confidence[own], -1.0))]
            counted += [int(row) for row in own[enough[own]]] if many and enough[own].any() else [int(best)]
        return counted


def read_instances(landmarks: str | Path, models: str | Path | None = None) -> Instances:
    """Read what a bundle says of instances.

    Args:
        landmarks: path of ``configs/landmarks.json``.
        models: the folder of weights, with the thresholds that trainings calibrated; where there are several (an
            ensemble), their mean. None, or no such file, is `THRESHOLD`.

    Raises:
        ValueError: one of the files is wrong.
    """
    items = _read_json(Path(landmarks))["landmarks"]
    names = tuple(str(item["name"]) for item in items)
    many = tuple(item.get("instances") == "many" for item in items)
    pairs = {
        tuple(sorted((index, names.index(item["exchangeable"]))))
        for index, item in enumerate(items)
        if item.get("exchangeable")
    }
    files = [] if models is None else _threshold_files(Path(models))
    found = [_read_json(path).get("thresholds", {}) for path in files]
    thresholds = [float(np.mean([one.get(name, THRESHOLD) for one in found] or [THRESHOLD])) for name in names]
    return Instances(
        names=names,
        most=tuple(int(item.get("most_instances", 1)) if of else 1 for item, of in zip(items, many, strict=True)),
        many=many,
        exchangeable=tuple((first, second) for first, second in sorted(pairs)),
        min_distance_mm=tuple(float(item.get("min_distance_mm") or 0.0) for item in items),
        thresholds=tuple(thresholds),
        match_mm=tuple(float(item.get("match_mm") or item.get("min_distance_mm") or 0.0) for item in items),
    )


def read_row_mirror(landmarks: str | Path) -> tuple[int, ...]:
    """For each row of points the row that takes its place in the mirror; see `read_flip_pairs`.

    Raises:
        ValueError: a landmark and its partner differ in their number of rows.
    """
    instances = read_instances(landmarks)
    items = _read_json(Path(landmarks))["landmarks"]
    rows = instances.channels
    own = [[row for row, of in enumerate(rows) if of == channel] for channel in range(len(items))]
    out = list(range(len(rows)))
    for channel, item in enumerate(items):
        partner = instances.names.index(item["pair"]) if item.get("pair") else channel
        if len(own[channel]) != len(own[partner]):
            raise ValueError(
                f"{landmarks}: {item['name']!r} and its partner {item['pair']!r} differ in 'most_instances'; give both "
                "the same number"
            )
        for row, other in zip(own[channel], own[partner], strict=True):
            out[row] = other
    return tuple(out)


def _threshold_files(models: Path) -> list[Path]:
    """The thresholds that belong to the weights in use."""
    ensemble = models / "ensemble.json"
    weights = _read_json(ensemble).get("files", []) if ensemble.is_file() else ["model.pt"]
    files = [(models / name).parent / THRESHOLDS_FILE for name in weights]
    return [path for path in files if path.is_file()]


def _read_json(path: Path) -> Mapping[str, Any]:
    try:
        content: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror}); create the bundle again") from error
    except ValueError as error:
        raise ValueError(f"{path}: is not JSON ({error}); correct it or create the bundle again") from error
    return content
