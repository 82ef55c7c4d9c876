"""From a folder of volumes to a plan and preprocessed images, with a cold cache."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

from monai.data import PersistentDataset
from monai.transforms import Compose, EnsureChannelFirstd, LoadImaged, NormalizeIntensityd, Orientationd, Spacingd

from costing.bundles import bundle_of, parsed, volumes
from costing.measuring import Work


def ours(options: dict[str, Any]) -> Work:
    """`auto_config create`, and the cache that a training fills before its first step."""
    folder = Path(tempfile.mkdtemp())
    source, target = (
        volumes(folder / "data", options["cases"], options["size"], options["landmarks"]),
        folder / "bundle",
    )

    def work() -> None:
        shutil.rmtree(target, ignore_errors=True)
        bundle_of(source, target, workers=1)
        parser = parsed(target, "train.json")
        images, cases = (parser.get_parsed_content(name) for name in ("images", "train#dataset#data"))
        for case in [*cases, *parser.get_parsed_content("validate#dataset#data")]:
            images(case)

    return work


def usual(options: dict[str, Any]) -> Work:
    """MONAI's transforms and `PersistentDataset`; nothing is checked, measured or planned."""
    folder = Path(tempfile.mkdtemp())
    source = volumes(folder / "data", options["cases"], options["size"], options["landmarks"])
    files = [{"image": str(path)} for path in sorted((source / "images").iterdir())]
    steps = Compose(
        [
            LoadImaged("image"),
            EnsureChannelFirstd("image"),
            Orientationd("image", axcodes="RAS"),
            Spacingd("image", pixdim=[1.0] * 3),
            NormalizeIntensityd("image"),
        ]
    )

    def work() -> None:
        shutil.rmtree(folder / "cache", ignore_errors=True)
        for _ in PersistentDataset(files, steps, cache_dir=folder / "cache"):
            pass

    return work
