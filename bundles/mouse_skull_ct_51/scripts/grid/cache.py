"""Preprocessed images on disk: made once, memory-mapped afterwards. Points are never cached."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import BuiltinFunctionType, FunctionType
from typing import Any

import ignite.distributed as idist
import monai
import numpy as np
import torch
from monai.data import Dataset, MetaTensor
from torch.utils.data import DataLoader

from ..files.errors import naming_the_file

CODE = ("files", "grid", "images")
"""The packages that decide what preprocessing makes; they import nothing of the others."""

DTYPES = ("float32", "float16")

HALF_ERROR = 0.02
"""What float16 may change of a normalised voxel; an image of which it changes more is kept as float32.

Images have a standard deviation of about 1. Rounding is 0.0005 of a value, so this is 40 standard deviations.
"""

LEFTOVER_SECONDS = 24 * 3600
"""After this time nobody can still be writing an unfinished entry."""


def describe(thing: Any) -> Any:
    """A transform and its parameters as plain data, the same in every process: what a cache key needs.

    Objects become their class and public-or-private attributes, recursively; classes and functions become their name,
    random states nothing.
    """
    if thing is None or isinstance(thing, (bool, int, float, str)):
        return thing
    if isinstance(thing, (os.PathLike, torch.dtype, np.dtype)):
        return str(thing)
    if isinstance(thing, (np.ndarray, np.generic, torch.Tensor)):
        return np.asarray(thing).tolist()
    if isinstance(thing, Mapping):
        return {str(k): describe(v) for k, v in sorted(thing.items(), key=lambda kv: str(kv[0]))}
    if isinstance(thing, (list, tuple)):
        return [describe(x) for x in thing]
    if isinstance(thing, (set, frozenset)):
        return sorted(json.dumps(describe(x)) for x in thing)
    # The package name differs between bundles in one process ("scripts" or an app's own name for it); the class does
    # not.
    if isinstance(thing, (type, FunctionType, BuiltinFunctionType)):
        return thing.__qualname__
    name = type(thing).__name__
    if isinstance(thing, (np.random.RandomState, np.random.Generator)) or not hasattr(thing, "__dict__"):
        return name
    return [name, describe(vars(thing))]


def code_digest(folder: Path) -> str:
    """Hash of the code that preprocesses: a person may edit the transforms, which change no parameter then.

    Args:
        folder: where the packages of `CODE` are.
    """
    digest = hashlib.sha256(monai.__version__.encode())
    for path in sorted(path for package in CODE for path in (folder / package).rglob("*.py")):
        digest.update(f"\n{path.relative_to(folder).as_posix()}\n".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def cache_key(image: str | Sequence[str], transform: Any, keys: Sequence[str], code: str) -> str:
    """Key of an image file in a state (path, size, time of change) under a transform with its parameters and code.

    Args:
        image: path of a file or of a folder with a DICOM series, or a path for each channel.
        transform: the transform, or what `describe` says of it.
        keys: what is kept of the transform's output.
        code: see `code_digest`.
    """
    paths = [Path(path) for path in ([image] if isinstance(image, (str, os.PathLike)) else image)]
    # The image of a folder is in its files (a DICOM series).
    parts = [part for path in paths for part in (sorted(path.iterdir()) if path.is_dir() else [path])]
    # The spacing of an array may be in a file beside it.
    parts += [beside for path in paths if (beside := path.with_name(path.name + ".json")).is_file()]
    files = [(str(part.absolute()), part.stat().st_size, part.stat().st_mtime_ns) for part in parts]
    text = json.dumps([code, files, describe(transform), list(keys)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def remove_leftovers(cache_dir: Path, before: float) -> None:
    """Remove unfinished entries.

    Args:
        cache_dir: need not exist.
        before: only those that were last changed before this time, in seconds since the epoch.
    """
    for leftover in cache_dir.glob(".*"):
        if leftover.is_dir() and leftover.stat().st_mtime < before:
            shutil.rmtree(leftover, ignore_errors=True)


def stored(voxels: np.ndarray, dtype: str) -> np.ndarray:
    """Voxels as they are kept: contiguous, of `dtype`, or float32 where that changes more than `HALF_ERROR`."""
    exact = np.ascontiguousarray(voxels, dtype=np.float32)
    if dtype == "float32":
        return exact
    with np.errstate(over="ignore"):
        half = exact.astype(np.float16)
    # Not finite where it is too large for float16; written so that NaN counts as an error too.
    return half if np.abs(half - exact).max(initial=0) <= HALF_ERROR else exact


def _nothing(_: Any) -> None:
    """What a loader that only fills the cache hands back."""


class CachedTransformd:
    """Runs image transforms once and keeps what they make on disk.

    A cache file is written under a temporary name and renamed, so a killed process leaves no half file and several
    workers may make the same one. It is keyed by the image's path, size and time of change and by the transforms'
    parameters and code.

    Args:
        keys: image keys that the transform leaves in its output; the first is the one whose file is loaded.
        transform: maps ``{"image": path}`` to images.
        cache_dir: folder; None keeps nothing.
        dtype: ``float32``, or ``float16`` for half of the disk and of what a patch reads, see `HALF_ERROR`. Readers
            make float32 of the part that they need.

    Raises:
        ValueError: another dtype.
    """

    def __init__(
        self, keys: Sequence[str], transform: Callable[[dict], dict], cache_dir: str | None, dtype: str = "float32"
    ) -> None:
        if dtype not in DTYPES:
            raise ValueError(f"cache_dtype is {dtype!r}; allowed are {', '.join(DTYPES)}")
        self.dtype = dtype
        self.keys = [keys] if isinstance(keys, str) else list(keys)
        self.transform = transform
        self.cache_dir = Path(cache_dir) if cache_dir else None
        # Once: transforms of MONAI get further attributes at their first call, and the key must not change with it;
        # and an edit while a training runs changes nothing of what this process makes.
        self._described = describe(transform)
        self._code = code_digest(Path(__file__).parents[1])

    def __call__(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Replace the image's path by preprocessed images; everything else in ``data`` passes through."""
        source = data[self.keys[0]]
        if self.cache_dir is None:
            made = self.transform({self.keys[0]: source})
            return {**data, **{k: made[k] for k in self.keys}}
        folder = self._folder(source)
        if not folder.is_dir():
            self._make(source, folder)
        try:
            images = {k: self._read(folder, k) for k in self.keys}
        except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
            # A crash of the machine may cut files short, and a copy of the bundle may miss some.
            reason = str(error).partition("\n")[0]
            logging.getLogger(__name__).warning("%s is damaged and is made again: %s", folder, reason)
            self._make(source, folder)
            images = {k: self._read(folder, k) for k in self.keys}
        return {**data, **images}

    def is_cached(self, data: Mapping[str, Any]) -> bool:
        """Whether this case's images are on disk as its file is now."""
        return self.cache_dir is not None and self._folder(data[self.keys[0]]).is_dir()

    def fill(
        self,
        data: Sequence[Mapping[str, Any]],
        num_workers: int,
        watch: Callable[[int, int, float], None] | None = None,
    ) -> None:
        """Preprocess all cases before the first step, several at a time.

        Steps then take the time they always take, which a time budget measures. Of several processes each does its
        share; what is missing at a step is made there. Unfinished entries that killed processes left are removed.

        Args:
            data: cases, of training and validation together.
            num_workers: processes that work beside this one.
            watch: called after each image with how many are done, how many this process makes, and when it began, in
                seconds since the epoch. What it raises ends the work; images that are made stay.
        """
        if self.cache_dir is None:
            return
        if idist.get_rank() == 0:
            remove_leftovers(self.cache_dir, time.time() - LEFTOVER_SECONDS)
        missing = [case for case in data if not self.is_cached(case)]
        # Nobody begins before all have looked, or the shares of a late process would leave gaps.
        idist.barrier()
        share = missing[idist.get_rank() :: idist.get_world_size()]
        if not share:
            return
        if idist.get_rank() == 0:
            print(f"Preprocessing {len(missing)} images, once ...", flush=True)
        dataset, began = Dataset(data=share, transform=self), time.time()
        loader = DataLoader(dataset, num_workers=num_workers, batch_size=1, collate_fn=_nothing)
        for done, _item in enumerate(loader, start=1):
            if watch is not None:
                watch(done, len(share), began)

    def _folder(self, source: Any) -> Path:
        assert self.cache_dir is not None
        kept = self.keys if self.dtype == "float32" else [*self.keys, self.dtype]
        return self.cache_dir / cache_key(source, self._described, kept, self._code)

    def _make(self, source: Any, folder: Path) -> None:
        made = self.transform({self.keys[0]: source})
        with naming_the_file(folder):
            self._write(made, source, folder)

    def _write(self, made: Mapping[str, Any], source: Any, folder: Path) -> None:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".") as unfinished:
            working = Path(unfinished) / folder.name
            working.mkdir()
            for key in self.keys:
                image = made[key]
                np.save(working / f"{key}.npy", stored(image.as_tensor().numpy(), self.dtype))
                meta = {
                    "affine": image.affine.tolist(),
                    "filename_or_obj": str(image.meta.get("filename_or_obj", source)),
                }
                for name in ("original_affine", "spatial_shape"):
                    meta[name] = np.asarray(image.meta[name]).tolist()
                (working / f"{key}.json").write_text(json.dumps(meta), encoding="utf-8")
            try:
                working.rename(folder)
            except OSError:
                # Another worker was first, and its files are the same; or they are damaged. One by one, because another
                # worker may be reading them.
                if not folder.is_dir():
                    raise
                for path in working.iterdir():
                    path.replace(folder / path.name)

    @staticmethod
    def _read(folder: Path, key: str) -> MetaTensor:
        array = np.load(folder / f"{key}.npy", mmap_mode="c")
        meta = json.loads((folder / f"{key}.json").read_text(encoding="utf-8"))
        affine = torch.tensor(meta.pop("affine"), dtype=torch.float64)
        meta["original_affine"] = np.asarray(meta["original_affine"])
        return MetaTensor(torch.from_numpy(array), affine=affine, meta=meta)
