"""From the data list to training samples and whole volumes."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import numpy as np
import torch
from monai.data import DataLoader, Dataset
from monai.transforms import MapTransform

from ..images.files import images_by_case, listed_case
from ..points.instances import Instances
from ..points.landmark_files import read_label
from ..points.landmark_names import read_landmark_names
from ..points.landmarks import UNKNOWN
from .sampler import GlobalIndexSampler, case_of

TRAINING, VALIDATION, TEST = "training", "validation", "test"


def read_cases(datalist: str, dataset_dir: str, split: str, fold: int | str | None = 0) -> list[dict[str, Any]]:
    """Cases of a split of ``data/datalist.json``.

    Args:
        datalist: path of the data list.
        dataset_dir: folder that relative image paths start from.
        split: ``training`` (the cases of the other folds), ``validation`` (of this fold) or ``test``.
        fold: number of the fold that validates; "none" trains on every training case and validates on none.

    Returns:
        ``[{"case": name, "image": path or list of paths, "label": inline landmarks or a path}, ...]``; cases without
        landmarks are left out. The name can be a file name: a ``/`` in it becomes ``_``.

    Raises:
        ValueError: if the split or the fold does not exist, the data list is missing, or there is nothing to train on.
    """
    if split not in (TRAINING, VALIDATION, TEST):
        raise ValueError(f"split is {split!r}; allowed are {TRAINING!r}, {VALIDATION!r} and {TEST!r}")
    path = Path(datalist)
    if not path.is_file():
        raise ValueError(
            f"{path} does not exist: this bundle travelled without its data list; make one with "
            "`auto_config create` or give train#dataset#data and validate#dataset#data"
        )
    content = json.loads(path.read_text(encoding="utf-8"))
    if split == TEST:
        items = content.get("test", [])
    else:
        items = content["training"]
        whole = fold in (None, "none")
        folds = sorted({item["fold"] for item in items if item.get("fold") is not None})
        if not whole and folds and fold not in folds:
            raise ValueError(f"fold is {fold!r}; {path} has the folds {folds}, and 'none' trains on all cases")
        held = [not whole and item.get("fold") == fold for item in items]
        items = [item for item, out in zip(items, held, strict=True) if out == (split == VALIDATION)]
    labelled = [item for item in items if item.get("label") is not None]
    if split == TRAINING and not labelled:
        raise ValueError(
            f"{path} has no case with landmarks to train on (fold {fold!r}): annotate images and create the bundle "
            "again, or give train#dataset#data"
        )
    return [
        {
            "case": listed_case(item),
            "image": _locate(item["image"], dataset_dir),
            "label": item["label"],
            **({"confidence": item["confidence"]} if "confidence" in item else {}),
        }
        for item in labelled
    ]


def find_images(dataset_dir: str, spatial_dims: int | None = None, channels: int = 1) -> list[dict[str, Any]]:
    """Images of a folder, as `images_by_case` finds them, for inference: ``[{"image": path, "case": name}, ...]``.

    Where a case has a file for each channel, ``image`` is the list of their paths. A folder that does not exist gives
    none: clients open a workflow without one, for its network and its transforms. `require_images` is what refuses it.

    Raises:
        ValueError: no image, two images of one case, or a channel that is missing.
    """
    if not Path(dataset_dir).exists():
        return []
    found = images_by_case(dataset_dir, spatial_dims=spatial_dims, channels=channels)
    return [
        {"image": str(paths[0]) if len(paths) == 1 else [str(path) for path in paths], "case": case}
        for case, paths in found.items()
    ]


def require_images(dataset_dir: str) -> None:
    """Before a workflow runs on a folder of images.

    Raises:
        ValueError: the folder does not exist.
    """
    if not Path(dataset_dir).exists():
        raise ValueError(f"{dataset_dir}: does not exist; give the folder of the images with --dataset_dir")


def _locate(image: str | list[str], dataset_dir: str) -> str | list[str]:
    if isinstance(image, list):
        return [str(Path(dataset_dir) / part) for part in image]
    return str(Path(dataset_dir) / image)


class SampledDataset(Dataset):
    """Training samples by global index: each is a pure function of (seed, index), whatever process makes it.

    Args:
        data: cases ``{"image", "label"}``.
        transform: from a case, with ``seed`` and ``index`` added, to a sample.
        seed: seed of the run.
    """

    def __init__(self, data: Sequence[Mapping[str, Any]], transform: Callable, seed: int = 0) -> None:
        super().__init__(data=list(data), transform=transform)
        self.seed = int(seed)

    def _transform(self, index: int) -> Any:
        case = self.data[case_of(index, len(self.data), self.seed)]
        return self.transform({**case, "seed": self.seed, "index": int(index)})


class SampleLoader(DataLoader):
    """MONAI's `DataLoader` of samples that are pure functions of the seed and their number.

    So a training that goes on after a kill sees the samples that it would have seen, with any number of workers and
    processes. Cases come in an order that is drawn anew for each pass over them.

    Args:
        dataset: Cases and their transform, which finds ``seed`` and ``index`` in a case.
        seed: Of the training.
        iterations: Batches of an epoch.
        batch_size: Samples of a batch, which several processes share evenly; rounded up where they cannot.
        num_workers: Processes that make samples.
    """

    def __init__(self, dataset: Dataset, *, seed: int, iterations: int, batch_size: int, num_workers: int = 0) -> None:
        processes = idist.get_world_size()
        each = -(-batch_size // processes)
        whole = each * processes
        if whole != batch_size and idist.get_rank() == 0:
            print(f"A batch of {batch_size} cannot be shared by {processes} processes: {whole} samples in each step.")
        super().__init__(
            SampledDataset(dataset.data, dataset.transform, seed),
            batch_size=each,
            sampler=GlobalIndexSampler(iterations * whole, idist.get_rank(), processes, whole),
            num_workers=num_workers,
            persistent_workers=num_workers > 0,
            pin_memory=torch.cuda.is_available(),
        )


class LoadLandmarksd(MapTransform):
    """Reads the label of a case: inline landmarks or a landmark file, never cached.

    ``data[key]`` becomes ``(L, D)`` float64 world mm, NaN where not present; ``data["status"]`` becomes ``(L,)``.
    Where there are many of a landmark, both have the rows of `Instances` in the place of L.

    A label that a network made has a ``"confidence"``, ``{name: probability}``: its landmark is known in a sample with
    that probability and unknown in the others, so that on average its loss has that weight, whatever the loss is.

    Args:
        keys: key of the label; a case without the key gets unknown landmarks only.
        landmarks: path of ``configs/landmarks.json``, or the names.
        spatial_dims: D.
        instances: which rows belong to which landmark, where there are many of one.
    """

    def __init__(
        self,
        keys: str | Sequence[str],
        landmarks: str | Sequence[str],
        spatial_dims: int = 3,
        instances: Instances | None = None,
    ) -> None:
        super().__init__(keys, allow_missing_keys=True)
        self.names, self.spatial_dims = read_landmark_names(landmarks), int(spatial_dims)
        self.instances = instances
        flags = () if instances is None else zip(instances.names, instances.many, strict=True)
        self.many = tuple(name for name, many in flags if many)

    def __call__(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Read the label."""
        out = dict(data)
        key = self.keys[0]
        if out.get(key) is None:
            rows = len(self.names) if self.instances is None else len(self.instances.channels)
            out[key] = np.full((rows, self.spatial_dims), np.nan)
            out["status"] = np.full(rows, -1, dtype=np.int8)
            return out
        found = read_label(out[key], self.names, spatial_dims=self.spatial_dims, many=self.many)
        if self.instances is None:
            out[key], out["status"] = np.array(found.points), np.array(found.status)
        else:
            out[key], out["status"] = self.instances.label_rows(found)
        if "confidence" in out and "index" in out:
            channels = range(len(self.names)) if self.instances is None else self.instances.channels
            sure = [out["confidence"].get(self.names[channel], 1.0) for channel in channels]
            doubted = np.random.default_rng([out["seed"], out["index"], 9]).uniform(size=len(sure)) >= sure
            out[key][doubted], out["status"][doubted] = np.nan, UNKNOWN
        return out
