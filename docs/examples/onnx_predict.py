"""Landmarks of a volume from what `auto_config export` wrote: onnxruntime and numpy, and nibabel for NIfTI files alone.

`python onnx_predict.py EXPORT_DIR IMAGE [IMAGE ...]`, a file (.npz or NIfTI) for each channel, prints name, x, y, z in
world mm (RAS) and how sure the network is. docs/exports.md says what of `auto_config predict` is left out here.
"""

import functools
import itertools
import json
import sys
from pathlib import Path

import numpy as np
from onnxruntime import InferenceSession


def read(path):
    """Voxels (C, x, y, z) of a file and the affine from voxels to mm (RAS), which an array has, or its spacing."""
    if path.endswith(".npz"):
        held = np.load(path)
        affine = held["affine"] if "affine" in held else np.diag([*np.broadcast_to(held["spacing"], 3), 1.0])
        return held["image"].reshape(-1, *held["image"].shape[-3:]).astype(np.float32), affine.astype(float)
    import nibabel

    image = nibabel.load(path)
    return image.get_fdata(dtype=np.float32)[None], image.affine


def upright(voxels, affine):
    """The same voxels with axes to the right, front and top: permuted and flipped, never resampled."""
    along = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    order = max(itertools.permutations(range(3)), key=lambda axes: sum(abs(along[range(3), axes])))
    voxels, affine = voxels.transpose(0, *[axis + 1 for axis in order]), affine[:, [*order, 3]]
    for axis in np.flatnonzero(np.diag(affine)[:3] < 0):
        turn = np.eye(4)
        turn[axis, [axis, 3]] = -1, voxels.shape[axis + 1] - 1
        voxels, affine = np.flip(voxels, axis + 1), affine @ turn
    return voxels, affine


def planned_grid(voxels, affine, plan):
    """The volume without constant background, smoothed where it gets coarser, on voxels of the planned size."""
    corners = voxels[(slice(None), *np.ix_([0, -1], [0, -1], [0, -1]))].reshape(len(voxels), -1)
    differs = (voxels != corners[:, :1, None, None]).any(0)
    if plan["crop_background"] and (corners == corners[:, :1]).all() and differs.any():
        used = [np.flatnonzero(differs.any(tuple({0, 1, 2} - {axis}))) for axis in range(3)]
        low = [max(0, axis[0] - plan["background_margin"]) for axis in used]
        voxels = voxels[(slice(None), *[slice(a, u[-1] + 1 + plan["background_margin"]) for a, u in zip(low, used)])]
        affine = affine @ np.block([[np.eye(3), np.reshape(low, (3, 1))], [0, 0, 0, 1]])
    now = np.linalg.norm(affine[:3, :3], axis=0)
    spacing = np.where(np.abs(now - plan["spacing"]) <= 1e-3, now, plan["spacing"])  # such an axis stays as it is
    for axis, sigma in enumerate(np.maximum(spacing / now - 1, 0) / 2):
        if plan["low_pass"] and sigma > 0.05:
            reach = int(3 * sigma + 0.5)
            kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
            padded = np.pad(voxels, [(reach, reach) if a == axis + 1 else (0, 0) for a in range(4)], mode="edge")
            voxels = np.apply_along_axis(np.convolve, axis + 1, padded, kernel / kernel.sum(), "valid")
    for axis, (old, new) in enumerate(zip(now, spacing)):
        steps = np.arange(voxels.shape[axis + 1])
        where = np.arange(round(steps[-1] * old / new + 1)) * new / old
        voxels = np.apply_along_axis(lambda line, to, at: np.interp(to, at, line), axis + 1, voxels, where, steps)
    return voxels.astype(np.float32), affine @ np.diag([*(spacing / now), 1])


def normalized(channel, rule):
    """Grey values as the network knows them."""
    if rule["kind"] == "ct":
        return (np.clip(channel, rule["low"], rule["high"]) - rule["mean"]) / max(rule["std"], 1e-8)
    body = channel[channel > channel.min()].astype(np.float64)
    return ((channel - body.mean()) / max(body.std(ddof=1), 1e-8)).astype(np.float32)


def look(sessions, mirror, patches):
    """From patches (N, C, *patch) to heatmaps (N, L, *patch): the mean of the folds and of the mirror images."""
    views = [session.run(None, {"image": patches})[0] for session in sessions]
    if mirror is not None:
        turned = {"image": np.ascontiguousarray(patches[:, :, ::-1])}
        views += [session.run(None, turned)[0][:, mirror][:, :, ::-1] for session in sessions]
    return sum(views) / len(views)


def window(size):
    """Weights of a patch: a Gaussian of an eighth of its edge."""
    along = [np.exp(-0.5 * ((np.arange(n) - (n - 1) / 2) / (n / 8)) ** 2) for n in size]
    return np.maximum(np.einsum("i,j,k", *along), 1e-3).astype(np.float32)


def slide(volume, network, size, plan):
    """Heatmaps (L, *volume) by a sliding window."""
    missing = [max(0, n - m) for n, m in zip(size, volume.shape[1:])]
    padded = np.pad(volume, [(0, 0), *[(d // 2, d - d // 2) for d in missing]], constant_values=plan["pad_value"])
    starts = []
    for n, edge in zip(size, padded.shape[1:]):
        step = n if n == edge else max(1, int(n * (1 - plan["overlap"])))
        starts.append([min(k * step, edge - n) for k in range(-((n - edge) // step) + 1)])
    weight, weights = window(size), np.zeros(padded.shape[1:], np.float32)
    total = np.zeros((len(plan["landmarks"]), *weights.shape), np.float32)
    for start in itertools.product(*starts):
        here = tuple(slice(a, a + n) for a, n in zip(start, size))
        total[(slice(None), *here)] += network(padded[(None, slice(None), *here)])[0] * weight
        weights[here] += weight
    return (total / weights)[(slice(None), *[slice(d // 2, d // 2 + n) for d, n in zip(missing, volume.shape[1:])])]


def in_crops(volume, network, points, stage, plan):
    """Heatmaps (L, *crop) around points (L, 3), averaged where crops overlap, and the first voxel (L, 3) of each."""
    size = np.array(stage["patch_size"])
    own = np.floor(points - (size - 1) / 2 + 0.501).astype(int)
    near, left, kept = (np.abs(own[:, None] - own) <= plan["crop_sharing"] * size).all(-1), np.ones(len(own), bool), []
    while left.any():  # landmarks that lie close to each other share a crop
        kept.append(near[:, left].sum(1).argmax())
        left &= ~near[kept[-1]]
    origins = own[kept][np.where(near[:, kept], np.square(own[:, None] - own[kept]).sum(-1), np.inf).argmin(1)]
    padded = np.pad(volume, [(0, 0), *[(n, n) for n in size]], constant_values=plan["pad_value"])
    weight, total, weights = window(size), np.zeros((len(points), *size), np.float32), np.zeros((len(points), *size))
    for origin in np.unique(origins, axis=0):
        found = network(padded[(None, slice(None), *[slice(a + n, a + 2 * n) for a, n in zip(origin, size)])])[0]
        for mark in np.flatnonzero((np.abs(origins - origin) <= size // 2).all(1)):
            shift = origins[mark] - origin
            here, there = (tuple(slice(max(0, s), n + min(0, s)) for s, n in zip(by, size)) for by in (shift, -shift))
            total[mark][there] += (found[mark] * weight)[here]
            weights[mark][there] += weight[here]
    return total / weights, origins


def decode(logits, rule, prior=0.0):
    """The highest voxel of each heatmap (L, *size), moved to the centre of its peak: (L, 3), and the sigmoid there."""
    size, found = np.array(logits.shape[1:]), []
    for heatmap, place in zip(logits.astype(np.float64), (logits + prior).reshape(len(logits), -1).argmax(1)):
        centre = peak = np.array(np.unravel_index(place, size))
        low, high = np.maximum(peak - rule["radius"], 0), np.minimum(peak + rule["radius"] + 1, size)
        value = heatmap[tuple(slice(a, b) for a, b in zip(low, high))]
        value = -np.logaddexp(0, -value) if rule["link"] == "sigmoid" else value
        voxels = np.stack(np.meshgrid(*[np.arange(a, b) for a, b in zip(low, high)], indexing="ij"), -1).reshape(-1, 3)
        weight = np.exp((value - value.max()).reshape(-1, 1) * np.broadcast_to(rule["sharpness"], 3))
        for _ in range(rule["rounds"]):
            near = weight * np.exp(-0.5 * (((voxels - centre) / rule["window"]) ** 2).sum(1, keepdims=True))
            centre = (near * voxels).sum(0) / near.sum(0)
        found.append((*centre, 1 / (1 + np.exp(-heatmap[tuple(peak)]))))
    return np.array(found)[:, :3], np.array(found)[:, 3]


def predict(folder, paths):
    """Names, points (L, 3) in RAS mm, and confidences (L,)."""
    plan = json.loads((folder / "pipeline.json").read_text(encoding="utf-8"))
    images = [upright(*read(path)) for path in paths]
    volume, affine = planned_grid(np.concatenate([voxels for voxels, _ in images]), images[0][1], plan)
    volume = np.stack([normalized(channel, rule) for channel, rule in zip(volume, plan["normalization"], strict=True)])
    first, last = plan["stages"][0], plan["stages"][-1]
    files = [[str(folder / name) for name in stage["files"]] for stage in plan["stages"]]
    folds = [[InferenceSession(name, providers=["CPUExecutionProvider"]) for name in names] for names in files]
    looks = [functools.partial(look, sessions, plan["mirror"]) for sessions in folds]
    factor = np.array(first["factor"])
    blocks = np.pad(volume, [(0, 0), *[(0, -n % f) for n, f in zip(volume.shape[1:], factor)]], mode="edge")
    coarse = blocks.reshape(-1, *np.stack([blocks.shape[1:] // factor, factor], 1).ravel()).mean((2, 4, 6))
    points, sure = decode(slide(coarse, looks[0], first["patch_size"], plan), first["decoder"])
    points = (points + 0.5) * factor - 0.5
    if last is not first:
        points = np.clip(points, 0, np.array(volume.shape[1:]) - 1)
        logits, origins = in_crops(volume, looks[1], points, last, plan)
        steps = np.stack(np.meshgrid(*[np.arange(n) for n in last["patch_size"]], indexing="ij"), -1)
        away = (steps - (points - origins)[:, None, None, None]) * plan["spacing"] / plan["reach_mm"]
        points, sure = decode(logits, last["decoder"], -0.5 * (away**2).sum(-1))
        points = points + origins
    return plan["landmarks"], points @ affine[:3, :3].T + affine[:3, 3], sure


if __name__ == "__main__":
    for name, point, confidence in zip(*predict(Path(sys.argv[1]), sys.argv[2:])):
        print(name, *[f"{x:.3f}" for x in point], f"{confidence:.3f}", sep="\t")
