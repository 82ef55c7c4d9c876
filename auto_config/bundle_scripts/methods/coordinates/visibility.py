"""Place, uncertainty and visibility of a landmark in one likelihood."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from ..interfaces import LOGITS, Output, PointBatch
from .losses import in_patch, look, mean_of, squared_mahalanobis, with_voxel

VISIBILITY = "visibility"


def visibility_of(output: Output, probability: torch.Tensor, maps: int) -> torch.Tensor:
    """Logits of being visible: the map of visibility where the heatmap looks.

    Args:
        output: head ``visibility`` of the shape of `probability`.
        probability: ``(L, *size)`` or ``(B, L, *size)``; it gets no gradient, so that visibility does not move the
            point.
        maps: how many of the first axes count maps, 1 or 2.

    Returns:
        ``(L,)`` or ``(B, L)``.
    """
    return (output[VISIBILITY].float() * probability.detach()).flatten(maps).sum(maps)


class VisibleLikelihoodLoss(nn.Module):
    """Negative log-likelihood of visibility, and of the point under a Laplacian where it is visible.

    ``-v ln p - (1 - v) ln(1 - p) + v (1/2 ln det S + sqrt(3 e^T S^-1 e))``, v 1 where the landmark is present and in
    the patch, else 0; an unknown one has no part.

    Source: Kumar et al., "LUVLi Face Alignment: Estimating Landmarks' Location, Uncertainty, and Visibility
        Likelihood", CVPR 2020. There covariance and visibility come from fully connected layers behind an hourglass;
        here S is that of the heatmap, as in UGLLI, and p is read from a second map where the heatmap looks, so that
        any network will do.

    Args:
        aspect: length of a voxel along each axis over that of the finest one.
    """

    def __init__(self, aspect: Sequence[float]) -> None:
        super().__init__()
        self.aspect = [float(ratio) for ratio in aspect]

    def forward(self, output: Output, truth: PointBatch, size: Sequence[int]) -> torch.Tensor:
        """See `scripts.methods.interfaces.Loss`; heads ``logits`` and ``visibility``, both ``(B, L, *size)``."""
        log = torch.log_softmax(output[LOGITS].float().flatten(2), dim=2)
        visible = in_patch(truth, size)
        seen = look(log, truth, size, self.aspect)
        covariance = with_voxel(seen.covariance)
        # The root has no gradient at 0.
        distance = (3 * squared_mahalanobis(seen.error, covariance) + 1e-9).sqrt()
        place = 0.5 * torch.logdet(covariance) + distance
        logit = visibility_of(output, seen.probability, 2)
        seen_or_not = functional.binary_cross_entropy_with_logits(logit, visible.to(logit), reduction="none")
        return mean_of(seen_or_not + torch.where(visible, place, 0.0), truth.status >= 0)
