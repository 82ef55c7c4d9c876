"""Heatmap regression to Gaussians whose widths are learnt with the network."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from ..interfaces import LOGITS, Output, PointBatch, mean_over_batch
from ..losses import inside_patch
from .maps import peak_height, precision_of, rotation_matrix, squared_distance


class LearntSigmaLoss(nn.Module):
    """Half the squared distance to a round Gaussian, whose width is an output of the network, and a penalty on it.

    ``1/2 ||H - G||^2 + alpha / 2 sigma^2`` for each landmark, the mean over those known, with ``G = gamma /
    ((2 pi)^(D/2) sigma^D) exp(-d^2 / (2 sigma^2))``. The first part alone would make a Gaussian endless and flat; the
    second one makes it as narrow as the network can say where the point is.

    An absent landmark has an empty target. One outside of the patch has the part that reaches in; the penalty counts
    where a landmark is present and inside, because elsewhere nothing would hold it. Unknown ones have no part.

    Source: Payer et al., Medical Image Analysis 54, 2019, equations 5 to 7. There the sum over landmarks is not
        divided; here it is, which the optimiser does not see.

    Args:
        gamma: integral of a Gaussian over voxels of the finest axis.
        alpha: weight of the penalty.
        aspect: length of a voxel along each axis over that of the finest one.
    """

    def __init__(self, gamma: float, alpha: float, aspect: Sequence[float]) -> None:
        super().__init__()
        self.gamma, self.alpha, self.aspect = float(gamma), float(alpha), [float(ratio) for ratio in aspect]

    def forward(self, output: Output, truth: PointBatch, size: Sequence[int]) -> torch.Tensor:
        """See `scripts.methods.interfaces.Loss`; heads ``logits (B, L, *size)``, ``log_sigma (L,)``."""
        sigma = output["log_sigma"].exp()[:, None].expand(-1, len(size))
        precision = precision_of(sigma, None, self.aspect)
        penalty = 0.5 * self.alpha * sigma[:, 0].square()
        height = peak_height(self.gamma, sigma)
        return _loss(output[LOGITS], truth, size, precision=precision, height=height, penalty=penalty)


class LearntCovarianceLoss(nn.Module):
    """Half the squared distance to a Gaussian whose widths and rotation are outputs of the network, and a penalty.

    The penalty is ``alpha`` times the determinant of the covariance: the product of the variances. Else as
    `LearntSigmaLoss`.

    Source: Payer et al., "Uncertainty Estimation in Landmark Localization Based on Gaussian Heatmaps", UNSURE 2020;
        Thaler et al., "Modeling Annotation Uncertainty with Gaussian Heatmaps in Landmark Localization", MELBA 2021.
        What their code calls sigmas are variances, and so they are in the penalty here. In 3D, which they do not have,
        the rotation is a rotation vector.

    Args:
        gamma: integral of a Gaussian over voxels of the finest axis.
        alpha: weight of the penalty.
        aspect: length of a voxel along each axis over that of the finest one.
    """

    def __init__(self, gamma: float, alpha: float, aspect: Sequence[float]) -> None:
        super().__init__()
        self.gamma, self.alpha, self.aspect = float(gamma), float(alpha), [float(ratio) for ratio in aspect]

    def forward(self, output: Output, truth: PointBatch, size: Sequence[int]) -> torch.Tensor:
        """See `scripts.methods.interfaces.Loss`.

        Heads: ``logits (B, L, *size)``, ``log_sigma (L * D,)``, ``rotation (L,)`` in 2D or ``(L * 3,)`` in 3D.
        """
        landmarks = output[LOGITS].shape[1]
        sigma = output["log_sigma"].reshape(landmarks, len(size)).exp()
        rotation = rotation_matrix(output["rotation"].reshape(landmarks, -1))
        precision = precision_of(sigma, rotation, self.aspect)
        penalty = self.alpha * sigma.square().prod(1)
        height = peak_height(self.gamma, sigma)
        return _loss(output[LOGITS], truth, size, precision=precision, height=height, penalty=penalty)


def _loss(
    heatmaps: torch.Tensor,
    truth: PointBatch,
    size: Sequence[int],
    *,
    precision: torch.Tensor,
    height: torch.Tensor,
    penalty: torch.Tensor,
) -> torch.Tensor:
    """Mean over known landmarks; `precision` (L, D, D), `height` and `penalty` (L,)."""
    points, status = truth.points[:, :, 0].float(), truth.status
    present = (status == 1) & torch.isfinite(points).all(-1)
    points = torch.where(present[..., None], points, 0.0)
    target = torch.exp(-0.5 * squared_distance(points, precision, size))
    target = target * (height * present).reshape(*present.shape, *[1] * len(size))
    distance = 0.5 * (heatmaps.float() - target).flatten(2).square().sum(2)
    total = distance + torch.where(present & inside_patch(points, size), penalty, 0.0)
    known = status >= 0
    return mean_over_batch(torch.where(known, total, 0.0).sum(), known.sum())
