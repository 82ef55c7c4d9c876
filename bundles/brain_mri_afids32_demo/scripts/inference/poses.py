"""The search for the pose in which a network finds landmarks: turned images, judged by shape and confidence."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from ..grid.grids import apply_affine
from ..points.landmark_text import read_text
from ..points.peaks import Peaks
from ..points.pose.rotations import Fit, angle_deg, fit_pose, quarter_turns
from ..points.procrustes import FAR, MIN_LANDMARKS, size_of
from ..points.shape import FREE, MIN_CASES, ShapeModel

UPRIGHT, FREE_POSE = "upright", "free"

PLAUSIBLE = 0.8
"""Share of the evidence that lies where the shape allows it; training cases have nearly all of it there."""

_TELLING = 0.35
"""From this share on the fit of a look is worth another look, upright by it."""

_BETTER = 1.1
"""A turned pose must score so many times the first one, which is right unless something speaks against it."""

_FEW = 4
"""Poses that are always looked at where poses are free: the image as it is and three half turns (2D: quarters)."""


@dataclass(frozen=True)
class Look:
    """What a network finds in an image that was turned.

    Args:
        rotation: ``(D, D)`` from directions of the turned image to those of the image; the identity where it is not.
        points: ``(L, D)`` mm, voxels of the image times spacing.
        fit: of the mean shape to the points; None where the shape says nothing.
        standing: ``(D, D)`` rotation from directions of an upright image to those of the image, by the fit; None
            without one.
        share: part of the confidence that lies where the shape allows it, in [0, 1]; 0 without a fit.
        score: fit of the shape and confidence in one number in [0, 1]; the mean confidence without a fit.
    """

    rotation: np.ndarray
    points: np.ndarray
    fit: Fit | None = None
    standing: np.ndarray | None = None
    share: float = 0.0
    score: float = 0.0

    @property
    def off_deg(self) -> float:
        """How far the anatomy lies turned in the turned image, degrees; 0 without a fit."""
        return 0.0 if self.standing is None else angle_deg(self.rotation.T @ self.standing)


def judges(shape: ShapeModel) -> bool:
    """Whether a shape can say that a first answer is wrong: landmarks and cases enough, and not too free a shape."""
    spread, cases = shape.known_spread(), shape.cases.detach().cpu().numpy()
    known = (cases >= MIN_CASES) & np.isfinite(spread)
    return bool(known.sum() >= MIN_LANDMARKS and np.median(spread[known]) <= FREE * size_of(shape.known_mean()[known]))


class PoseSearch:
    """Tries poses of an image where it must, and says which one the points were found in.

    With ``upright`` an answer stands unless the shape speaks against it: less than `PLAUSIBLE` of the evidence lies
    where the shape allows it, or the anatomy lies turned by more than what training had. Then the image is turned as
    the points say and by every quarter turn, until one is plausible; the first answer stays unless a pose scores
    clearly better. With ``free`` a few poses are always tried, and the one in which the anatomy then stands upright;
    the others only if none of these is plausible.

    Args:
        kind: ``upright`` or ``free``: what the network was trained for.
        limit_deg: the largest turn that an upright network knows, degrees; 180 for free ones.
        search: look at turned images at all; a validation while a network still learns nothing would search in vain.
        landmarks: path of ``configs/landmarks.json``, whose mean offsets say how cases lie; None where the mean shape
            is upright itself, as it is with ``free``.
        calibration: path of ``models/calibration.json``, which need not be there; None for none. Where it says that the
            model is useless, nothing is searched for.
    """

    def __init__(
        self,
        kind: str = UPRIGHT,
        limit_deg: float = 180.0,
        search: bool = True,
        landmarks: str | Path | None = None,
        calibration: str | Path | None = None,
    ) -> None:
        if kind not in (UPRIGHT, FREE_POSE):
            raise ValueError(f"pose is {kind!r}; allowed are {UPRIGHT!r} and {FREE_POSE!r}")
        self.free, self.limit_deg = kind == FREE_POSE, float(limit_deg)
        self.search = bool(search) and not _is_useless(calibration)
        self.mean_points = None if self.free or landmarks is None else read_mean_points(landmarks)

    def look_at(
        self, shape: ShapeModel, rotation: np.ndarray, points: np.ndarray, confidence: np.ndarray, voxel: float
    ) -> Look:
        """Judge what was found in a turned image by the shape of the training cases.

        The score is the mean over landmarks of confidence times ``1 / (1 + (distance / limit)^2)``, where the limit is
        that of the shape check: five spreads of the landmark, or of half a voxel.

        Args:
            shape: its mean, and how far landmarks stray.
            rotation: of the turned image.
            points: ``(L, D)`` mm in the frame of the image.
            confidence: ``(L,)``.
            voxel: mm that a good point may be off.
        """
        mean, spread, cases = shape.known_mean(), shape.known_spread(), shape.cases.detach().cpu().numpy()
        known = (cases >= min(MIN_CASES, int(cases.max(initial=0)))) & np.isfinite(spread) & np.isfinite(points).all(1)
        scale = max(float(np.median(spread[known])), voxel) if known.any() else voxel
        fit = fit_pose(np.where(known[:, None], mean, np.nan), points, scale)
        if fit is None:
            return Look(rotation, points, score=float(np.mean(confidence)))
        limit = FAR * np.maximum(spread[known], voxel / 2)
        far, sure = fit.distance[known] / limit, np.clip(confidence[known], 1e-6, 1.0)
        share, score = (sure * (far <= 1)).sum() / sure.sum(), (sure / (1 + far**2)).mean()
        return Look(rotation, points, fit, fit.rotation @ self._lies(mean, scale).T, float(share), float(score))

    def _lies(self, mean: np.ndarray, scale: float) -> np.ndarray:
        """``(D, D)`` how the mean shape lies in an upright image: as it is, or as the cases do on average."""
        known = None if self.mean_points is None else fit_pose(mean, self.mean_points, scale)
        return np.eye(mean.shape[1]) if known is None else known.rotation

    def best(self, first: Look, look: Callable[[np.ndarray], Look], shape: ShapeModel) -> Look:
        """The look that image and shape speak for.

        Args:
            first: at the image as it is.
            look: at the image turned by a rotation.
            shape: of the training cases.
        """
        if not self.search or not (self.free or (judges(shape) and not self.plausible(first))):
            return first
        turns = quarter_turns(len(first.rotation))[1:]
        if not self.free:
            found = self._first_plausible(first, turns, look)
            tried = self.too_far(first) and self.plausible(found)
            return found if tried or found.score > _BETTER * first.score else first
        few = _half_turns(len(first.rotation))
        best = max([first, *map(look, few)], key=lambda one: one.score)
        best = self._upright(best, look)
        if self.plausible(best) or not judges(shape):
            return best
        others = [turn for turn in turns if not any(np.allclose(turn, one) for one in few)]
        return max(best, self._first_plausible(best, others, look), key=lambda one: one.score)

    def plausible(self, one: Look) -> bool:
        """Whether a look agrees with the shape, and lies no farther turned than what the network knows."""
        return one.fit is not None and one.share >= PLAUSIBLE and one.off_deg <= self.limit_deg

    def too_far(self, one: Look) -> bool:
        """Whether the points agree with the shape and lie farther turned than what the network knows."""
        return one.fit is not None and one.share >= PLAUSIBLE and one.off_deg > self.limit_deg

    def _first_plausible(self, first: Look, turns: list[np.ndarray], look: Callable[[np.ndarray], Look]) -> Look:
        """The first plausible one of all turns, each followed by one upright by its fit; else the best."""
        best = self._upright(first, look)
        for turn in [] if self.plausible(best) else turns:
            found = look(turn)
            if found.fit is not None and found.share >= _TELLING:
                found = self._upright(found, look)
            best = max(best, found, key=lambda one: one.score)
            if self.plausible(best):
                break
        return best

    def _upright(self, one: Look, look: Callable[[np.ndarray], Look]) -> Look:
        """Once more, turned so that the anatomy stands upright; what was there if that is no better."""
        if one.standing is None:
            return one
        again = look(one.standing)
        tried = self.too_far(one) and self.plausible(again)
        return again if tried or again.score >= one.score else one


def read_mean_points(landmarks: str | Path) -> np.ndarray | None:
    """Mean points ``(L, D)`` of the training cases in mm about the middle of the image, NaN where none is known.

    Args:
        landmarks: path of ``configs/landmarks.json``; None is given for one that says no mean points.
    """
    items = json.loads(read_text(Path(landmarks)))["landmarks"]
    offsets = [item.get("mean_offset_mm") for item in items]
    dims = next((len(offset) for offset in offsets if offset is not None), None)
    if dims is None:
        return None
    return np.array([[np.nan] * dims if offset is None else offset for offset in offsets], dtype=np.float64)


def _is_useless(calibration: str | Path | None) -> bool:
    """Whether a calibration says that the model has learnt nothing; what is wrong with its file, others say."""
    try:
        return calibration is not None and bool(json.loads(read_text(Path(calibration))).get("useless"))
    except (OSError, ValueError, AttributeError):
        return False


def _half_turns(dims: int) -> list[np.ndarray]:
    """Half turns about each axis (2D: quarter turns), beside the image as it is."""
    turns = quarter_turns(dims)
    if dims == 2:
        return [turn for turn in turns if round(angle_deg(turn)) in (90, 180)][: _FEW - 1]
    return [turn for turn in turns if np.allclose(turn, np.diag(np.diag(turn))) and not np.allclose(turn, np.eye(3))]


def turned_back(peaks: Peaks, turn: np.ndarray | None) -> Peaks:
    """Peaks in voxels of a turned grid as they are in planned voxels: points, and covariances turned on both sides.

    Args:
        peaks: of R landmarks.
        turn: ``(D+1, D+1)`` from voxels of the turned grid to planned voxels; None where nothing was turned.
    """
    if turn is None:
        return peaks
    points = torch.from_numpy(apply_affine(turn, peaks.points.double().cpu().numpy())).to(peaks.points)
    linear = torch.as_tensor(turn[:-1, :-1], dtype=torch.float64, device=peaks.covariance.device)
    covariance = (linear @ peaks.covariance.double() @ linear.T).to(peaks.covariance)
    return replace(peaks, points=points, covariance=covariance)
