"""Preprocessed images on disk: as bundles keep them, and as float32 files of NumPy."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor

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
