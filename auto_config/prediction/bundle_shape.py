"""The Gaussian of the training shapes that a bundle has, in the best form that it has."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from auto_config.bundle_scripts.file_names import CALIBRATION
from auto_config.bundle_scripts.training.shape_fit import training_shapes
from auto_config.errors import UserError
from auto_config.prediction.shape_gaussian import ShapeGaussian, fit_gaussian, independent, read_gaussian

KEY = "gaussian"
"""Of the section ``shape`` of ``models/calibration.json``."""


def bundle_shape(root: Path, names: Sequence[str], spatial_dims: int, model: Any = None) -> ShapeGaussian | None:
    """What a bundle knows of how its landmarks move together.

    ``models/calibration.json`` has it since `calibrate` writes it. A bundle calibrated before has the labels of its
    training cases in its data list; one that came without them has the mean shape and spreads in its weights.

    Args:
        root: folder of the bundle.
        names: its landmarks.
        spatial_dims: D.
        model: shape model of its network; None for none.

    Returns:
        The Gaussian; None where nothing is known, as of a bundle from very few cases.

    Raises:
        UserError: the section of the calibration is damaged.
    """
    path = root / "models" / CALIBRATION
    document = _read(path)
    section = ((document or {}).get("shape") or {}).get(KEY)
    if section is not None and (document or {}).get("landmarks") == list(names):
        try:
            return read_gaussian(section)
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(
                f"{path}: 'shape' cannot be used ({error}); run `auto_config calibrate` on the bundle"
            ) from error
    listed = _read(root / "data" / "datalist.json")
    items = (listed or {}).get("training") or []
    # Paths of label files would be those of the machine that trained it.
    inline = [item for item in items if isinstance(item.get("label"), dict)]
    if inline:
        shapes = training_shapes(inline, str(root / "configs" / "landmarks.json"), spatial_dims)
        found = fit_gaussian(shapes)
        if found is not None:
            return found
    return None if model is None else independent(model.known_mean(), model.known_spread())


def _read(path: Path) -> dict[str, Any] | None:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return document if isinstance(document, dict) else None


def mean_offsets(table: Path, dims: int) -> np.ndarray:
    """(L, D) mean mm from the middle of an image to each landmark, NaN where not known.

    Args:
        table: ``configs/landmarks.json``.
        dims: D.
    """
    rows = json.loads(table.read_text(encoding="utf-8"))["landmarks"]
    return np.array([row.get("mean_offset_mm") or [np.nan] * dims for row in rows], dtype=np.float64)
