"""The cases of a training from corrections: which ones train, which ones judge, and whether they can be used."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from auto_config.bundle_scripts.dataset import VALIDATION, read_cases
from auto_config.bundle_scripts.landmark_files import read_label
from auto_config.bundle_scripts.landmarks import PRESENT
from auto_config.datasets.checks import check_case
from auto_config.datasets.images import image_stem, read_header, read_image
from auto_config.datasets.model import Case
from auto_config.errors import UserError

from .training_options import OWN_VALIDATION

Item = dict[str, str]
"""``{"image": path, "label": path of a .mrk.json}``."""


@dataclass(frozen=True)
class TrainingCases:
    """Who trains and who judges.

    Attributes:
        training: items to train on.
        validation: items that judge the weights; none if there is nothing to judge by.
        judge: where those come from: ``labels``, ``bundle`` (its own validation cases) or ``none``.
    """

    training: list[Item]
    validation: list[Item]
    judge: str


def choose_cases(items: Sequence[Item], own: Sequence[Item], val_split: float) -> TrainingCases:
    """Divide the labelled images into those that train and those that judge.

    From two on, at least one is held out. One alone trains, and the bundle's own validation cases judge, where they
    are at hand. The order is that of a hash of the file names, so the cases that judge stay the same while labels are
    added, and the weights in use have mostly not been trained on them.

    Args:
        items: the labelled images, at least one.
        own: the bundle's own validation cases.
        val_split: share that is held out, from 0 (none) to 1, or `OWN_VALIDATION`.
    """
    if val_split != OWN_VALIDATION and val_split > 0 and len(items) > 1:
        ordered = sorted(items, key=_rank)
        held = min(len(items) - 1, max(1, int(val_split * len(items))))
        return TrainingCases(ordered[held:], ordered[:held], "labels")
    if val_split != 0 and own:
        return TrainingCases(list(items), list(own), "bundle")
    return TrainingCases(list(items), [], "none")


def own_validation(root: Path) -> list[Item]:
    """The validation cases of the bundle's data list (fold 0) whose images are on this machine.

    Args:
        root: folder of the bundle.
    """
    datalist = root / "data" / "datalist.json"
    try:
        folder = json.loads(datalist.read_text(encoding="utf-8")).get("dataset_dir") or str(root)
        cases = read_cases(str(datalist), folder, VALIDATION, 0)
    except (OSError, ValueError, KeyError, AttributeError):
        return []  # a bundle travels without its data
    return [case for case in cases if isinstance(case["image"], str) and Path(case["image"]).is_file()]


def items_of(items: Sequence[Item], names: Sequence[str], spatial_dims: int = 3) -> list[Item]:
    """Those whose label has a landmark of the bundle: other bundles of the server are trained on labels of their own.

    Args:
        items: the labelled images of the data store.
        names: of the bundle's landmarks.
        spatial_dims: of the bundle.

    Raises:
        LandmarkFileError: a label that cannot be read.
    """
    return [item for item in items if set(names) & set(read_label(item["label"], spatial_dims=spatial_dims).names)]


def check_items(items: Sequence[Item], names: Sequence[str], spatial_dims: int = 3) -> None:
    """Refuse labels and images that cannot be trained on, without reading the voxels.

    Args:
        items: the labelled images.
        names: of the bundle's landmarks.
        spatial_dims: of the bundle.

    Raises:
        UserError: the first item that cannot be used, in one line, or none has a landmark.
        LandmarkFileError: the same, for a file of landmarks.
    """
    present = 0
    for item in items:
        image = Path(item["image"])
        label = read_label(item["label"], names, spatial_dims=spatial_dims)
        present += int((label.status == PRESENT).sum())
        case = Case(name=image_stem(image), image=(image,), landmarks=label)
        problems = check_case(case, read_header(image), names)
        errors = [problem.message for problem in problems if problem.severity == "error"]
        if errors:
            raise UserError(f"{image.name} and its label cannot be trained on: {errors[0]}")
    if present == 0:
        raise UserError("no final label has a point of this bundle's landmarks; place some and submit them")


def find_damage(items: Sequence[Item]) -> str | None:
    """After a training failed: the image whose voxels cannot be read, in one line; None if all can."""
    return next((damage for item in items if (damage := _damage(Path(item["image"])))), None)


def _damage(image: Path) -> str | None:
    try:
        read_image(image)
    except UserError as error:
        return str(error)
    except (OSError, ValueError, EOFError, RuntimeError, MemoryError) as error:
        reason = str(error).partition("\n")[0]
        return f"{image.name}: cannot be read ({reason}); replace the image or delete its label"
    return None


def _rank(item: Item) -> str:
    return hashlib.sha256(Path(item["image"]).name.encode()).hexdigest()
