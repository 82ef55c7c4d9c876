"""Alignment of point sets, by numpy alone: similarity and generalised Procrustes."""

from __future__ import annotations

import numpy as np

MIN_LANDMARKS = 6  # a similarity in 3D has 7 unknowns; with fewer points than 6 an outlier bends the fit itself
FAR = 5.0  # times the spread: nothing in the training data comes near it


def similarity(source: np.ndarray, target: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Weighted least-squares similarity without reflection (Umeyama, 1991).

    Args:
        source: ``(N, D)``.
        target: ``(N, D)``.
        weight: ``(..., N)``, not negative, not all zero: one fit for each row of weights.

    Returns:
        ``(..., D+1, D+1)`` matrices that map source to target.
    """
    dims = source.shape[1]
    weight = weight / weight.sum(-1, keepdims=True)
    mean_s, mean_t = weight @ source, weight @ target
    cs, ct = source - mean_s[..., None, :], target - mean_t[..., None, :]
    u, s, vt = np.linalg.svd(np.swapaxes(ct * weight[..., None], -1, -2) @ cs)
    sign = np.ones_like(s)
    sign[..., -1] = np.where(np.linalg.det(u @ vt) < 0, -1.0, 1.0)
    rotation = (u * sign[..., None, :]) @ vt
    scale = (s * sign).sum(-1) / np.maximum((weight * (cs**2).sum(-1)).sum(-1), 1e-12)
    out: np.ndarray = np.zeros((*weight.shape[:-1], dims + 1, dims + 1))
    out[..., :dims, :dims] = scale[..., None, None] * rotation
    out[..., :dims, -1] = mean_t - np.matmul(out[..., :dims, :dims], mean_s[..., None])[..., 0]
    out[..., -1, -1] = 1.0
    return out


def robust_similarity(source: np.ndarray, target: np.ndarray, scale: float) -> np.ndarray:
    """A similarity that a few far points do not bend: weights of Geman and McClure (1985), from wide to narrow.

    Args:
        source: ``(N, D)``.
        target: ``(N, D)``.
        scale: how far good points lie from the fit, in the unit of the target.

    Returns:
        ``(D+1, D+1)`` matrix that maps source to target.
    """
    weight = np.ones(len(target))
    matrix = np.eye(source.shape[1] + 1)
    # Start wide, so that a few far points cannot trap the fit, and narrow down to the scale of the data.
    for width in np.geomspace(max(size_of(target), scale), scale, 12).tolist() + [scale] * 8:
        matrix = similarity(source, target, weight)
        residual = np.linalg.norm(source @ matrix[:-1, :-1].T + matrix[:-1, -1] - target, axis=1)
        weight = 1.0 / (1.0 + (residual / width) ** 2) ** 2
    return matrix


def procrustes(shapes: np.ndarray, rounds: int = 10) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Generalised Procrustes alignment with missing landmarks.

    A case with D landmarks or fewer does not say how it lies and is left out.

    Args:
        shapes: ``(N, L, D)`` mm, NaN where a landmark is not present.
        rounds: alignments to the mean.

    Returns:
        Mean shape ``(L, D)`` mm (NaN for landmarks that no case has), the spread of each landmark about it after
        alignment ``(L,)`` mm (root mean square over cases, corrected for the small sample; NaN where fewer than 2
        cases have it), and the number of cases that have it ``(L,)``.
    """
    shapes = shapes[np.isfinite(shapes[..., 0]).sum(1) > shapes.shape[2]]
    if len(shapes) == 0:
        return np.full(shapes.shape[1:], np.nan), np.full(shapes.shape[1], np.nan), np.zeros(shapes.shape[1], dtype=int)
    mean = shapes[int(np.argmax(np.isfinite(shapes[..., 0]).sum(1)))].copy()
    aligned = np.full_like(shapes, np.nan)
    for _ in range(rounds):
        for i, shape in enumerate(shapes):
            both = np.isfinite(shape[:, 0]) & np.isfinite(mean[:, 0])
            if both.sum() > shape.shape[1]:
                matrix = similarity(shape[both], mean[both], np.ones(int(both.sum())))
                aligned[i] = shape @ matrix[:-1, :-1].T + matrix[:-1, -1]
        count = np.isfinite(aligned[..., 0]).sum(0)
        new = np.where(count[:, None] > 0, np.nansum(aligned, 0) / np.maximum(count, 1)[:, None], np.nan)
        size = size_of(mean) / max(size_of(new), 1e-12)
        mean = (new - np.nanmean(new, 0)) * size + np.nanmean(mean, 0)
    squared = np.nansum(((aligned - mean) ** 2).sum(-1), 0)
    spread = np.sqrt(squared / np.maximum(count - 1, 1))
    return mean, np.where(count > 1, spread, np.nan), count


def size_of(shape: np.ndarray) -> float:
    """Root mean square distance from the centre, mm."""
    return float(np.sqrt(np.nanmean(((shape - np.nanmean(shape, 0)) ** 2).sum(-1))))
