"""Seeded steps of a planned bundle without files: what a refactoring must not change, as a few numbers."""

import hashlib
import json
import sys
import tempfile
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from bundle_tools import narrow

from auto_config.bundle_scripts.points.landmark_files import write_markups
from auto_config.bundle_scripts.points.landmarks import LandmarkSet
from auto_config.commands.create import create

NAMES = ("eye_left", "eye_right", "nose", "top")
POINTS = np.array([[-14.0, 2, 0], [14.0, 2, 0], [0, 15, -4], [0, -12, 9]])


def write_cases(folder: Path, dims: int, cases: int = 6) -> Path:
    """Volumes of blobs with thick slices, or pictures of them."""
    rng = np.random.default_rng(5)
    (folder / "images").mkdir(parents=True)
    (folder / "landmarks").mkdir()
    spacing = np.array([2.0, 2.0, 4.0])[:dims]
    shape = np.array([30, 28, 12])[:dims]
    for number in range(cases):
        points = POINTS[:, :dims] * rng.uniform(0.9, 1.1) + rng.normal(0, 1.0, (4, dims))
        origin = -spacing * (shape - 1) / 2
        grid = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), -1) * spacing + origin
        image = rng.normal(0, 3, shape)
        for height, point in zip((100, 140, 180, 220), points, strict=True):
            image += height * np.exp(-((grid - point) ** 2).sum(-1) / (2 * 3.5**2))
        if dims == 3:
            affine = np.diag([*spacing, 1.0])
            affine[:3, 3] = origin
            nib.save(nib.Nifti1Image(image.astype(np.float32), affine), folder / "images" / f"c{number}.nii.gz")
            write_markups(
                folder / "landmarks" / f"c{number}.mrk.json", LandmarkSet(NAMES, points, np.ones(4, dtype=np.int8))
            )
        else:
            from PIL import Image

            Image.fromarray(np.clip(image + 20, 0, 255).astype(np.uint8).T).save(folder / "images" / f"c{number}.png")
            rows = (points - origin) / spacing
            with (folder / "landmarks.csv").open("a", encoding="utf-8") as stream:
                if number == 0:
                    stream.write("case,landmark,x_px,y_px\n")
                for name, (x, y) in zip(NAMES, rows, strict=True):
                    stream.write(f"c{number},{name},{x:.4f},{y:.4f}\n")
    if dims == 2:
        (folder / "landmarks").rmdir()
    return folder


def narrow_bundle(data: Path, root: Path, *, stages: int | None, dims: int, **options) -> Path:
    """A bundle with narrow networks, from `create` with the given options."""
    usual = {"patch_size": [16, 16, 8][:dims], "network": "tiny", **({"pixel_spacing": [2.0]} if dims == 2 else {})}
    assert (
        create(data, root, stages=stages, workers=1, folds=2, test_fraction=0.0, few_labels=False, **(usual | options))
        == 0
    )
    for name in ("train.json", "inference.json"):
        path = root / "configs" / name
        config = json.loads(path.read_text(encoding="utf-8"))
        for stage in config["network_def"]["stages"].values():
            narrow(stage)
        if "iterations_per_epoch" in config:
            config.update(iterations_per_epoch=2, val_interval=1, num_workers=0, batch_size=2)
            config["train"]["trainer"]["max_epochs"] = 1
        if "amp" in config:  # numbers are those of all machines, also of those with units for bfloat16
            config["amp"] = False
        path.write_text(json.dumps(config, indent=4), encoding="utf-8")
    return root


def two_steps(root: Path) -> dict[str, torch.Tensor]:
    """Train for the two steps that `narrow_bundle` wrote, in this process; saves and returns the weights."""
    from monai.bundle import ConfigParser
    from monai.utils import set_determinism

    from auto_config.bundle import opened

    package = opened._import_scripts(root / "scripts")
    config = json.loads((root / "configs/train.json").read_text(encoding="utf-8"))
    config.update(bundle_root=str(root), device="cpu")
    # Handlers of reports, of validations and of files are not needed; an earlier bundle had more of them here.
    drop = ("Validation", "LoadPretrained", "FillCache", "ProgressReport", "TensorBoardStatsHandler")
    handlers = config["train"]["handlers"]
    config["train"]["handlers"] = [item for item in handlers if item["_target_"].rsplit(".", 1)[-1] not in drop]
    config["train"]["trainer"]["train_handlers"] = "$list(@train#handlers) + [@schedule, @shape_fit]"
    if "val_interval" in config["schedule"]:
        config["schedule"]["val_interval"] = None
    parser = ConfigParser(opened._with_package(config, package))
    set_determinism(config["seed"])
    try:
        parser.get_parsed_content("train#trainer").run()
    finally:
        set_determinism(None)
    state = parser.get_parsed_content("network_def").state_dict()
    (root / "models").mkdir(exist_ok=True)
    torch.save(state, root / "models/model.pt")
    return state


def numbers_of(state: dict[str, torch.Tensor]) -> list[list[float]]:
    """For every floating tensor its sum, its sum of squares and its first value, NaN taken as 0."""
    values = [value.double().nan_to_num().flatten() for value in state.values() if value.is_floating_point()]
    return [[float(x.sum()), float(x.square().sum()), float(x[0])] for x in values]


def points_of(root: Path, image: Path) -> list[list[float]]:
    """World coordinates and confidence of each landmark."""
    from auto_config.bundle.opened import open_bundle

    opened = open_bundle(root, device="cpu")
    found = opened.predict(opened.preprocess(image))["result"]["landmarks"]
    return [[*item["world"], item["confidence"]] for item in found]


def own_crops(root: Path) -> None:
    """Give each landmark a crop of its own, as it was when the numbers were recorded."""
    path = root / "configs" / "inference.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    if config["inferer"].pop("crop_sharing", None) is not None:
        path.write_text(json.dumps(config, indent=4), encoding="utf-8")


def digest(state: dict[str, torch.Tensor]) -> str:
    """Of all bits of the weights, on this machine."""
    content = hashlib.sha256()
    for name in sorted(state):
        content.update(name.encode() + state[name].contiguous().numpy().tobytes())
    return content.hexdigest()[:16]


CASES = [(method, stages, dims) for method in ("default", "nnlandmark") for stages in (1, 2) for dims in (2, 3)]
WHOLE = {"cut_share": 0.0}
"""`default` as it was before it cut fields of view; with cuts its numbers have ``-cut`` at the end of their name."""


def measure(folder: Path, method: str, stages: int, dims: int, option: str = "method", **others) -> dict:
    """Weights and points after two steps; ``others`` are further options of `create`."""
    data = write_cases(folder / "data", dims)
    root = narrow_bundle(data, folder / "bundle", stages=stages, dims=dims, **{option: method}, **others)
    state = two_steps(root)
    own_crops(root)
    image = sorted((data / "images").iterdir())[0]
    return {"digest": digest(state), "weights": numbers_of(state), "points": points_of(root, image)}


def main(path: str, option: str) -> None:
    """Write the numbers of all `CASES`; run it with the code that is the reference."""
    torch.set_num_threads(1)
    out = {}
    cuts = [(*case, {}, "-cut") for case in CASES if case[0] == "default"]
    for method, stages, dims, others, ending in [*((*case, WHOLE, "") for case in CASES), *cuts]:
        with tempfile.TemporaryDirectory() as folder:
            found = measure(Path(folder), method, stages, dims, option, **others)
        print(method, stages, dims, found.pop("digest"), found["points"][0])
        found["weights"] = [[float(f"{x:.7g}") for x in row] for row in found["weights"]]
        found["points"] = [[round(x, 5) for x in row] for row in found["points"]]
        out[f"{method}-{stages}-{dims}{ending}"] = found
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(value, separators=(',', ':'))}" for name, value in out.items())
    Path(path).write_text("{\n" + lines + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
