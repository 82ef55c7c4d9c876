"""A case in which a person set some points: the others are looked for again where these say that they must be.

A first look keeps what a network says of the whole image. Each correction then costs arithmetic: the shape is
conditioned on the points of the person and on the believable predicted ones (`conditioning`), the kept heatmaps are
read again under that prior, and the fine stage looks at crops around the places of the points that moved. Points that
agree with the person's stay as they were.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
import torch

from auto_config.bundle.opened import OpenBundle
from auto_config.bundle_scripts.grid.grids import (
    apply_affine,
    coarse_to_planned,
    embed_affine,
    planned_to_coarse,
    to_cells,
)
from auto_config.bundle_scripts.images.frame import original_affine
from auto_config.bundle_scripts.inference.flip import MirroredNetwork
from auto_config.bundle_scripts.methods.half_precision import HalfPrecisionNetwork
from auto_config.bundle_scripts.methods.interfaces import Decoder, Output, kept_heads
from auto_config.bundle_scripts.points.peaks import Peaks
from auto_config.bundle_scripts.points.shape import shape_prior
from auto_config.prediction.bundle_shape import mean_offsets
from auto_config.prediction.conditioning import Conditioned, condition, condition_as_usual
from auto_config.prediction.fixed_points import with_fixed
from auto_config.prediction.shape_gaussian import ShapeGaussian

NEARLY_ALL = 0.999  # of true points lie nearer to where they are expected: what is read again there is believed
_READABLE = 0.5  # of the predicted points agree with those of the person, or the network is not asked again


@dataclass
class Look:
    """What is kept of a case between corrections.

    Attributes:
        data: what `OpenBundle.preprocess` gave.
        peaks: of the prediction, planned voxels.
        output: of the stage that sees the whole image: the only one, or the coarse one.
        turned: whether the image had to be turned for the prediction; its output is then of another grid, where
            nothing is read again.
        crops: for each landmark that the fine stage looked at anew, the first voxel of the crop and its output.
    """

    data: Mapping[str, Any]
    peaks: Peaks
    output: Output
    turned: bool = False
    crops: dict[int, tuple[tuple[int, ...], Output]] = field(default_factory=dict)

    def bytes(self) -> int:
        """Memory of the image and the outputs."""
        held = [self.data["image"], *self.output.values()]
        held += [value for _, output in self.crops.values() for value in output.values()]
        return sum(one.element_size() * one.nelement() for one in held)


class _Recorder:
    """A sliding window that keeps what it gave first: of the image as it lies, before any turned one is tried."""

    def __init__(self, window: Any) -> None:
        self.window = window
        self.first: Any = None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        merged = self.window(*args, **kwargs)
        self.first = merged if self.first is None else self.first
        return merged


def why_not(opened: OpenBundle, shape: ShapeGaussian | None) -> str | None:
    """Why corrected points cannot move others with this bundle, to be put after its name; None where they can."""
    inferer = opened.inferer
    if not (_two_stages(opened) or (hasattr(inferer, "decoder") and hasattr(inferer, "window"))):
        return "is one whose heatmaps cannot be read again; create it again with this version"
    if getattr(getattr(inferer, "pose", None), "free", False):
        return "knows every pose, where points that are set move no others yet; correct by hand"
    if getattr(inferer, "instances", None) is not None:
        return "has landmarks that change places or of which there are many, whose shape is not known; correct by hand"
    if shape is None:
        return "knows no shape of its training cases; run `auto_config calibrate` on it, or train it on more cases"
    if len(shape.mean) != len(opened.names) or shape.mean.shape[1] != opened.spatial_dims:
        return "has a shape of other landmarks in models/calibration.json; run `auto_config calibrate` on it"
    return None


def first_look(opened: OpenBundle, data: Mapping[str, Any]) -> Look:
    """Predict a case as `OpenBundle.predict` does and keep what corrections need; once for a case.

    Args:
        opened: a bundle for which `why_not` is None.
        data: what its `preprocess` gave.
    """
    inferer = copy.copy(opened.inferer)
    image = data["image"].as_tensor().to(opened.device)
    if not _two_stages(opened):
        with torch.inference_mode():
            found = inferer.heatmaps(image, opened.network)
        return Look(data, found.peaks, found.output, _turned(found))
    inferer.window = recorder = _Recorder(inferer.window)
    with torch.inference_mode():
        found = inferer.heatmaps(image, opened.network)
    return Look(data, found.peaks, {head: value[0] for head, value in recorder.first.items()}, _turned(found))


def _turned(found: Any) -> bool:
    """Whether heatmaps are of a turned image; those of bundles of earlier versions never are."""
    return getattr(found, "turn", None) is not None


def predicted(opened: OpenBundle, look: Look) -> dict[str, Any]:
    """What `OpenBundle.predict` gives for the case."""
    done: dict[str, Any] = opened.postprocessing({**look.data, "pred": look.peaks.pack()})
    return done


def corrected(
    opened: OpenBundle,
    look: Look,
    shape: ShapeGaussian,
    points: np.ndarray,
    status: np.ndarray,
    *,
    seconds: float | None = None,
) -> dict[str, Any]:
    """The result of a case in which a person set points; as `OpenBundle.predict`, with ``moved`` beside ``result``.

    Args:
        opened: the bundle.
        look: of `first_look`; what the fine stage sees anew is kept there.
        shape: of the training cases.
        points: (L, D) world mm of the bundle, NaN where a person set none.
        status: (L,) 1 where a person set the point, 0 where they say that it is absent, -1 where they say nothing.
        seconds: after so many the fine stage looks at no further crop; the points that are left stay where the coarse
            stage and the shape have them, until the next correction. None looks at all.

    Returns:
        What post-processing leaves. Set points stand in ``result`` exactly as given, with ``fixed`` true; ``moved`` has
        the names of the others that are elsewhere than they were predicted. In a case that was turned for its
        prediction they go where the shape has them, and nothing is read again.
    """
    end = None if seconds is None else time.perf_counter() + seconds
    with torch.inference_mode():
        peaks, moved = _corrected_peaks(_Case.of(opened, look, shape, points, status), end)
    data: Any = {**look.data, "pred": peaks.pack()}
    original = original_affine(look.data["image"], opened.spatial_dims)
    for step in opened.postprocessing.transforms:
        before = "result" in data
        data = step(data)
        if not before and "result" in data:
            landmarks = data["result"]["landmarks"]
            data["result"]["landmarks"] = with_fixed(landmarks, opened.names, points, status, original)
    return {**data, "moved": [opened.names[i] for i in np.flatnonzero(moved)]}


def _corrected_peaks(case: _Case, end: float | None) -> tuple[Peaks, np.ndarray]:
    """Peaks in planned voxels, and which of them moved."""
    expected = condition(case.shape, case.points, case.voxel, case.sure)
    if expected is None:
        return _placed_as_usual(case)
    moved = _to_move(case, expected)
    if case.look.turned or not _readable(case, expected):
        # What was kept is of another grid, or of an image that the network cannot read: the shape alone speaks.
        places = np.where(moved[:, None], expected.points, case.points)
        return _placed(case.look.peaks, case, places, moved, expected), moved
    again = _read_again(case, expected, moved)
    believed = moved & expected.believes(again, case.coarse_voxel, NEARLY_ALL)
    expected = _expected_with(case, again, believed, case.coarse_voxel, moved=moved, before=expected)
    moved |= _to_move(case, expected)
    seen = _look_again(case, expected, moved, end)
    believed = moved & expected.believes(seen.points, case.voxel, NEARLY_ALL)
    expected = _expected_with(case, seen.points, believed, case.voxel, moved=moved, before=expected)
    places = np.where(moved[:, None], expected.points, case.points)
    places[believed] = seen.points[believed]
    return _placed(seen.peaks, case, places, moved & ~believed, expected), moved


def _readable(case: _Case, expected: Conditioned) -> bool:
    """Whether the network read the image: enough of its points agree, of those that are expected inside of it."""
    judged = ~case.set & case.inside(expected.points)
    return not judged.any() or bool(expected.agree[judged].mean() >= _READABLE)


def _placed_as_usual(case: _Case) -> tuple[Peaks, np.ndarray]:
    """As `_corrected_peaks` where too few points agree on a pose: the anatomy lies as it does in the training cases."""
    offsets = mean_offsets(case.opened.root / "configs" / "landmarks.json", len(case.spacing))
    usual = apply_affine(case.affine, (case.size - 1.0)[None] / 2) + offsets
    expected = condition_as_usual(case.shape, case.points, usual, case.voxel, case.sure)
    moved = np.zeros(len(case.points), dtype=bool)
    if expected is None:
        return _placed(case.look.peaks, case, case.points, moved, None), moved
    moved = ~case.set & np.isfinite(expected.points).all(axis=1)
    places = np.where(moved[:, None], expected.points, case.points)
    return _placed(case.look.peaks, case, places, moved, expected), moved


@dataclass(frozen=True)
class _Case:
    """Places of a case in world mm, and the grid that they are found on."""

    opened: OpenBundle
    look: Look
    shape: ShapeGaussian
    affine: np.ndarray
    spacing: np.ndarray
    factor: np.ndarray
    size: np.ndarray
    points: np.ndarray
    sure: np.ndarray
    set: np.ndarray

    @classmethod
    def of(cls, opened: OpenBundle, look: Look, shape: ShapeGaussian, points: np.ndarray, status: np.ndarray) -> _Case:
        image = look.data["image"]
        affine = embed_affine(image.affine, opened.spatial_dims)
        found = apply_affine(affine, look.peaks.points.double().cpu().numpy())
        sure = status == 1
        found = np.where(sure[:, None], points, np.where((status == 0)[:, None], np.nan, found))
        spacing = np.linalg.norm(affine[:-1, :-1], axis=0)
        factor = np.asarray(opened.inferer.factor if _two_stages(opened) else np.ones(len(spacing)), dtype=np.float64)
        size = np.asarray(image.shape[1:])
        return cls(opened, look, shape, affine, spacing, factor, size, found, sure, status >= 0)

    @property
    def voxel(self) -> float:
        return float(self.spacing.max())

    @property
    def coarse_voxel(self) -> float:
        return float((self.spacing * self.factor).max())

    def voxels(self, points: np.ndarray) -> np.ndarray:
        return apply_affine(np.linalg.inv(self.affine), points)

    def inside(self, points: np.ndarray) -> np.ndarray:
        voxels = self.voxels(points)
        with np.errstate(invalid="ignore"):
            return np.asarray(((voxels >= -0.5) & (voxels <= self.size - 0.5)).all(axis=1))


def _to_move(case: _Case, expected: Conditioned) -> np.ndarray:
    """Points that cannot be where they are and of which the shape says where they are."""
    return ~expected.agree & ~case.set & np.isfinite(expected.points).all(axis=1)


def _expected_with(
    case: _Case, points: np.ndarray, believed: np.ndarray, tolerance: float, *, moved: np.ndarray, before: Conditioned
) -> Conditioned:
    """What is expected if the points that moved lie where they were read anew, and those not believed nowhere."""
    given = np.where(moved[:, None], np.where(believed[:, None], points, np.nan), case.points)
    tolerances = np.where(believed, tolerance, case.voxel)
    return condition(case.shape, given, tolerances, case.sure, before) or before


def _read_again(case: _Case, expected: Conditioned, moved: np.ndarray) -> np.ndarray:
    """World mm (L, D) of the maxima that both the heatmaps of the whole image and the shape speak for."""
    out = np.full_like(case.points, np.nan)
    chosen = np.flatnonzero(moved & case.inside(expected.points))
    if len(chosen) == 0:
        return out
    inferer = case.opened.inferer
    decoder: Decoder = inferer.coarse_decoder.single() if _two_stages(case.opened) else inferer.decoder
    output = _channels(case.look.output, chosen, len(moved))
    factor = [int(f) for f in case.factor]
    centre = planned_to_coarse(case.voxels(expected.points[chosen]), factor)
    voxel = case.spacing * case.factor
    deviation = np.maximum(expected.deviation[chosen], float(voxel.max()) / 2)
    prior = shape_prior(
        to_cells(centre, decoder.stride),
        deviation,
        voxel * decoder.stride,
        np.ones(len(chosen), dtype=bool),
        output[decoder.heads[0]],
    )
    found = decoder.decode(output, prior).points.double().cpu().numpy()
    out[chosen] = apply_affine(case.affine, coarse_to_planned(found, factor))
    return out


@dataclass(frozen=True)
class _Seen:
    """What the last stage found anew: world mm (L, D), NaN where it did not look, and all peaks in planned voxels."""

    points: np.ndarray
    peaks: Peaks


def _look_again(case: _Case, expected: Conditioned, moved: np.ndarray, end: float | None) -> _Seen:
    """The last stage: in crops around the places of landmarks that moved, the farthest moved first.

    One stage has seen the whole image already at the resolution of the answer.
    """
    if not _two_stages(case.opened):
        return _Seen(_read_again(case, expected, moved), case.look.peaks)
    inferer, peaks = case.opened.inferer, case.look.peaks
    decoder: Decoder = inferer.fine_decoder
    chosen = np.flatnonzero(moved & case.inside(expected.points))
    away = np.linalg.norm(np.nan_to_num(expected.points - case.points), axis=1)
    chosen = chosen[np.argsort(-away[chosen], kind="stable")]
    size = np.asarray(inferer.crop_size)
    centre = case.voxels(expected.points)
    origins = np.zeros_like(centre, dtype=int)
    origins[chosen] = np.round((centre[chosen] - (size - 1) / 2) / decoder.stride).astype(int) * decoder.stride
    _fill_crops(case, {int(i): tuple(int(x) for x in origins[i]) for i in chosen}, end)
    rows = np.array([i for i in chosen if _has_crop(case.look, i, origins[i])], dtype=np.int64)
    points = np.full_like(case.points, np.nan)
    if len(rows) == 0:
        return _Seen(points, peaks)
    output = {head: torch.cat([case.look.crops[int(i)][1][head] for i in rows]) for head in decoder.heads}
    deviation = np.clip(expected.deviation[rows], case.voxel, max(float(inferer.reach), case.voxel))
    prior = shape_prior(
        to_cells(centre[rows] - origins[rows], decoder.stride),
        deviation,
        case.spacing * decoder.stride,
        np.ones(len(rows), dtype=bool),
        output[decoder.heads[0]],
    )
    local = decoder.decode(output, prior)
    found = local.points.double().cpu().numpy() + origins[rows]
    points[rows] = apply_affine(case.affine, found)
    confidence, covariance = peaks.confidence.clone(), peaks.covariance.clone()
    confidence[rows], covariance[rows] = local.confidence.to(confidence), local.covariance.to(covariance)
    return _Seen(points, replace(peaks, confidence=confidence, covariance=covariance))


def _fill_crops(case: _Case, wanted: Mapping[int, tuple[int, ...]], end: float | None) -> None:
    """Let the fine stage look at crops of landmarks, from these voxels on, unless it did; in order, until the end."""
    inferer, crops = case.opened.inferer, case.look.crops
    image = case.look.data["image"].as_tensor().to(case.opened.device)
    network: Any = case.opened.network
    if vars(inferer).get("amp"):  # inferers of earlier versions have none
        network = HalfPrecisionNetwork(network)
    if inferer.flip_pairs is not None:
        network = MirroredNetwork(network, inferer.flip_pairs, inferer.decoders)
    todo = [i for i, origin in wanted.items() if not _has_crop(case.look, i, origin)]
    for start in range(0, len(todo), inferer.batch_size):
        if end is not None and time.perf_counter() > end:
            return
        part = todo[start : start + inferer.batch_size]
        size = np.asarray(inferer.crop_size)
        batch = torch.stack([crop_of(image, np.asarray(wanted[i]), size, inferer.pad_value) for i in part])
        kept = kept_heads(network({"fine": batch})["fine"], inferer.fine_decoder)
        for number, i in enumerate(part):
            one = {head: value[number].float() for head, value in kept.items()}
            own = _channels(one, [i], len(case.points))
            crops[i] = (wanted[i], {head: value.clone() for head, value in own.items()})


def _has_crop(look: Look, landmark: Any, origin: Any) -> bool:
    known = look.crops.get(int(landmark))
    return known is not None and known[0] == tuple(int(x) for x in origin)


def _placed(peaks: Peaks, case: _Case, places: np.ndarray, by_shape: np.ndarray, expected: Conditioned | None) -> Peaks:
    """Peaks at world places (L, D) mm; those of the shape alone are as uncertain as it is."""
    values = {one.name: getattr(peaks, one.name).clone() for one in fields(peaks)}
    there = np.isfinite(places).all(axis=1)
    voxels = torch.from_numpy(case.voxels(places)).to(values["points"])
    changed = there & (np.abs(voxels.double().cpu().numpy() - peaks.points.double().cpu().numpy()) > 1e-4).any(axis=1)
    values["points"][changed] = voxels[changed]
    values["replaced"][torch.from_numpy(by_shape)] = 1
    if expected is not None:
        for i in np.flatnonzero(by_shape):
            spread = np.diag((expected.deviation[i] / case.spacing) ** 2)
            values["covariance"][i] = torch.from_numpy(spread).to(values["covariance"])
    return Peaks(**values)


def crop_of(image: torch.Tensor, origin: np.ndarray, size: np.ndarray, pad_value: float) -> torch.Tensor:
    """The crop (C, *size) of an image (C, ...) from a voxel on, air outside of the image."""
    low = np.clip(origin, 0, image.shape[1:])
    high = np.clip(origin + size, 0, image.shape[1:])
    out = image.new_full((image.shape[0], *size), pad_value)
    inner = tuple(slice(a, b) for a, b in zip(low - origin, high - origin, strict=True))
    outer = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    if (high > low).all():
        out[(slice(None), *inner)] = image[(slice(None), *outer)]
    return out


def _channels(output: Output, rows: Any, landmarks: int) -> Output:
    """The channels of some landmarks; each has the same number of each head, those of the first one first."""
    index = [int(row) for row in rows]
    return {head: value.unflatten(0, (landmarks, -1))[index].flatten(0, 1) for head, value in output.items()}


def _two_stages(opened: OpenBundle) -> bool:
    return hasattr(opened.inferer, "coarse_decoder")
