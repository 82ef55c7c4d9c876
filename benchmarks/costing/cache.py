"""Preprocessed images on disk: as bundles keep them, and as float32 files of NumPy.

Called by itself, it compares them with compressed chunks of blosc2, where that is installed:

    python -m costing.cache IMAGE --size 300     (in benchmarks/)
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from torch.nn.functional import interpolate

from auto_config.bundle_scripts.grid.cache import CachedTransformd
from costing.measuring import Work

FILES: dict[str, float] = {}
"""MB on disk, of the side that was measured."""

_READS = 20


def _image(options: dict[str, Any]) -> MetaTensor:
    torch.manual_seed(0)
    meta = {"original_affine": np.eye(4), "spatial_shape": np.array(options["size"])}
    return MetaTensor(torch.randn(1, *options["size"]), affine=torch.eye(4, dtype=torch.float64), meta=meta)


def _corners(options: dict[str, Any]) -> np.ndarray:
    room = np.array(options["size"]) - options["patch"]
    return np.random.default_rng(0).integers(0, room + 1, (_READS, 3))


def _boxes(options: dict[str, Any]) -> list[tuple[slice, ...]]:
    return [tuple(slice(int(low), int(low) + options["patch"]) for low in corner) for corner in _corners(options)]


def ours(options: dict[str, Any]) -> Work:
    """The cache of a training, float16."""
    image = _image(options)
    folder = Path(tempfile.mkdtemp())
    source = folder / "image"
    source.write_bytes(b"0")
    cache = CachedTransformd(
        "image", lambda _: {"image": image}, str(folder / "cache"), options.get("dtype", "float16")
    )

    def work() -> None:
        total = 0.0
        for box in _boxes(options):
            read = cache({"image": str(source)})["image"]
            total += float(read.as_tensor()[(slice(None), *box)].float().sum())
        FILES["disk_mb"] = sum(path.stat().st_size for path in folder.rglob("*.npy")) / 2**20

    return work


def usual(options: dict[str, Any]) -> Work:
    """`numpy.save` of float32, and a memory map."""
    image = _image(options)
    path = Path(tempfile.mkdtemp()) / "image.npy"

    def work() -> None:
        np.save(path, image.as_tensor().numpy())
        total = 0.0
        for box in _boxes(options):
            array = torch.from_numpy(np.load(path, mmap_mode="c"))
            total += float(array[(slice(None), *box)].sum())
        FILES["disk_mb"] = path.stat().st_size / 2**20

    return work


def chunks(image: Path, size: int, patch: int) -> list[str]:
    """Lines of a Markdown table: MB on disk and ms for a patch, of files of NumPy and of chunks; one thread.

    Args:
        image: whose grey values are enlarged to ``(size, size, size)``; noise alone would not be compressed.
        size: of the volume.
        patch: of a read, at random places.
    """
    import blosc2
    import nibabel

    grey = torch.from_numpy(nibabel.load(image).get_fdata(dtype=np.float32))[None, None]
    whole = interpolate(grey, size=(size,) * 3, mode="trilinear")[0, 0].numpy()
    whole = (whole - whole.mean()) / whole.std()
    boxes = _boxes({"size": whole.shape, "patch": patch})
    blosc2.set_nthreads(1)
    lines = ["| | MB | ms a patch |", "|---|---|---|"]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        lines += _sides(folder, whole, boxes)
    return lines


def _sides(folder: Path, whole: np.ndarray, boxes: list[tuple[slice, ...]]) -> list[str]:
    """A line for each way to keep a volume."""
    import blosc2

    lines = []
    for name in ("float32", "float16"):
        path = folder / f"{name}.npy"
        np.save(path, whole.astype(name))
        lines.append(_line(f"{name}, memory map", path, boxes, lambda path: np.load(path, mmap_mode="r")))
    for codec, level in ((blosc2.Codec.LZ4, 5), (blosc2.Codec.ZSTD, 3)):
        path = folder / f"{codec.name}.b2nd"
        parameters = {"codec": codec, "clevel": level}
        blosc2.asarray(
            whole.astype(np.float16), urlpath=str(path), chunks=(64,) * 3, blocks=(32,) * 3, cparams=parameters
        )
        lines.append(_line(f"float16, chunks of 64^3, {codec.name}", path, boxes, lambda path: blosc2.open(str(path))))
    return lines


def _line(name: str, path: Path, boxes: list[tuple[slice, ...]], read: Callable[[Path], np.ndarray]) -> str:
    """The best of three rounds, files in memory after the first."""
    best = float("inf")
    for _ in range(3):
        start = time.perf_counter()
        for box in boxes:
            read(path)[box].astype(np.float32)
        best = min(best, time.perf_counter() - start)
    return f"| {name} | {path.stat().st_size / 2**20:.1f} | {1000 * best / len(boxes):.1f} |"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("image", type=Path)
    parser.add_argument("--size", type=int, default=300)
    parser.add_argument("--patch", type=int, default=128)
    given = parser.parse_args()
    if find_spec("blosc2") is None:
        parser.error("needs blosc2: pip install blosc2")
    print("\n".join(chunks(given.image, given.size, given.patch)))
    sys.exit(0)
