"""`predict --fixed`: cases of which a person set some points."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from auto_config.bundle.opened import OpenBundle
from auto_config.bundle_scripts.points.landmarks import LandmarkSet
from auto_config.errors import UserError
from auto_config.prediction.bundle_shape import bundle_shape
from auto_config.prediction.corrected import corrected, first_look, why_not
from auto_config.prediction.shape_gaussian import ShapeGaussian


@dataclass(frozen=True)
class Fixed:
    """What a person set, and the shape that carries it to the others.

    Args:
        sets: of the cases that have some, all names of the bundle.
        shape: of the training cases.
    """

    sets: Mapping[str, LandmarkSet]
    shape: ShapeGaussian

    @classmethod
    def of(cls, opened: OpenBundle, sets: Mapping[str, LandmarkSet]) -> Fixed:
        """With the shape of a bundle.

        Raises:
            UserError: points cannot move others with this bundle.
        """
        shape = shape_of(opened)
        reason = why_not(opened, shape)
        if reason is not None or shape is None:
            raise UserError(f"{opened.root}: {reason}; omit --fixed")
        return cls(sets, shape)

    def predict(self, opened: OpenBundle, case: str, data: Mapping[str, Any]) -> dict[str, Any]:
        """As `OpenBundle.predict`."""
        given = self.sets.get(case)
        if given is None:
            return opened.predict(data)
        return corrected(opened, first_look(opened, data), self.shape, given.points, given.status)


def shape_of(opened: OpenBundle) -> ShapeGaussian | None:
    """The Gaussian of the training shapes of an open bundle."""
    model = getattr(opened.network, "shape", None)
    return bundle_shape(opened.root, opened.names, opened.spatial_dims, model)
