"""Whether a model has learnt anything: its error on unseen cases beside that of the mean shape."""

from __future__ import annotations

import numpy as np

from auto_config.bundle_scripts.images.frame import image_center
from auto_config.bundle_scripts.points.instances import Instances
from auto_config.bundle_scripts.points.landmarks import PRESENT
from auto_config.calibration.out_of_fold import OutOfFold
from auto_config.wording import counted


def why_useless(found: OutOfFold, offsets: np.ndarray, instances: Instances, unit: str) -> str | None:
    """Why no case of a model can be trusted, in one sentence; None where it is better than the mean shape.

    Cases are judged by unseen ones. Where these went wrong alike, each looks like the others, and all would be ok.

    Args:
        found: Predictions of unseen cases, with the frames of their images.
        offsets: (L, D) mean mm from the middle of an image to each landmark, NaN where not known.
        instances: Which rows belong to which landmark; those with any number of instances have no mean shape.
        unit: Of lengths.
    """
    channels = list(instances.channels)
    single = ~np.array(instances.many)[channels]
    centers = np.array(
        [
            np.full(found.truth.shape[-1], np.nan) if one is None else image_center(tuple(one.shape), one.affine)
            for one in found.extents
        ]
    ).reshape(len(found.cases), 1, -1)
    ours = np.linalg.norm(found.points - found.truth, axis=-1)
    theirs = np.linalg.norm(centers + offsets[channels] - found.truth, axis=-1)
    both = (found.status == PRESENT) & single & np.isfinite(ours) & np.isfinite(theirs)
    if not both.any() or ours[both].mean() < theirs[both].mean():
        return None
    return (
        f"the model is no better than always predicting the mean shape: {ours[both].mean():.3g} {unit} off against "
        f"{theirs[both].mean():.3g} {unit} on {counted(len(found.cases), 'unseen case')}; train it longer"
    )
