"""The cases of a training from corrections: which ones train, which ones judge, and whether they can be used."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from auto_config.bundle_scripts.points.instances import Instances
from auto_config.bundle_scripts.points.landmark_files import read_label, write_markups
from auto_config.bundle_scripts.points.landmarks import PRESENT, LandmarkFileError, LandmarkSet
from auto_config.bundle_scripts.training.dataset import VALIDATION, read_cases
from auto_config.datasets.checks.cases import check_case
from auto_config.datasets.images import image_stem, read_header, read_image
from auto_config.datasets.model.dataset import Case
from auto_config.errors import UserError

from ..geometry.frames import Frame, read_frame
from ..tasks.bundles import Card
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


def items_of(items: Sequence[Item], names: Sequence[str], many: Collection[str] = ()) -> list[Item]:
    """Those whose label has a landmark of the bundle: other bundles of the server are trained on labels of their own.

    Args:
        items: the labelled images of the data store.
        names: of the bundle's landmarks.
        many: landmarks of which a label may have any number, of any bundle of the server.

    Raises:
        LandmarkFileError: a label that cannot be read.
    """
    return [item for item in items if set(names) & set(read_label(item["label"], many=many).names)]


def of_kind(items: Sequence[Item], card: Card) -> list[Item]:
    """Those whose image is of the kind that the bundle takes: a folder may hold pictures and volumes of one landmark.

    Args:
        items: of `items_of`, at least one.
        card: of the bundle.

    Raises:
        UserError: an image that cannot be read, or there are only images of the other kind.
    """
    kept = [item for item in items if len(read_header(Path(item["image"])).shape) == card.spatial_dims]
    if not kept:
        others = {2: "volumes", 3: "pictures"}[card.spatial_dims]
        raise UserError(
            f"all labelled images are {others}, and this bundle was made for {card.spatial_dims}D images; label some"
        )
    return kept


def own_labels(items: Sequence[Item], card: Card, many: Collection[str], folder: Path) -> list[Item]:
    """The items, with labels that the bundle can read.

    A label of several bundles may have many of a landmark that is none of this bundle's, or of which this bundle knows
    one. To its reader, which travels with it, that is a mistake, so such a label is copied without what is not its own
    and without those of which it has several; one in which nothing else is left is left out. Labels of pictures, which
    lie where viewers show these, are copied into the world of the bundle.

    Args:
        items: of `of_kind`.
        card: of the bundle.
        many: landmarks of which a label may have any number, of any bundle of the server.
        folder: where copies are written; what is in it goes.

    Raises:
        LandmarkFileError: a label that cannot be read.
        UserError: a volume, where the bundle takes pictures.
    """
    shutil.rmtree(folder, ignore_errors=True)
    usable = []
    for item in items:
        label = read_label(item["label"], many=many)
        if card.spatial_dims == 3 and set(label.instances) <= set(card.many):
            usable.append(item)
            continue
        several = {name for name, points in label.instances.items() if len(points) > 1} - set(card.many)
        own = label.ordered([name for name in label.names if name in card.names and name not in several])
        if not len(own):
            continue
        folder.mkdir(parents=True, exist_ok=True)
        copy = folder / Path(item["label"]).name
        if card.spatial_dims == 2:
            own = _of_picture(own, read_frame(Path(item["image"]), 2, card.pixel_spacing))
        write_markups(copy, own)
        usable.append({**item, "label": str(copy)})
    return usable


def _of_picture(label: LandmarkSet, frame: Frame) -> LandmarkSet:
    """A label in the world of viewers as one of a 2D bundle."""
    rows = label.rows()
    names = [label.names[index] for index, *_ in rows]
    points = frame.from_shown(np.array([point for _, point, _ in rows]).reshape(-1, 3))
    return LandmarkSet.from_rows(names, points, [status for *_, status in rows], set(label.instances))


def check_items(items: Sequence[Item], card: Card, instances: Instances | None = None) -> None:
    """Refuse labels and images that cannot be trained on, without reading the voxels.

    Args:
        items: the labelled images, with labels of `own_labels`.
        card: of the bundle.
        instances: where the bundle has landmarks of which an image may have many.

    Raises:
        UserError: the first item that cannot be used, in one line, or none has a landmark.
        LandmarkFileError: the same, for a file of landmarks.
    """
    names, present = card.names, 0
    for item in items:
        image = Path(item["image"])
        label = read_label(item["label"], names, spatial_dims=card.spatial_dims, many=card.many)
        present += int((label.status == PRESENT).sum())
        case = Case(name=image_stem(image), image=(image,), landmarks=label)
        problems = check_case(case, read_header(image, card.pixel_spacing), names)
        errors = [problem.message for problem in problems if problem.severity == "error"]
        if instances is not None and not errors:
            errors = _too_many(label, instances)
        if errors:
            raise UserError(f"{image.name} and its label cannot be trained on: {errors[0]}")
    if present == 0:
        raise UserError("no final label has a point of this bundle's landmarks; place some and submit them")


def _too_many(label: LandmarkSet, instances: Instances) -> list[str]:
    """What is wrong with a label that has more instances than the bundle was made for."""
    try:
        instances.label_rows(label)
    except LandmarkFileError as error:
        return [str(error)]
    return []


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
