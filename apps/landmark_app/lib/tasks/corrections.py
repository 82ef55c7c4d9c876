"""Corrections of a served bundle: clicks of an image, and the landmarks that they move."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from auto_config.bundle.opened import OpenBundle
from auto_config.bundle_scripts.points.landmarks import ABSENT, PRESENT, UNKNOWN
from auto_config.errors import UserError
from auto_config.prediction.corrected import corrected, first_look, predicted, why_not
from auto_config.prediction.fixed_cases import shape_of
from auto_config.prediction.shape_gaussian import ShapeGaussian

from ..geometry.frames import Frame
from .looks import Looks

logger = logging.getLogger(__name__)

SECONDS = 0.15
"""After so many the fine stage looks at no further crop, so that an answer comes before the next click."""


class Corrections:
    """What an open bundle needs to follow corrections; used by one request at a time.

    Args:
        looks: where the sessions of images are kept.
        seconds: for crops in one answer; None for all.
    """

    def __init__(self, looks: Looks | None = None, seconds: float | None = SECONDS) -> None:
        self.looks = Looks() if looks is None else looks
        self.seconds = seconds
        self._shape: ShapeGaussian | None = None

    def begin(self, opened: OpenBundle) -> None:
        """The bundle was opened, maybe with other weights: what was kept is dropped."""
        self.looks.clear()
        try:
            shape = shape_of(opened)
        except UserError as error:
            logger.warning("a click moves no other landmark: %s", error)
            shape = None
        self._shape = shape if why_not(opened, shape) is None else None

    @property
    def possible(self) -> bool:
        """Whether a click can move other landmarks."""
        return self._shape is not None

    def predict(self, opened: OpenBundle, image: Path, data: Mapping[str, Any]) -> dict[str, Any]:
        """As `OpenBundle.predict`; what the network saw is kept for clicks, where these can move others.

        Earlier clicks on the image are forgotten.
        """
        if not self.possible:
            return opened.predict(data)
        return predicted(opened, self.looks.start(image, first_look(opened, data)).look)

    def moved(
        self,
        opened: OpenBundle,
        image: Path,
        frame: Frame,
        prepare: Callable[[], Mapping[str, Any]],
        placed: tuple[Mapping[str, np.ndarray], Mapping[str, np.ndarray | None]],
    ) -> list[dict[str, Any]]:
        """The landmarks that must lie elsewhere than they were found, given where a person put others.

        Clicks are remembered as long as what the network saw of the image, until it is predicted anew.

        Args:
            opened: the bundle that was given to `begin`.
            image: its file.
            frame: where viewers show it.
            prepare: gives what `OpenBundle.preprocess` does; called where nothing is kept of the image.
            placed: RAS mm (3,) of viewers, of each landmark that is clicked, and of each that was saved before; None
                for one that was saved as absent.

        Returns:
            In the form of ``result["landmarks"]``, in the bundle's world; none where nothing moves.
        """
        if self._shape is None:
            return []
        clicks, saved = placed
        session = self.looks.get(image) or self.looks.start(image, first_look(opened, prepare()))
        session.clicks |= clicks
        points = np.full((len(opened.names), opened.spatial_dims), np.nan)
        status = np.full(len(opened.names), UNKNOWN)
        for name, place in {**saved, **session.clicks}.items():
            row = opened.names.index(name)
            status[row] = ABSENT if place is None else PRESENT
            if place is not None:
                points[row] = frame.from_shown(place[None])[0]
        done = corrected(opened, session.look, self._shape, points, status, seconds=self.seconds)
        return [item for item in done["result"]["landmarks"] if item["name"] in done["moved"]]
