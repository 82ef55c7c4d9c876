"""What a bundle does with cases unlike its training data: errors, presence and verdicts, spoiling by spoiling.

Each case is spoiled in several ways (seeded), predicted by `auto_config predict`, and compared with its points, which
are turned with the image. The table has a row for each spoiling; docs/robustness.md has those of the mouse skulls.

Example:
    python benchmarks/trust/robustness.py runs/mouse_15m/bundle mouse_skull_ct --cases 5 --json robustness.json
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.affines import apply_affine, voxel_sizes
from scipy.ndimage import affine_transform, gaussian_filter, zoom
from scipy.spatial.transform import Rotation

from auto_config.datasets import read_dataset
from auto_config.datasets.images import read_image
from auto_config.datasets.model.dataset import Case, present_points

BEYOND_MM = 2.0
"""A point further off than this is a gross error, on skulls of 22 mm."""


@dataclass(frozen=True)
class Volume:
    """An image (spatial...), the affine of its voxels, its points (L, 3) mm, and which of them lie inside."""

    array: np.ndarray
    affine: np.ndarray
    points: np.ndarray
    inside: np.ndarray


Spoiling = Callable[[Volume, np.random.Generator], Volume]


def turned(degrees: float) -> Spoiling:
    """The anatomy turned about its middle by an axis at random, resampled on a grid along the world's axes."""

    def spoil(volume: Volume, random: np.random.Generator) -> Volume:
        axis = random.normal(size=3)
        turn = Rotation.from_rotvec(np.radians(degrees) * axis / np.linalg.norm(axis)).as_matrix()
        spacing = voxel_sizes(volume.affine).min()
        corners = np.array(list(np.ndindex(2, 2, 2))) * (np.array(volume.array.shape) - 1)
        world = apply_affine(volume.affine, corners)
        middle = world.mean(axis=0)
        low, high = ((world - middle) @ turn.T).min(axis=0), ((world - middle) @ turn.T).max(axis=0)
        affine = np.diag([spacing] * 3 + [1.0])
        affine[:3, 3] = low + middle
        shape = tuple(np.ceil((high - low) / spacing).astype(int) + 1)
        back = np.eye(4)  # of the new world to the old one
        back[:3, :3], back[:3, 3] = turn.T, middle - turn.T @ middle
        to_old = np.linalg.inv(volume.affine) @ back @ affine
        array = affine_transform(
            volume.array, to_old[:3, :3], to_old[:3, 3], shape, order=1, cval=float(np.percentile(volume.array, 1))
        )
        return Volume(array, affine, (volume.points - middle) @ turn.T + middle, volume.inside)

    return spoil


def cut(share: float) -> Spoiling:
    """A share of the landmarks lost at one end of one axis."""

    def spoil(volume: Volume, random: np.random.Generator) -> Volume:
        voxels = apply_affine(np.linalg.inv(volume.affine), volume.points)
        axis, low_end = int(random.integers(3)), bool(random.integers(2))
        lost, places = round(share * len(voxels)), np.sort(voxels[:, axis])
        first, last = 0, volume.array.shape[axis]
        if low_end:
            first = int(np.ceil(places[lost - 1 : lost + 1].mean()))
        else:
            last = int(np.floor(places[-lost - 1 : len(places) - lost + 1].mean())) + 1
        kept = [slice(None)] * 3
        kept[axis] = slice(first, last)
        affine = volume.affine.copy()
        affine[:3, 3] += affine[:3, axis] * first
        inside = (voxels[:, axis] >= first - 0.5) & (voxels[:, axis] <= last - 0.5)
        return Volume(volume.array[tuple(kept)], affine, volume.points, volume.inside & inside)

    return spoil


def grey(change: Callable[[np.ndarray, np.random.Generator], np.ndarray]) -> Spoiling:
    """A change of grey values alone."""
    return lambda volume, random: Volume(
        change(volume.array, random).astype(np.float32), volume.affine, volume.points, volume.inside
    )


def coarser(factor: float, axis: int | None = None) -> Spoiling:
    """Voxels larger by a factor, along one axis or all, low-pass filtered first."""

    def spoil(volume: Volume, _: np.random.Generator) -> Volume:
        factors = np.ones(3)
        factors[slice(None) if axis is None else axis] = factor
        smooth = gaussian_filter(volume.array, 0.5 * np.sqrt(factors**2 - 1))
        array = zoom(smooth, 1 / factors, order=1, grid_mode=True, mode="nearest")
        real = np.array(volume.array.shape) / np.array(array.shape)
        affine = volume.affine @ np.diag([*real, 1.0])
        affine[:3, 3] += volume.affine[:3, :3] @ ((real - 1) / 2)  # the corner stays where it is
        return Volume(array, affine, volume.points, volume.inside)

    return spoil


def nothing_inside(make: Callable[[np.ndarray, np.random.Generator], np.ndarray]) -> Spoiling:
    """An image of something else: no landmark is there."""

    def spoil(volume: Volume, random: np.random.Generator) -> Volume:
        array = make(volume.array, random).astype(np.float32)
        return Volume(array, volume.affine, volume.points, np.zeros_like(volume.inside))

    return spoil


def _span(array: np.ndarray) -> float:
    """Half of the distance of the 0.5 and 99.5 % quantiles."""
    low, high = np.percentile(array, [0.5, 99.5])
    return float(high - low) / 2


def _shuffled(array: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Eighths of the volume in another order, each mirrored at random: the same grey values, other anatomy."""
    halves = [np.array_split(np.arange(size // 2 * 2), 2) for size in array.shape]
    blocks = [array[np.ix_(*(halves[d][i] for d, i in enumerate(index)))] for index in np.ndindex(2, 2, 2)]
    order = random.permutation(8)
    out = np.full(array.shape, float(np.median(array)), dtype=np.float32)
    for place, index in enumerate(np.ndindex(2, 2, 2)):
        block = np.flip(blocks[order[place]], axis=tuple(np.flatnonzero(random.integers(0, 2, 3))))
        out[np.ix_(*(halves[d][i] for d, i in enumerate(index)))] = block
    return out


def _normal(array: np.ndarray, random: np.random.Generator) -> np.ndarray:
    return random.normal(size=array.shape) * array.std() + array.mean()


def _gamma(power: float) -> Callable[[np.ndarray, np.random.Generator], np.ndarray]:
    def change(array: np.ndarray, _: np.random.Generator) -> np.ndarray:
        low, high = float(array.min()), float(array.max())
        return low + (high - low) * ((array - low) / (high - low)) ** power

    return change


SPOILINGS: dict[str, Spoiling] = {
    "untouched": lambda volume, _: volume,
    "turned by 15 degrees": turned(15),
    "turned by 30 degrees": turned(30),
    "turned by 60 degrees": turned(60),
    "turned by 90 degrees": turned(90),
    "a third of the landmarks cut off": cut(1 / 3),
    "a tenth of the landmarks cut off": cut(0.1),
    "noise, 10 % of the span": grey(lambda array, random: array + random.normal(size=array.shape) * 0.2 * _span(array)),
    "noise, 50 % of the span": grey(lambda array, random: array + random.normal(size=array.shape) * _span(array)),
    "voxels twice as large": coarser(2),
    "slices four times as thick": coarser(4, axis=2),
    "gamma 0.5": grey(_gamma(0.5)),
    "gamma 2": grey(_gamma(2.0)),
    "grey values x 10 + 1000": grey(lambda array, _: array * 10 + 1000),
    "grey values inverted": grey(lambda array, _: array.max() + array.min() - array),
    "something else: shuffled blocks": nothing_inside(_shuffled),
    "something else: noise": nothing_inside(_normal),
    "something else: empty": nothing_inside(lambda array, _: np.full(array.shape, float(np.median(array)))),
}


def main() -> int:
    """Print the table; exit status of the first prediction that fails as a whole."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path, help="a trained bundle of volumes")
    parser.add_argument("source", type=Path, help="data set with the points")
    parser.add_argument(
        "--names", type=Path, help="file with names of cases, one a line; the bundle must not know them"
    )
    parser.add_argument("--cases", type=int, default=5, help="how many of them")
    parser.add_argument("--only", nargs="*", default=None, help="words; spoilings whose name has one of them")
    parser.add_argument("--other", type=Path, nargs="*", default=[], help="images of something else, e.g. a brain")
    parser.add_argument("--predict", nargs=argparse.REMAINDER, default=[], help="further options of predict, last")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    dataset, _ = read_dataset(given.source)
    wanted = None if given.names is None else set(given.names.read_text(encoding="utf-8").split())
    cases = [case for case in dataset.cases if wanted is None or case.name in wanted][: given.cases]
    rows = []
    for name, spoil in SPOILINGS.items():
        if given.only is None or any(word in name for word in given.only):
            volumes = {case.name: _spoiled(case, dataset.names, spoil) for case in cases}
            rows.append({"spoiling": name, **_measured(given.bundle, volumes, dataset.names, given.predict)})
            print(_line(rows[-1]), flush=True)
    for path in given.other:
        image = read_image(path)
        size = len(dataset.names)
        volume = Volume(image.array[0], image.affine, np.full((size, 3), np.nan), np.zeros(size, dtype=bool))
        row = _measured(given.bundle, {"other": volume}, dataset.names, given.predict)
        rows.append({"spoiling": f"something else: {path.name.split('.')[0]}", **row})
        print(_line(rows[-1]), flush=True)
    if given.json is not None:
        given.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    return 0


def _spoiled(case: Case, names: tuple[str, ...], spoil: Spoiling) -> Volume:
    """One spoiled case; the random numbers follow from its name alone."""
    image = read_image(case.image)
    points = present_points(case, names, 3)
    random = np.random.default_rng(list(case.name.encode()))
    return spoil(Volume(image.array[0], image.affine, points, ~np.isnan(points).any(axis=1)), random)


def _measured(
    bundle: Path, volumes: dict[str, Volume], names: tuple[str, ...], options: list[str]
) -> dict[str, object]:
    """Predict the volumes in a process of its own and compare."""
    with tempfile.TemporaryDirectory() as temporary:
        images, out = Path(temporary) / "images", Path(temporary) / "out"
        images.mkdir()
        for name, volume in volumes.items():
            nib.save(nib.Nifti1Image(volume.array.astype(np.float32), volume.affine), images / f"{name}.nii.gz")
        command = [sys.executable, "-m", "auto_config", "predict", bundle, images, out, *options]
        start = time.perf_counter()
        done = subprocess.run([*map(str, command)], check=False, capture_output=True, text=True)
        seconds = time.perf_counter() - start
        with (out / "predictions.csv").open(encoding="utf-8", newline="") as stream:
            found = {(row["case"], row["landmark"]): row for row in csv.DictReader(stream)}
        run = json.loads((out / "run.json").read_text(encoding="utf-8"))
    return {**_compared(volumes, names, found, run), "seconds": seconds / len(volumes), "status": done.returncode}


def _compared(
    volumes: dict[str, Volume],
    names: tuple[str, ...],
    found: dict[tuple[str, str], dict[str, str]],
    run: dict[str, Any],
) -> dict[str, Any]:
    """Numbers of the points inside of the field of view, and of presence outside."""
    parts, means = [], {}
    for case, volume in volumes.items():
        rows = [found[case, name] for name in names if (case, name) in found]
        if len(rows) < len(names):
            continue  # it could not be predicted, which run.json says
        at = np.array([[float(row[f"{axis}_ras_mm"]) for axis in "xyz"] for row in rows])
        error = np.linalg.norm(at - volume.points, axis=1)
        means[case] = float(error[volume.inside].mean()) if volume.inside.any() else None
        present = [row["present"] == "1" for row in rows]
        parts.append((error, present, [float(row["confidence"]) for row in rows], volume.inside))
    if not parts:
        return {"predicted": 0, "of": len(volumes), "failed": run["failed"]}
    errors, found_there, confidence, inside = (np.concatenate(part) for part in zip(*parts, strict=True))
    here = errors[inside]
    return {
        "predicted": len(means),
        "of": len(volumes),
        "mean_mm": float(here.mean()) if len(here) else None,
        "worst_mm": float(here.max()) if len(here) else None,
        "beyond": int((here > BEYOND_MM).sum()),
        "inside": int(inside.sum()),
        "inside_present": int(found_there[inside].sum()),
        "outside": int((~inside).sum()),
        "outside_present": int(found_there[~inside].sum()),
        "confidence": float(confidence.mean()),
        "case_means_mm": means,
        "verdicts": {case: run.get("verdicts", {}).get(case) for case in means},
    }


def _line(row: dict[str, Any]) -> str:
    """A row of a Markdown table."""
    if not row["predicted"]:
        reasons = sorted(set(row["failed"].values()))
        return f"| {row['spoiling']} | none of {row['of']} predicted: {'; '.join(reasons)} |"
    counts = {"ok": 0, "check": 0, "failed": 0}
    for verdict in row["verdicts"].values():
        if verdict is not None:
            counts[verdict["verdict"]] += 1
    said = " / ".join(map(str, counts.values())) if sum(counts.values()) else "-"
    mean = "- | -" if row["mean_mm"] is None else f"{row['mean_mm']:.3f} | {row['worst_mm']:.1f}"
    return (
        f"| {row['spoiling']} | {mean} | {row['beyond']} of {row['inside']} | "
        f"{row['inside_present']} of {row['inside']} | "
        f"{row['outside_present']} of {row['outside']} | {row['confidence']:.3f} | {said} | {row['seconds']:.1f} |"
    )


if __name__ == "__main__":
    sys.exit(main())
