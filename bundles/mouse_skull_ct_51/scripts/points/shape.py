"""A shape model of the landmarks that finds coarse points which cannot be right.

The mean shape of the training cases (generalised Procrustes alignment), fitted to a case's points by a similarity
with robust weights; a point much farther from the fit than that landmark ever strays is replaced by the fit. All
scales come from the training shapes and the voxel. The model is silent where the shape says little: few landmarks,
few cases, or anatomy that varies too freely to point at anything.

Source of the procedure and of its constants: the project's trials on mouse skulls (docs/method.md); Procrustes
alignment after Gower (1975), the weights are those of Geman and McClure (1985).
"""

import numpy as np
import torch
from torch import nn

from .procrustes import FAR, MIN_LANDMARKS, procrustes, robust_similarity, size_of

MIN_CASES = 5  # the spread of a landmark over fewer cases means nothing
FREE = 0.12
"""Median spread over size of the shape: above this, the anatomy varies freely and the shape is no judge. Measured:
skulls 0.03, their projections 0.08, cephalograms 0.08, a mouse that walks 0.27."""
TRUSTED_SHARE = 0.6  # of the landmarks must agree with the fit before it may overrule the others


class ShapeModel(nn.Module):
    """Mean shape and spreads as buffers, so that they travel in the weights and every fold has its own.

    All buffers are finite, so that weights can be averaged and subtracted (federated learning does both): what nobody
    knows is 0, and ``cases`` says what is known. `known_mean` and `known_spread` have NaN there.

    Args:
        landmarks: number of landmarks L.
        spatial_dims: D.
    """

    mean: torch.Tensor
    spread: torch.Tensor
    cases: torch.Tensor

    def __init__(self, landmarks: int, spatial_dims: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros((landmarks, spatial_dims), dtype=torch.float64))
        self.register_buffer("spread", torch.zeros((landmarks,), dtype=torch.float64))
        self.register_buffer("cases", torch.zeros((landmarks,), dtype=torch.int64))
        self.register_load_state_dict_pre_hook(_finite)

    def fit(self, shapes: np.ndarray) -> None:
        """Learn from training points.

        Args:
            shapes: ``(N, L, D)`` world mm, NaN where a landmark is not present; N may be 0.
        """
        if len(shapes) == 0:
            return
        mean, spread, count = procrustes(np.asarray(shapes, dtype=np.float64))
        self.mean.copy_(torch.from_numpy(np.nan_to_num(mean)))
        self.spread.copy_(torch.from_numpy(np.nan_to_num(spread)))
        self.cases.copy_(torch.from_numpy(count))

    def known_mean(self) -> np.ndarray:
        """Mean shape ``(L, D)`` mm, NaN for landmarks that no training case has."""
        mean, cases = self.mean.detach().cpu().numpy(), self.cases.detach().cpu().numpy()
        return np.where(cases[:, None] > 0, mean, np.nan)

    def known_spread(self) -> np.ndarray:
        """Spread ``(L,)`` mm, NaN for landmarks that fewer than 2 training cases have."""
        spread, cases = self.spread.detach().cpu().numpy(), self.cases.detach().cpu().numpy()
        return np.where(cases > 1, spread, np.nan)

    def judge(self, points: np.ndarray, tolerance: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Fit the shape to a case and find the points that cannot be right.

        Args:
            points: ``(L, D)`` mm in any right-handed frame; NaN for landmarks that are not to be looked at.
            tolerance: mm that a good coarse point may be off, a coarse voxel.

        Returns:
            Fitted shape ``(L, D)`` mm, distance of each point from it ``(L,)`` mm, and which points to replace
            ``(L,)`` bool. Where the shape does not judge, the first two are NaN and the last is False.
        """
        mean, spread, cases = self.known_mean(), self.known_spread(), self.cases.detach().cpu().numpy()
        known = (cases >= MIN_CASES) & np.isfinite(spread) & np.isfinite(points).all(axis=1)
        silent = (np.full_like(points, np.nan), np.full(len(points), np.nan), np.zeros(len(points), dtype=bool))
        if known.sum() < MIN_LANDMARKS or np.median(spread[known]) > FREE * size_of(mean[known]):
            return silent
        scale = max(float(np.median(spread[known])), tolerance)
        matrix = robust_similarity(mean[known], points[known], scale)
        fitted = mean @ matrix[:-1, :-1].T + matrix[:-1, -1]
        distance = np.linalg.norm(fitted - points, axis=1)
        limit = FAR * np.maximum(spread, tolerance / 2)
        agree = distance[known] <= limit[known]
        if agree.mean() < TRUSTED_SHARE:
            return silent
        distance = np.where(known, distance, np.nan)
        with np.errstate(invalid="ignore"):
            return fitted, distance, known & (distance > limit)

    def deviation(self, tolerance: float) -> np.ndarray:
        """Standard deviation (L,) in mm of where the shape expects a landmark, `tolerance` at least.

        A landmark that the training cases say nothing of gets that of the others.
        """
        spread = self.known_spread()
        return np.maximum(np.where(np.isfinite(spread), spread, np.nanmedian(spread)), tolerance)


def _finite(_: nn.Module, state: dict[str, torch.Tensor], prefix: str, *__: object) -> None:
    """Older weights have NaN where nothing is known, and the oldest no ``cases``: their shape is then not used."""
    mean, spread = state.get(f"{prefix}mean"), state.get(f"{prefix}spread")
    if mean is None or spread is None:
        return
    state[f"{prefix}mean"], state[f"{prefix}spread"] = mean.nan_to_num(), spread.nan_to_num()
    if f"{prefix}cases" not in state:
        state[f"{prefix}cases"] = torch.zeros(len(spread), dtype=torch.int64)


def shape_prior(
    fitted: np.ndarray, deviation: np.ndarray, voxel: np.ndarray, chosen: np.ndarray, logits: torch.Tensor
) -> torch.Tensor:
    """Log of a Gaussian about where the shape expects landmarks, to be added to heatmap logits.

    With it, the highest of several maxima is the one that both the image and the shape speak for.

    Args:
        fitted: ``(L, D)`` voxels of the heatmap.
        deviation: ``(L,)`` mm.
        voxel: ``(D,)`` size of a voxel in mm.
        chosen: ``(L,)`` landmarks that get a prior; the others get 0.
        logits: ``(L, *size)``, for size and device.

    Returns:
        ``(L, *size)``.
    """
    scale = torch.as_tensor(voxel[None] / deviation[:, None], device=logits.device, dtype=torch.float32)
    centre = torch.as_tensor(np.nan_to_num(fitted), device=logits.device, dtype=torch.float32)
    total = torch.zeros((), device=logits.device)
    for axis, size in enumerate(logits.shape[1:]):
        steps = torch.arange(size, device=logits.device, dtype=torch.float32)
        along = -0.5 * ((steps - centre[:, axis : axis + 1]) * scale[:, axis : axis + 1]).square()
        shape = [len(centre)] + [1] * (logits.ndim - 1)
        shape[1 + axis] = size
        total = total + along.reshape(shape)
    return total * torch.as_tensor(chosen, device=logits.device).reshape(-1, *[1] * (logits.ndim - 1))
