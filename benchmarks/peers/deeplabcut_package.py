r"""The package DeepLabCut 3 on pictures, in a given time, measured by `auto_config evaluate` as ours is.

Its own defaults for a project of one animal with its PyTorch engine: ResNet-50 with heatmaps and offsets, its
augmentation, AdamW, batches of 8; but weights start at random, where it would fetch those of ImageNet. The last weights
of the given time predict, as there is no time for its choice among snapshots every 10 epochs.

It is no part of auto_config and is not installed with it:

    pip install deeplabcut==3.0.2

    python benchmarks/peers/deeplabcut_package.py mouse_skull_xray runs/dlc --test test_cases.txt --minutes 10 \
        --pixel_spacing 0.05
"""

from __future__ import annotations

import time

STARTED = time.perf_counter()
"""Before the imports, which belong to the time of a training."""

import argparse  # noqa: E402
import json  # noqa: E402
import shutil  # noqa: E402
import sys  # noqa: E402
from collections.abc import Iterator, Sequence  # noqa: E402
from contextlib import suppress  # noqa: E402
from importlib.metadata import version  # noqa: E402
from importlib.util import find_spec  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import numpy as np  # noqa: E402
from peer_arguments import numbers  # noqa: E402

MISSING = "error: the package deeplabcut is not installed; run: pip install deeplabcut==3.0.2"


def main(arguments: list[str] | None = None) -> int:
    """Train, predict, evaluate and print; 2 with one line where it cannot."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="data set of pictures")
    parser.add_argument("out", type=Path, help="folder for the project and predictions; must not exist")
    parser.add_argument("--test", type=Path, help="file with a test case on each line, else those of the data set")
    parser.add_argument("--minutes", type=float, default=10.0, help="of the whole training, imports and reading too")
    parser.add_argument("--pixel_spacing", type=numbers, help="mm of a pixel of pictures")
    parser.add_argument("--batch", type=int, default=8, help="pictures of a step")
    parser.add_argument("--net", default="resnet_50", help="a backbone of the package")
    given = parser.parse_args(arguments)
    if find_spec("deeplabcut") is None:
        print(MISSING, file=sys.stderr)
        return 2
    from auto_config.errors import UserError

    if given.out.exists():
        print(f"error: {given.out}: is there; give another folder", file=sys.stderr)
        return 2
    try:
        print(json.dumps(measured(given), indent=1))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def measured(given: argparse.Namespace) -> dict[str, Any]:
    """What the program prints: seconds, errors, and what was trained.

    Args:
        given: the arguments.
    """
    from peer_files import evaluated, split_cases, write_predictions

    from auto_config.api.data import read_dataset
    from auto_config.bundle_scripts.grid.grids import apply_affine
    from auto_config.datasets.images import read_header
    from auto_config.errors import UserError

    dataset = read_dataset(given.source, pixel_spacing=given.pixel_spacing)
    if dataset.spatial_dims != 2:
        raise UserError(f"{given.source}: holds volumes; DeepLabCut takes pictures")
    split = split_cases(dataset, given.test)
    for part, cases in (("train", split.training), ("validation", split.validation)):
        write_coco(given.out / "project", part, cases, dataset.names)
    end = STARTED + given.minutes * 60
    config, weights, steps = trained(given.out / "project", dataset.names, given.net, given.batch, end)
    seconds = {"train": round(time.perf_counter() - STARTED, 1)}

    from deeplabcut.pose_estimation_pytorch.apis.utils import get_pose_inference_runner

    start = time.perf_counter()
    runner = get_pose_inference_runner(config, snapshot_path=weights, max_individuals=1)
    points, of_cases = {}, {}
    for case in split.test:
        begun = time.perf_counter()
        found = runner.inference(images=[str(case.image[0])])[0]["bodyparts"]
        voxels = np.asarray(found, dtype=np.float64).reshape(-1, len(dataset.names), found.shape[-1])[0, :, :2]
        points[case.name] = apply_affine(read_header(case.image, case.pixel_spacing).affine, voxels)
        of_cases[case.name] = time.perf_counter() - begun
    seconds["predict"] = round(time.perf_counter() - start, 1)
    package = ("package deeplabcut", version("deeplabcut"))
    write_predictions(given.out / "predictions", dataset, split, points, of_cases, package=package)
    metrics = evaluated(given.out / "predictions", given.source, given.pixel_spacing)
    error = f"mre_{metrics['unit']}"
    return {"seconds": seconds, error: metrics[error], "baseline": metrics["mean_shape_baseline"], "steps": steps}


def write_coco(project: Path, part: str, cases: Sequence[Any], names: Sequence[str]) -> None:
    """Write cases as the package reads them: pictures in ``images/`` and ``annotations/PART.json`` in the form of COCO.

    Args:
        project: folder of the project.
        part: name of the file.
        cases: `Case` of pictures of one file each.
        names: of the landmarks.
    """
    from auto_config.bundle_scripts.grid.grids import apply_affine
    from auto_config.datasets.images import read_header
    from auto_config.datasets.model.dataset import present_points

    images, annotations = [], []
    (project / "images").mkdir(parents=True, exist_ok=True)
    (project / "annotations").mkdir(exist_ok=True)
    for number, case in enumerate(cases):
        header = read_header(case.image, case.pixel_spacing)
        name = f"{case.name}{case.image[0].suffix}"
        shutil.copyfile(case.image[0], project / "images" / name)
        pixels = apply_affine(np.linalg.inv(header.affine), present_points(case, names, 2))
        seen = np.isfinite(pixels).all(1)
        rows = np.column_stack([np.where(seen[:, None], pixels, 0.0), np.where(seen, 2, 0)])
        width, height = header.shape
        images.append({"id": number, "file_name": name, "width": width, "height": height})
        annotations.append(
            {
                "id": number,
                "image_id": number,
                "category_id": 1,
                "keypoints": rows.ravel().tolist(),
                "num_keypoints": int(seen.sum()),
                "bbox": [0, 0, width, height],
                "area": width * height,
                "iscrowd": 0,
            }
        )
    found = {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 1, "name": "anatomy", "keypoints": [*names], "skeleton": []}],
    }
    (project / "annotations" / f"{part}.json").write_text(json.dumps(found), encoding="utf-8")


class OutOfTimeError(Exception):
    """The time of the training is over."""


class TimedLoader:
    """Batches of another loader, until a next one would end too late.

    Args:
        loader: of batches.
        end: by `time.perf_counter`.
    """

    def __init__(self, loader: Any, end: float) -> None:
        self._loader, self._end = loader, end
        self.steps = 0
        self._longest = 0.0

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator[Any]:
        """Batches.

        Raises:
            OutOfTimeError: there is no time for another one.
        """
        for batch in self._loader:
            begun = time.perf_counter()
            # The first step has nothing to go by.
            if begun + self._longest > self._end and self.steps:
                raise OutOfTimeError
            yield batch
            self.steps += 1
            self._longest = max(self._longest, time.perf_counter() - begun)


def trained(project: Path, names: Sequence[str], net: str, batch: int, end: float) -> tuple[Any, Path, int]:
    """Train with the package until the time is over, as its own `train` does but for the weights at the start.

    Args:
        project: with pictures and annotations.
        names: of the landmarks.
        net: backbone.
        batch: pictures of a step.
        end: by `time.perf_counter`.

    Returns:
        The package's configuration, the file of the last weights, and the number of steps.
    """
    import torch
    from deeplabcut.pose_estimation_pytorch.config import PoseConfig
    from deeplabcut.pose_estimation_pytorch.data import COCOLoader, build_transforms
    from deeplabcut.pose_estimation_pytorch.models import PoseModel
    from deeplabcut.pose_estimation_pytorch.runners import build_training_runner
    from deeplabcut.pose_estimation_pytorch.task import Task
    from torch.utils.data import DataLoader

    described = {"project_path": str(project), "bodyparts": [*names], "multianimalproject": False}
    path = project / "pytorch_config.yaml"
    config = PoseConfig.build(described, path, top_down=False, multi_animal=False, net_type=net, save=True)
    torch.manual_seed(config["train_settings"]["seed"])
    loader = COCOLoader(project, path, train_json_filename="train.json", test_json_filename="validation.json")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = PoseModel.build(config["model"], pretrained_backbone=False).to(device)
    # No validation before the end of all epochs, which is never reached.
    config["runner"]["eval_interval"] = sys.maxsize
    config["runner"]["snapshots"]["save_epochs"] = sys.maxsize
    runner = build_training_runner(config["runner"], project, Task.BOTTOM_UP, model, device)
    data = loader.create_dataset(build_transforms(config["data"]["train"]), mode="train", task=Task.BOTTOM_UP)
    timed = TimedLoader(DataLoader(data, batch_size=batch, shuffle=True), end)
    with suppress(OutOfTimeError):
        runner.fit(timed, timed, epochs=sys.maxsize, display_iters=sys.maxsize)
    weights = project / "last.pt"
    torch.save(runner.state_dict(), weights)
    return config, weights, timed.steps


if __name__ == "__main__":
    sys.exit(main())
