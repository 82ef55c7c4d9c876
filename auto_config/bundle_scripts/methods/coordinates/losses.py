"""Losses on the coordinates that heatmaps give: the mean of the softmax over space, and its covariance.

Lengths are in voxels of the finest axis, or in shares of the patch where a loss says so. A landmark that is absent or
outside of the patch has the flat distribution as target (cross-entropy less its least value), an unknown one no part.
The publications know neither.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from ..heatmap import GaussianTarget
from ..interfaces import LOGITS, Output, PointBatch, mean_over_batch
from ..losses import inside_patch
from ..on_device import constants
from .moments import moments

VOXEL = 1 / 12
"""Variance of a voxel in voxel^2, added where a covariance is inverted: a heatmap of one voxel is not certain."""

_NARROWEST = 0.6
"""Voxels: a narrower Gaussian has its mean on a voxel, wherever its centre lies between two."""


@dataclass(frozen=True)
class Seen:
    """What a loss compares, for each landmark of each patch.

    Args:
        probability: ``(B, L, *size)``.
        log: ``(B, L, voxels)`` logarithm of it.
        mean: ``(B, L, D)`` of it, in voxels of the finest axis.
        covariance: ``(B, L, D, D)`` of it.
        error: ``(B, L, D)``, mean less true point; 0 where there is no point.
        point: ``(B, L, D)`` true point in voxels of the patch, as `probability` has them.
    """

    probability: torch.Tensor
    log: torch.Tensor
    mean: torch.Tensor
    covariance: torch.Tensor
    error: torch.Tensor
    point: torch.Tensor


class CoordinateLoss(nn.Module):
    """A loss on mean and covariance of the softmax over the voxels of each channel.

    Args:
        aspect: length of a voxel along each axis over that of the finest one.
    """

    def __init__(self, aspect: Sequence[float]) -> None:
        super().__init__()
        self.aspect = [float(ratio) for ratio in aspect]

    def unit(self, seen: Seen) -> float:
        """Shares of half the longest edge of the patch for one voxel of the finest axis."""
        return 2 / max(n * ratio for n, ratio in zip(seen.probability.shape[2:], self.aspect, strict=True))

    @abstractmethod
    def of(self, seen: Seen) -> torch.Tensor:
        """The loss ``(B, L)`` of landmarks that are in the patch."""

    def forward(self, output: Output, truth: PointBatch, size: Sequence[int]) -> torch.Tensor:
        """See `scripts.methods.interfaces.Loss`; the head is ``logits (B, L, *size)``. Mean over known landmarks."""
        log = torch.log_softmax(output[LOGITS].float().flatten(2), dim=2)
        inside = in_patch(truth, size)
        seen = look(log, truth, size, self.aspect)
        flat = -log.mean(2) - math.log(log.shape[2])
        return mean_of(torch.where(inside, self.of(seen), flat), truth.status >= 0)


def in_patch(truth: PointBatch, size: Sequence[int]) -> torch.Tensor:
    """Which landmarks ``(B, L)`` are present and in the patch."""
    return (truth.status == 1) & inside_patch(truth.points[:, :, 0], size)


def look(log: torch.Tensor, truth: PointBatch, size: Sequence[int], aspect: Sequence[float]) -> Seen:
    """What `log`, ``(B, L, voxels)`` logarithms of probabilities, says of the true points."""
    probability = log.exp().reshape(*log.shape[:2], *size)
    mean, covariance = moments(probability)
    inside = in_patch(truth, size)[..., None]
    point = torch.where(inside, truth.points[:, :, 0].to(mean), 0.0)
    scale = constants(aspect, mean)
    error = torch.where(inside, mean - point, 0.0) * scale
    return Seen(probability, log, mean * scale, covariance * scale[:, None] * scale, error, point)


def mean_of(loss: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    """Mean of ``(B, L)`` over known landmarks; 0 where there is none."""
    return mean_over_batch(torch.where(known, loss, 0.0).sum(), known.sum())


def squared_mahalanobis(error: torch.Tensor, covariance: torch.Tensor) -> torch.Tensor:
    """``error^T covariance^-1 error`` of ``(..., D)`` and ``(..., D, D)``."""
    # Without the check for singular ones, for which the host would wait: a covariance holds that of a voxel.
    solved = torch.linalg.solve_ex(covariance, error[..., None])[0][..., 0]
    return (error * solved).sum(-1)


def with_voxel(covariance: torch.Tensor) -> torch.Tensor:
    """A covariance ``(..., D, D)`` with that of a voxel, so that it can be inverted."""
    return covariance + VOXEL * torch.eye(covariance.shape[-1], device=covariance.device)


def jensen_shannon(seen: Seen, aspect: Sequence[float], sigma: float) -> torch.Tensor:
    """Divergence ``(B, L)`` of heatmaps from Gaussians at the points, at most ln 2.

    Args:
        seen: heatmaps and points.
        aspect: length of a voxel along each axis over that of the finest one.
        sigma: standard deviation in voxels of the finest axis; along a thick one it is `_NARROWEST` at least.
    """
    target = torch.ones_like(seen.point[..., :1])
    for axis, (edge, ratio) in enumerate(zip(seen.probability.shape[2:], aspect, strict=True)):
        # One axis after the other, each with its own width.
        width = max(sigma / ratio, _NARROWEST)
        (along,) = GaussianTarget(width).factors(seen.point[..., axis : axis + 1], [edge])
        target = (target[..., None] * along[:, :, None]).flatten(2)
    probability = seen.log.exp()
    middle = (probability + target) / 2
    entropy = -(middle * middle.clamp(min=1e-30).log()).sum(2)
    own = (probability * seen.log).sum(2) + (target * target.clamp(min=1e-30).log()).sum(2)
    return entropy + 0.5 * own


class EuclideanLoss(CoordinateLoss):
    """The distance of mean and point in shares of half the patch, and a regulariser of the heatmap's form.

    Source: Nibali et al., "Numerical Coordinate Regression with Convolutional Neural Networks", arXiv 1801.07372
        (DSNT). Their best regulariser is the Jensen-Shannon divergence from a Gaussian of one pixel, weight 1; the
        other one, ``sum_d (S_dd - sigma^2)^2`` of the variances, is that of the package landmarker.

    Args:
        aspect: length of a voxel along each axis over that of the finest one.
        regularizer: ``js`` or ``variance``.
        weight: of the regulariser.
        sigma: standard deviation of a good heatmap, in voxels of the finest axis.

    Raises:
        ValueError: there is no such regulariser.
    """

    def __init__(
        self, aspect: Sequence[float], regularizer: str = "js", weight: float = 1.0, sigma: float = 1.0
    ) -> None:
        super().__init__(aspect)
        if regularizer not in ("js", "variance"):
            raise ValueError(f"the regulariser is {regularizer!r}; allowed are js, variance")
        self.regularizer, self.weight, self.sigma = regularizer, float(weight), float(sigma)

    def of(self, seen: Seen) -> torch.Tensor:
        """Distance and regulariser."""
        unit = self.unit(seen)
        distance = torch.linalg.vector_norm(seen.error, dim=-1) * unit
        if self.regularizer == "variance":
            variance = seen.covariance.diagonal(dim1=-2, dim2=-1)
            return distance + self.weight * ((variance - self.sigma**2) * unit**2).square().sum(-1)
        return distance + self.weight * jensen_shannon(seen, self.aspect, self.sigma)


class WingLoss(CoordinateLoss):
    """``omega ln(1 + |d| / epsilon)`` of the error d along each axis below omega, else ``|d|`` less a constant.

    The loss says nothing of the form of a heatmap, so the regulariser of `EuclideanLoss` stands beside it.

    Source: Feng et al., "Wing Loss for Robust Facial Landmark Localisation with Convolutional Neural Networks", CVPR
        2018, where a network gives coordinates without heatmaps.

    Args:
        aspect: length of a voxel along each axis over that of the finest one.
        omega: error in voxels up to which the logarithm counts.
        epsilon: bend of the logarithm in voxels.
        weight: of the Jensen-Shannon divergence from a Gaussian.
        sigma: standard deviation of that Gaussian, in voxels of the finest axis.
    """

    def __init__(
        self,
        aspect: Sequence[float],
        *,
        omega: float = 5.0,
        epsilon: float = 0.5,
        weight: float = 1.0,
        sigma: float = 1.0,
    ) -> None:
        super().__init__(aspect)
        self.omega, self.epsilon = float(omega), float(epsilon)
        self.weight, self.sigma = float(weight), float(sigma)

    def of(self, seen: Seen) -> torch.Tensor:
        """Sum over the axes, and the regulariser."""
        return self.wing(seen.error).sum(-1) + self.weight * jensen_shannon(seen, self.aspect, self.sigma)

    def wing(self, error: torch.Tensor) -> torch.Tensor:
        """The loss of each error in voxels."""
        distance = error.abs()
        constant = self.omega * (1 - math.log1p(self.omega / self.epsilon))
        bent = self.omega * torch.log1p(distance / self.epsilon)
        return torch.where(distance < self.omega, bent, distance - constant)


class GaussianLikelihoodLoss(CoordinateLoss):
    """Negative log-likelihood of the point under a Gaussian with mean and covariance of the heatmap, but a constant.

    ``1/2 (ln det S + e^T S^-1 e)``. Where a heatmap may be as narrow as a voxel, its best mean is that of the nearest
    voxel: to share a point between two costs more variance than it saves error.

    Source: Kumar et al., "UGLLI Face Alignment: Estimating Uncertainty with Gaussian Log-Likelihood Loss", ICCV
        workshops 2019.
    """

    def of(self, seen: Seen) -> torch.Tensor:
        """The likelihood."""
        covariance = with_voxel(seen.covariance)
        return 0.5 * (torch.logdet(covariance) + squared_mahalanobis(seen.error, covariance))


class StarLoss(CoordinateLoss):
    """Errors along the principal axes of the heatmap, each over its standard deviation, and the variances themselves.

    ``sum_i d(v_i^T e) / sqrt(lambda_i) + omega / 2 sum_i lambda_i``, d a smooth absolute value, lengths in shares of
    half the patch: in voxels the second part would make a heatmap of one voxel before the first one has moved it.
    Directions are constants for gradients: where two variances are alike they have none.

    Source: Zhou et al., "STAR Loss: Reducing Semantic Ambiguity in Facial Landmark Detection", CVPR 2023.

    Args:
        aspect: length of a voxel along each axis over that of the finest one.
        omega: weight of the variances.
        smooth: error, as a share of half the patch, below which d is a square.
    """

    def __init__(self, aspect: Sequence[float], omega: float = 1.0, smooth: float = 0.01) -> None:
        super().__init__(aspect)
        self.omega, self.smooth = float(omega), float(smooth)

    def of(self, seen: Seen) -> torch.Tensor:
        """Sum over the axes."""
        unit = self.unit(seen)
        covariance = with_voxel(seen.covariance) * unit**2
        axes = torch.linalg.eigh(covariance.detach()).eigenvectors
        variance = torch.einsum("blij,blia,blja->bla", covariance, axes, axes)
        error = torch.einsum("bli,blia->bla", seen.error * unit, axes)
        distance = functional.smooth_l1_loss(error, torch.zeros_like(error), reduction="none", beta=self.smooth)
        return (distance * variance.rsqrt() + 0.5 * self.omega * variance).sum(-1)
