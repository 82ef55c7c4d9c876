"""The frame of an image file: where its middle lies in the world, to which the mean-shape baseline is tied."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from monai.data import MetaTensor
from monai.utils import convert_to_numpy

from ..grid.grids import apply_affine, embed_affine


def image_center(shape: Sequence[int], affine: np.ndarray) -> np.ndarray:
    """World position of the middle of an image, halfway between the centres of its first and last voxel.

    Args:
        shape: (D,) voxels.
        affine: (D + 1, D + 1) or (4, 4), voxel to world mm.

    Returns:
        (D,) float64 mm.
    """
    middle = (np.asarray(shape, dtype=np.float64) - 1.0) / 2.0
    return apply_affine(embed_affine(affine, len(middle)), middle)


def original_center(image: MetaTensor, spatial_dims: int) -> np.ndarray:
    """`image_center` (D,) in mm of the file that a preprocessed image comes from."""
    return image_center(original_shape(image, spatial_dims), original_affine(image, spatial_dims))


def original_affine(image: MetaTensor, spatial_dims: int) -> np.ndarray:
    """Affine (D + 1, D + 1), voxel to world mm, of the file that a preprocessed image comes from."""
    return embed_affine(_meta(image, "original_affine"), spatial_dims)


def original_shape(image: MetaTensor, spatial_dims: int) -> tuple[int, ...]:
    """Shape (D,) in voxels of the file that a preprocessed image comes from."""
    return tuple(int(n) for n in np.asarray(_meta(image, "spatial_shape")).ravel()[:spatial_dims])


def _meta(image: MetaTensor, key: str) -> np.ndarray:
    """One entry of an image's meta data, with an error that says who should have put it there."""
    if not isinstance(image, MetaTensor) or key not in image.meta:
        raise ValueError(f"the image carries no '{key}'; load it with MONAI's LoadImaged and keep its MetaTensor")
    return np.asarray(convert_to_numpy(image.meta[key]))
