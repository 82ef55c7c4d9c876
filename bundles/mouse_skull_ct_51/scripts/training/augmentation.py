"""Augmentation: of intensities on the device, in batch, seeded for each sample; with that of space as one part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from ..points.instances import read_row_mirror
from .patches import SpatialAugmentation

BLUR, LOW_RESOLUTION = 1, 4
"""Places of these two among the chances and amounts."""


@dataclass(frozen=True)
class IntensityAugmentation:
    """Noise, blur, brightness, contrast and gamma. Every effect is drawn for each patch on its own.

    A probability of 0 switches an effect off. Ranges, the draws of channels and of exponents, and the fixed axis are
    those of nnU-Net's data augmentation (Isensee et al., 2021) where a plan asks for them.

    Args:
        noise: (probability, largest standard deviation).
        blur: (probability, lowest sigma, highest sigma) in voxels.
        brightness: (probability, low, high) factor.
        contrast: (probability, low, high) factor about the mean; the range of values is kept.
        low_resolution: (probability, low, high) factor of the number of voxels along each axis: the patch is sampled
            down and up again about its centre, so points stay where they are.
        gamma: (probability, low, high) exponent on values scaled to [0, 1]; mean and deviation are restored.
        gamma_inverted: the same on the negative of the image.
        half_below_one: half of the exponents are below 1, each half uniform in its part of the range; else all of the
            range is uniform.
        channel_share: None draws once for all channels. A share: effects other than noise have an amount for each
            channel, a blur one for each axis, and where a patch is blurred or has a low resolution, only this share of
            its channels is.
        fixed_axis: axis along which a low resolution leaves the voxels alone.
    """

    noise: tuple[float, float] = (0.0, 0.0)
    blur: tuple[float, float, float] = (0.0, 0.5, 1.0)
    brightness: tuple[float, float, float] = (0.0, 1.0, 1.0)
    contrast: tuple[float, float, float] = (0.0, 1.0, 1.0)
    gamma: tuple[float, float, float] = (0.0, 1.0, 1.0)
    gamma_inverted: tuple[float, float, float] = (0.0, 1.0, 1.0)
    low_resolution: tuple[float, float, float] = (0.0, 1.0, 1.0)
    half_below_one: bool = False
    channel_share: float | None = None
    fixed_axis: int | None = None

    def __call__(self, images: torch.Tensor, seeds: np.ndarray) -> torch.Tensor:
        """Augment a batch.

        Args:
            images: ``(B, C, *size)`` on any device.
            seeds: ``(B, n)`` whole numbers; the same seeds give the same noise on the same kind of device.

        Returns:
            A tensor of the same shape.
        """
        return torch.stack([self._one(x, s) for x, s in zip(images, seeds, strict=True)])

    def _one(self, image: torch.Tensor, seed: np.ndarray) -> torch.Tensor:
        rng = np.random.default_rng(seed)
        chance = rng.uniform(size=7)
        amount = rng.uniform(size=7)
        if chance[0] < self.noise[0]:
            generator = torch.Generator(image.device).manual_seed(int(rng.integers(2**62)))
            drawn = torch.randn(image.shape, generator=generator, device=image.device)
            image = image + drawn * (self.noise[1] * amount[0])
        if self.channel_share is None:
            return self._change(image, chance, amount, [amount[BLUR]] * (image.ndim - 1))
        channels = []
        for channel in image:
            amount, sigmas = rng.uniform(size=7), rng.uniform(size=image.ndim - 1).tolist()
            spared = rng.uniform(size=2) >= self.channel_share
            own = chance.copy()
            own[[BLUR, LOW_RESOLUTION]] = np.where(spared, np.inf, own[[BLUR, LOW_RESOLUTION]])
            channels.append(self._change(channel[None], own, amount, sigmas))
        return torch.cat(channels)

    def _change(
        self, image: torch.Tensor, chance: np.ndarray, amount: np.ndarray, sigmas: Sequence[float]
    ) -> torch.Tensor:
        """Every effect but noise whose chance has come, on channels that share the amounts."""
        if chance[BLUR] < self.blur[0]:
            image = gaussian_blur(image, [_between(self.blur[1:], where) for where in sigmas])
        if chance[2] < self.brightness[0]:
            image = image * _between(self.brightness[1:], amount[2])
        if chance[3] < self.contrast[0]:
            mean, low, high = image.mean(), image.min(), image.max()
            image = ((image - mean) * _between(self.contrast[1:], amount[3]) + mean).clamp(low, high)
        if chance[LOW_RESOLUTION] < self.low_resolution[0]:
            factor = _between(self.low_resolution[1:], amount[LOW_RESOLUTION])
            image = low_resolution(image, factor, self.fixed_axis)
        if chance[5] < self.gamma_inverted[0]:
            image = -_gamma(-image, self._exponent(self.gamma_inverted[1:], amount[5]))
        if chance[6] < self.gamma[0]:
            image = _gamma(image, self._exponent(self.gamma[1:], amount[6]))
        return image

    def _exponent(self, limits: tuple[float, ...], where: float) -> float:
        low, high = limits
        if not self.half_below_one or low >= 1:
            return _between(limits, where)
        return _between((low, 1.0), 2 * where) if where < 0.5 else _between((1.0, high), 2 * where - 1)


@dataclass(frozen=True)
class Augmentation(SpatialAugmentation, IntensityAugmentation):
    """All of a training: rotation, scale and flips when a patch is cut, intensities when a batch is on the device.

    Args:
        flip_pairs: flips half of the patches left to right: the path of ``configs/landmarks.json``, or for each row of
            points the one that takes its place in the mirror image. None never flips.
    """

    flip_pairs: str | Path | Sequence[int] | None = None

    def __post_init__(self) -> None:
        if isinstance(self.flip_pairs, (str, Path)):
            object.__setattr__(self, "mirror_pairs", read_row_mirror(self.flip_pairs))
        elif self.flip_pairs is not None:
            object.__setattr__(self, "mirror_pairs", tuple(self.flip_pairs))


def _between(limits: tuple[float, ...], where: float) -> float:
    return float(limits[0] + (limits[1] - limits[0]) * where)


def _gamma(image: torch.Tensor, exponent: float) -> torch.Tensor:
    low, high = image.min(), image.max()
    mean, std = image.mean(), image.std()
    image = ((image - low) / (high - low).clamp(min=1e-7)) ** exponent
    return (image - image.mean()) / image.std().clamp(min=1e-7) * std + mean


def low_resolution(image: torch.Tensor, factor: float, fixed_axis: int | None = None) -> torch.Tensor:
    """Sample down and up again, both linear and aligned at the borders of the patch, so nothing moves.

    The reference takes the nearest voxel on the way down, which moves the image by up to half a voxel.

    Args:
        image: ``(C, *size)``.
        factor: of the number of voxels along each axis, in (0, 1].
        fixed_axis: axis of the patch that keeps its voxels.
    """
    size = image.shape[1:]
    small = [n if axis == fixed_axis else max(1, round(n * factor)) for axis, n in enumerate(size)]
    mode = "trilinear" if len(size) == 3 else "bilinear"
    low = functional.interpolate(image[None], size=small, mode=mode, align_corners=False)
    return functional.interpolate(low, size=size, mode=mode, align_corners=False)[0]


def gaussian_blur(image: torch.Tensor, sigma: float | Sequence[float]) -> torch.Tensor:
    """Separable Gaussian blur with repeated borders.

    Args:
        image: ``(C, *size)``.
        sigma: voxels, the same along all axes or one for each.
    """
    dims = image.ndim - 1
    sigmas = [sigma] * dims if isinstance(sigma, float | int) else list(sigma)
    conv = functional.conv3d if dims == 3 else functional.conv2d
    out = image[:, None].float()
    for axis, own in enumerate(sigmas):
        radius = max(1, int(3 * own + 0.5))
        steps = torch.arange(-radius, radius + 1, device=image.device, dtype=torch.float32)
        kernel = torch.softmax(-0.5 * (steps / own) ** 2, dim=0)
        shape = [1] * dims
        shape[axis] = -1
        pads = [p for a in reversed(range(dims)) for p in ((radius, radius) if a == axis else (0, 0))]
        out = conv(functional.pad(out, pads, mode="replicate"), kernel.reshape(1, 1, *shape))
    return out[:, 0]
