"""An affine transform in ITK's text format, as ITK-SNAP and SimpleITK write it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from auto_config.bundle_scripts.points.control_points import TO_RAS
from auto_config.bundle_scripts.points.landmark_text import read_text
from auto_config.bundle_scripts.points.landmarks import LandmarkFileError
from auto_config.errors import UserError

_AFFINE = ("MatrixOffsetTransformBase", "AffineTransform")


def read_transform(path: Path) -> np.ndarray:
    """Read one affine transform.

    ITK maps points of the resampled (re-aligned) image to points of its input, in LPS mm:
    ``y = A (x - c) + c + t`` with ``A`` and ``t`` among the parameters and the centre ``c`` the fixed ones.

    Args:
        path: Text that begins with ``#Insight Transform File``.

    Returns:
        (4, 4) from RAS mm of the resampled image to RAS mm of its input.

    Raises:
        UserError: The file cannot be read, or holds no single affine transform.
    """
    try:
        lines = read_text(path).split("\n")
    except LandmarkFileError as error:
        raise UserError(str(error)) from error
    fields = [(key.strip(), value.strip()) for key, _, value in (line.partition(":") for line in lines) if value]
    kinds = [value.split("_")[0] for key, value in fields if key == "Transform"]
    if len(kinds) != 1 or kinds[0] not in _AFFINE:
        raise UserError(
            f"{path}: holds {', '.join(kinds) or 'no transform'}; one affine transform is needed "
            f"({' or '.join(_AFFINE)} in ITK's text format)"
        )
    try:
        parameters = np.array(dict(fields)["Parameters"].split(), dtype=np.float64)
        centre = np.array(dict(fields).get("FixedParameters", "0 0 0").split(), dtype=np.float64)
        matrix, translation = parameters[:9].reshape(3, 3), parameters[9:]
        if translation.shape != (3,) or centre.shape != (3,) or not np.isfinite([*parameters, *centre]).all():
            raise ValueError(f"{len(parameters)} parameters and {len(centre)} fixed ones")
    except (KeyError, ValueError) as error:
        raise UserError(f"{path}: needs 12 parameters and 3 fixed ones ({error}); download it again") from error
    lps = np.eye(4)
    lps[:3, :3] = matrix
    lps[:3, 3] = translation + centre - matrix @ centre
    return TO_RAS["LPS"] @ lps @ TO_RAS["LPS"]
