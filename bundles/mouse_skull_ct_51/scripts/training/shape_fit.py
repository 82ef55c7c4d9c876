"""The shape of the training cases, learnt when a training starts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from ignite.engine import Engine, Events

from ..points.instances import read_instances
from ..points.landmark_files import read_label
from ..points.landmark_names import read_flip_pairs, read_landmark_names
from ..points.pose.rotations import upright
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
        upright: turn the mean shape to a pose of its own (`scripts.points.pose.rotations.upright`), for crops that are
            turned upright by it.
        flip_pairs: of mirrored training: the path of ``configs/landmarks.json``, or for each landmark the one that
            takes its place in the mirror image; the mirror image of an upright crop is then upright.
    """

    def __init__(
        self,
        network: HasShape,
        data: Sequence[Mapping[str, Any]],
        landmarks: str | Sequence[str],
        spatial_dims: int = 3,
        *,
        upright: bool = False,
        flip_pairs: str | Path | Sequence[int] | None = None,
    ) -> None:
        self.network, self.shapes = network, training_shapes(data, landmarks, spatial_dims)
        self.upright, self.flip_pairs = upright, flip_pairs

    def attach(self, engine: Engine) -> None:
        """Fit when this trainer starts."""
        engine.add_event_handler(Events.STARTED, self)

    def __call__(self, _: Engine) -> None:
        """Fit now."""
        shape = self.network.shape
        shape.fit(self.shapes)
        if self.upright:
            shape.mean.copy_(torch.from_numpy(np.nan_to_num(upright_mean(shape.known_mean(), self.flip_pairs))))


def upright_mean(mean: np.ndarray, flip_pairs: str | Path | Sequence[int] | None) -> np.ndarray:
    """A mean shape ``(L, D)`` mm in a pose of its own, left and right along the first axis where pairs are known."""
    return upright(mean, None if flip_pairs is None else np.asarray(read_flip_pairs(flip_pairs)))


def training_shapes(
    data: Sequence[Mapping[str, Any]], landmarks: str | Sequence[str], spatial_dims: int = 3
) -> np.ndarray:
    """Points of all cases, ``(N, L, D)`` world mm, NaN where a landmark is not present; for the shape model.

    A landmark of which there are many, or one that may change places with another, has no place in the shape: NaN.
    A case that is listed more than once counts once, and one that a network labelled (``confidence``) not at all.
    """
    names = read_landmark_names(landmarks)
    known = read_instances(landmarks) if isinstance(landmarks, str) else None
    pairs = () if known is None else known.exchangeable
    many = () if known is None else tuple(name for name, of in zip(known.names, known.many, strict=True) if of)
    loose = np.isin(names, [*many, *(names[channel] for pair in pairs for channel in pair)])
    own = [case for case in data if case.get("label") is not None and "confidence" not in case]
    labels = [case["label"] for case in {repr(case): case for case in own}.values()]
    sets = [read_label(label, names, spatial_dims=spatial_dims, many=many) for label in labels]
    shapes = [np.where((s.present & ~loose)[:, None], s.points, np.nan) for s in sets]
    return np.stack(shapes) if shapes else np.zeros((0, len(names), spatial_dims))
