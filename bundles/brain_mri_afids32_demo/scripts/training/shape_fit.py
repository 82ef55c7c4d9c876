"""The shape of the training cases, learnt when a training starts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from ignite.engine import Engine, Events

from ..points.instances import read_instances
from ..points.landmark_files import read_label
from ..points.landmark_names import read_landmark_names
from ..points.shape import ShapeModel


class HasShape(Protocol):
    """Anything with a shape model, such as a `LandmarkNetwork`."""

    shape: ShapeModel


class FitShape:
    """Handler that learns the shape of the training cases when a training starts.

    Attach it after the handler that restores weights: the shape of the labels as they are now is the one that counts.

    Args:
        network: has the `ShapeModel` as ``shape``; not wrapped.
        data: the training cases, with labels.
        landmarks: path of ``configs/landmarks.json``, or the names.
        spatial_dims: D.
    """

    def __init__(
        self,
        network: HasShape,
        data: Sequence[Mapping[str, Any]],
        landmarks: str | Sequence[str],
        spatial_dims: int = 3,
    ) -> None:
        self.network, self.shapes = network, training_shapes(data, landmarks, spatial_dims)

    def attach(self, engine: Engine) -> None:
        """Fit when this trainer starts."""
        engine.add_event_handler(Events.STARTED, self)

    def __call__(self, _: Engine) -> None:
        """Fit now."""
        self.network.shape.fit(self.shapes)


def training_shapes(
    data: Sequence[Mapping[str, Any]], landmarks: str | Sequence[str], spatial_dims: int = 3
) -> np.ndarray:
    """Points of all cases, ``(N, L, D)`` world mm, NaN where a landmark is not present; for the shape model.

    A landmark of which there are many, or one that may change places with another, has no place in the shape: NaN.
    """
    names = read_landmark_names(landmarks)
    known = read_instances(landmarks) if isinstance(landmarks, str) else None
    pairs = () if known is None else known.exchangeable
    many = () if known is None else tuple(name for name, of in zip(known.names, known.many, strict=True) if of)
    loose = np.isin(names, [*many, *(names[channel] for pair in pairs for channel in pair)])
    labels = [case["label"] for case in data if case.get("label") is not None]
    sets = [read_label(label, names, spatial_dims=spatial_dims, many=many) for label in labels]
    shapes = [np.where((s.present & ~loose)[:, None], s.points, np.nan) for s in sets]
    return np.stack(shapes) if shapes else np.zeros((0, len(names), spatial_dims))
