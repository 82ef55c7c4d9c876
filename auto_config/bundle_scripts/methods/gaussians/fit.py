"""The covariance of a peak: that of the Gaussian which fits the heatmap around it best."""

from __future__ import annotations

import torch

NARROWEST = 1 / 12
"""Variance in voxel^2: a voxel is a box and not a point."""


def fitted_covariance(
    values: torch.Tensor, offsets: torch.Tensor, valid: torch.Tensor, widest: float, rounds: int = 3
) -> torch.Tensor:
    """Covariances of anisotropic Gaussians with centre and height of their own.

    Weighted least squares of the logarithm, which is a quadratic function: the weights are the squares of the heatmap,
    then of the fit itself, so that the fit tends to that of the heatmap and not of its logarithm. Exact for a Gaussian.

    Source: H. Guo, "A Simple Algorithm for Fitting a Gaussian Function", IEEE Signal Processing Magazine 28, 2011, in
        D dimensions.

    Args:
        values: ``(N, M)`` of the heatmap in boxes around N peaks.
        offsets: ``(N, M, D)`` of the voxels from the peaks.
        valid: ``(N, M)`` whether a voxel counts.
        widest: standard deviation in voxels that none exceeds, such as the reach of the box.
        rounds: of the fit.

    Returns:
        ``(N, D, D)`` voxel^2, with eigenvalues from `NARROWEST` to ``widest^2``.
    """
    dims = offsets.shape[2]
    row, column = torch.triu_indices(dims, dims)
    place = offsets.double()
    basis = torch.cat([torch.ones_like(place[..., :1]), place, place[..., row] * place[..., column]], dim=-1)
    height = values.double().masked_fill(~valid, 0.0)
    height = height / height.amax(1, keepdim=True).clamp(min=1e-12)
    seen = height > 1e-6
    logarithm = height.clamp(min=1e-6).log()
    weight = height.clamp(min=0).square() * seen
    small = 1e-9 * torch.eye(basis.shape[-1], dtype=basis.dtype, device=basis.device)
    found = basis.new_zeros((len(basis), basis.shape[-1], 1))
    for _ in range(rounds):
        weighted = basis * weight[..., None]
        found = torch.linalg.solve(
            weighted.transpose(1, 2) @ basis + small, weighted.transpose(1, 2) @ logarithm[..., None]
        )
        # A fit that opens upwards would weigh the border of its box.
        weight = (2 * (basis @ found)[..., 0].clamp(max=0.0)).exp() * seen
    curvature = place.new_zeros((len(place), dims, dims))
    curvature[:, row, column] = -found[:, 1 + dims :, 0]
    precision = curvature + curvature.transpose(1, 2)
    scale, axes = torch.linalg.eigh(precision)
    variance = 1 / scale.clamp(min=widest**-2, max=1 / NARROWEST)
    return ((axes * variance[:, None]) @ axes.transpose(1, 2)).float()
