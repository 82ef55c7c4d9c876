"""Which image to annotate next. Each strategy is deterministic: the same data store gives the same image."""

from __future__ import annotations

import hashlib
import time
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.tasks.strategy import Strategy

from auto_config.datasets.formats.shared.entries import natural_key
from auto_config.review.teaching import case_uncertainty

from ..core.info_fields import handed_out
from ..core.served import Served, served

RESERVED_SECONDS = 3600.0
"""For how long an image that was handed out is offered to others only when no other one is left."""


class LandmarkStrategy(Strategy):
    """A strategy that orders the images without a label and takes the first.

    An image that this strategy handed out less than an hour ago comes after the others: somebody is probably at it, or
    pressed "next" again to get another one.

    Args:
        description: One sentence for the client's user.
        clock: Gives seconds since 1970.
    """

    def __init__(self, description: str, clock: Callable[[], float] = time.time) -> None:
        super().__init__(description)
        self._clock = clock

    @abstractmethod
    def key(self, image_id: str, datastore: Datastore) -> Any:
        """What the images are sorted by, smallest first."""

    def __call__(self, request: Mapping[str, Any], datastore: Datastore) -> dict[str, Any] | None:
        """Choose an image.

        Args:
            request: ``strategy``, the name under which MONAI Label notes when an image was handed out; ``label_tag``,
                the tag of the labels that count, ``final`` if there is none.
            datastore: Has the images.

        Returns:
            ``{"id": image}``, or None where every image has a label.
        """
        images = datastore.get_unlabeled_images(request.get("label_tag"), request.get("labels"))
        if not images:
            return None
        name = str(request.get("strategy"))

        def order(image_id: str) -> tuple[float, Any, Any]:
            given_at = handed_out(datastore.get_image_info(image_id), name)
            reserved = given_at if self._clock() - given_at < RESERVED_SECONDS else 0.0
            return reserved, self.key(image_id, datastore), natural_key(image_id)

        return {"id": min(images, key=order)}


class First(LandmarkStrategy):
    """The images in the order of their names, numbers counting as numbers."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        super().__init__("The first image without a label, by name", clock)

    def key(self, image_id: str, datastore: Datastore) -> Any:  # noqa: ARG002  the same for all
        """Nothing but the name counts."""
        return 0


class Random(LandmarkStrategy):
    """The images in an order that has nothing to do with their names.

    Args:
        seed: Another one gives another order.
        clock: Gives seconds since 1970.
    """

    def __init__(self, seed: int = 0, clock: Callable[[], float] = time.time) -> None:
        super().__init__("A random image without a label", clock)
        self._seed = seed

    def key(self, image_id: str, datastore: Datastore) -> Any:  # noqa: ARG002
        """A hash of the id, so that an image keeps its place when others come or go."""
        return hashlib.sha256(f"{self._seed}/{image_id}".encode()).digest()


class Uncertainty(LandmarkStrategy):
    """The images of whose landmarks the models are least sure, by what was last served for them.

    Images that no model has seen come first, because nothing is known of them; run batch inference to have all of them
    judged. Nothing is inferred here.

    Args:
        clock: Gives seconds since 1970.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        super().__init__("The image of whose landmarks the model is least sure", clock)

    def key(self, image_id: str, datastore: Datastore) -> Any:
        """Minus the uncertainty of the image."""
        return -image_uncertainty(served(datastore.landmark_folder(), image_id))  # type: ignore[attr-defined]

    def __call__(self, request: Mapping[str, Any], datastore: Datastore) -> dict[str, Any] | None:
        """As the other strategies, with the ``uncertainty`` of the image, None where no model has seen it."""
        chosen = super().__call__(request, datastore)
        if chosen is not None:
            value = -self.key(chosen["id"], datastore)
            chosen["uncertainty"] = value if np.isfinite(value) else None
        return chosen


def image_uncertainty(records: Sequence[Served]) -> float:
    """How unsure the models are of an image: the mean over the landmarks of what was served last, as `review` has it.

    Each landmark counts from 0 to 1. Where the bundle says how far off it may be (a calibrated radius, the spread of
    the heatmap, the disagreement of an ensemble: the largest of them, ``s`` mm), it is ``1 - exp(-s / 4 mm)``; else it
    is one minus the confidence. A landmark with many instances counts with their mean.

    Args:
        records: What was served for the image, newest first.

    Returns:
        0 to 1, or infinity where nothing was served or nothing of it says how sure the model was.
    """
    if not records:
        return float("inf")
    one = records[0]
    names = one.landmarks.names
    spread = np.array([one.uncertainty_mm.get(name, np.nan) for name in names])
    confidence = np.array([one.confidence.get(name, np.nan) for name in names])
    return case_uncertainty(spread, confidence)
