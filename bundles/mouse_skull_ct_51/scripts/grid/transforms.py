"""Preprocessing: from an image file to the planned grid, where MONAI has no transform or not the right one.

All are deterministic dictionary transforms on MetaTensors ``(C, *size)`` whose affine stays right, so a point in
world mm needs no transform of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import MapTransform, Spacing, SpatialCrop
from torch.nn import functional

from .background import MARGIN_VOXELS, background_box
from .grids import coarse_affine, embed_affine


def _replace(image: MetaTensor, array: torch.Tensor, affine: np.ndarray | None = None) -> MetaTensor:
    """A MetaTensor with new voxels and the old meta data, and the affine where it changed."""
    out = MetaTensor(array, meta=dict(image.meta))
    if affine is not None:
        full = image.affine.clone()
        dims = affine.shape[0] - 1
        full[:dims, :dims] = torch.as_tensor(affine[:dims, :dims])
        full[:dims, -1] = torch.as_tensor(affine[:dims, -1])
        out.affine = full
    return out


class CropBackgroundd(MapTransform):
    """Crop to `background_box`. Unlike a threshold, it cannot cut off fat or skin of a CT.

    Args:
        keys: keys of images.
        margin: voxels kept around the box.
    """

    def __init__(self, keys: str | Sequence[str], margin: int = MARGIN_VOXELS) -> None:
        super().__init__(keys)
        self.margin = int(margin)

    def __call__(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Crop every key."""
        out = dict(data)
        for key in self.key_iterator(out):
            box = background_box(np.asarray(out[key]), self.margin)
            out[key] = SpatialCrop(roi_slices=box)(out[key])
        return out


class LowPassd(MapTransform):
    """Gaussian low-pass along axes on which the grid is about to get coarser; `Spacingd` alone keeps aliases.

    The standard deviation is ``(factor - 1) / 2`` source voxels, the usual choice of image pyramids.

    Args:
        keys: keys of images.
        spacing: the spacing to come, mm, in the axis order of the image now.
    """

    def __init__(self, keys: str | Sequence[str], spacing: Sequence[float]) -> None:
        super().__init__(keys)
        self.spacing = [float(s) for s in spacing]

    def __call__(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Filter every key."""
        out = dict(data)
        for key in self.key_iterator(out):
            image = out[key]
            now = np.linalg.norm(embed_affine(image.affine, image.ndim - 1)[:-1, :-1], axis=0)
            sigma = np.maximum(np.asarray(self.spacing) / now - 1.0, 0.0) / 2
            if (sigma > 0.05).any():
                from scipy import ndimage  # takes long to import, and many images are not filtered

                smooth = ndimage.gaussian_filter(np.asarray(image), (0.0, *sigma), mode="nearest", truncate=3.0)
                out[key] = _replace(image, torch.from_numpy(smooth))
        return out


class ResampleGridd(MapTransform):
    """Bring images to the planned grid: crop the constant background, low-pass, MONAI's `Spacing`.

    Interpolation is trilinear; outside is the border voxel. See `CropBackgroundd` and `LowPassd` for what MONAI's
    `CropForegroundd` and `Spacingd` lack.

    MONAI 1.6.1's `Spacingd` resamples as well, and then writes to every other entry whose key begins with the image's,
    which in MONAI Label is the path of a NIfTI file (``image_path``): it fails there.

    Args:
        keys: keys of images.
        spacing: mm of the new grid, in the axis order of the image now.
        crop_background: whether to crop.
        low_pass: whether to low-pass along axes on which the grid gets coarser.
    """

    def __init__(
        self,
        keys: str | Sequence[str],
        spacing: Sequence[float],
        *,
        crop_background: bool = True,
        low_pass: bool = True,
    ) -> None:
        super().__init__(keys)
        self.before: list[MapTransform] = [CropBackgroundd(keys)] if crop_background else []
        self.before += [LowPassd(keys, spacing)] if low_pass else []
        self.resample = Spacing([float(s) for s in spacing], mode="bilinear", padding_mode="border")

    def __call__(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Resample every key."""
        out = dict(data)
        for transform in self.before:
            out = transform(out)
        for key in self.key_iterator(out):
            out[key] = self.resample(out[key])
        return out


class NormalizeChannelsd(MapTransform):
    """Intensity normalisation, one rule for each channel.

    ``{"kind": "ct", "low", "high", "mean", "std"}``: clip to [low, high], subtract mean, divide by std; numbers of
    the cohort.
    ``{"kind": "zscore"}``: mean and std of this image's own voxels above its lowest value, which leaves out a dark
    constant background.

    Args:
        keys: keys of images.
        channels: the rule of each channel.

    Raises:
        ValueError: if a kind is unknown, or an image has another number of channels.
    """

    def __init__(self, keys: str | Sequence[str], channels: Sequence[Mapping[str, Any]]) -> None:
        super().__init__(keys)
        self.channels = [dict(c) for c in channels]
        for rule in self.channels:
            if rule["kind"] not in ("ct", "zscore"):
                raise ValueError(f"normalization kind is {rule['kind']!r}; allowed are 'ct' and 'zscore'")

    def __call__(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Normalise every key."""
        out = dict(data)
        for key in self.key_iterator(out):
            image = out[key]
            if image.shape[0] != len(self.channels):
                name = image.meta.get("filename_or_obj", "the image")
                raise ValueError(f"{name} has {image.shape[0]} channels; this bundle was made for {len(self.channels)}")
            done = [_normalize(x, rule) for x, rule in zip(image.as_tensor(), self.channels, strict=True)]
            out[key] = _replace(image, torch.stack(done))
        return out


def _normalize(channel: torch.Tensor, rule: Mapping[str, Any]) -> torch.Tensor:
    channel = channel.float()
    if rule["kind"] == "ct":
        return (channel.clamp(rule["low"], rule["high"]) - rule["mean"]) / max(rule["std"], 1e-8)
    lowest = channel.min()
    body = channel[channel > lowest]
    if body.numel() < 2:
        return channel - lowest
    return (channel - body.mean()) / body.std().clamp(min=1e-8)


def block_mean(image: torch.Tensor, factor: Sequence[int]) -> torch.Tensor:
    """Mean over blocks of voxels: the coarse grid. A block that sticks out repeats the voxel at the border.

    Args:
        image: ``(B, C, *size)``.
        factor: block size in voxels for each axis.

    Returns:
        ``(B, C, *ceil(size / factor))``.
    """
    pads = [p for n, f in zip(reversed(image.shape[2:]), reversed(list(factor)), strict=True) for p in (0, -n % f)]
    if any(pads):
        image = functional.pad(image, pads, mode="replicate")
    pool = functional.avg_pool3d if image.ndim == 5 else functional.avg_pool2d
    return pool(image, kernel_size=list(factor))


class CoarseViewd(MapTransform):
    """Adds the coarse grid of an image under another key; inference makes the same one from the planned grid.

    Args:
        keys: key of the image on the planned grid.
        name: key of the coarse image.
        factor: block size in voxels for each axis.
    """

    def __init__(self, keys: str | Sequence[str], name: str, factor: Sequence[int]) -> None:
        super().__init__(keys)
        self.name, self.factor = name, [int(f) for f in factor]

    def __call__(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Make the coarse view."""
        out = dict(data)
        image = out[self.keys[0]]
        affine = coarse_affine(embed_affine(image.affine, image.ndim - 1), self.factor)
        out[self.name] = _replace(image, block_mean(image.as_tensor()[None], self.factor)[0], affine)
        return out
