"""Writes a bundle: the one place that knows which files it has."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from auto_config.bundle import configs
from auto_config.bundle.atlas.document import atlas_case, atlas_files
from auto_config.bundle.credits import UNSAID, Credits
from auto_config.bundle.documentation import readme
from auto_config.bundle.json_text import json_text
from auto_config.bundle.landmark_table import landmark_table
from auto_config.bundle.metadata import metadata
from auto_config.bundle.reached import copy_scripts
from auto_config.bundle.verdict_table import verdict_table
from auto_config.datasets.model.dataset import Case, Dataset
from auto_config.datasets.model.properties import Properties, properties_document
from auto_config.errors import UserError
from auto_config.fingerprint.summary import Fingerprint
from auto_config.planning import Plan, Split

TEMPLATES = Path(__file__).parent / "templates"


def write_bundle(
    path: Path,
    dataset: Dataset,
    plan: Plan,
    split: Split,
    fingerprint: Fingerprint,
    *,
    seed: int = 0,
    weights: Path | None = None,
    atlas: str | None = None,
    credits: Credits = UNSAID,
    unlabelled: Mapping[str, Sequence[Path]] | None = None,
    overwrite: bool = False,
) -> None:
    """Write a bundle, whole or not at all.

    Args:
        path: folder to write; its name is the bundle's name.
        dataset: cases and names.
        plan: all decisions.
        split: which case is where.
        fingerprint: numbers that the plan came from.
        seed: of the training.
        weights: a state dict that the training starts from; copied to ``models/pretrained.pt``.
        atlas: training case whose image the atlas shows, or ``"nearest"`` to the mean shape; None for no image.
        credits: who made it of which data.
        unlabelled: files of further scans, by name of their case, that nobody labelled.
        overwrite: replace what is there.

    Raises:
        UserError: if there is no case for the atlas, or the folder exists and is not to be replaced, or is something
            else than a bundle.
    """
    path = path.absolute()
    check_target(path, overwrite)
    training = [case for case in dataset.cases if case.name in split.folds]
    landmarks = landmark_table(
        dataset.names, plan.value("pairs"), training, plan.value("spatial_dims"), plan.value("instances")
    )
    if plan.value("spatial_dims") == 2:
        landmarks = {"spatial_dims": 2, "unit": plan.value("unit"), **landmarks}
    dataset_dir, datalist = data_list(dataset, split)
    if unlabelled:
        datalist["unlabelled"] = [
            {"case": case, "image": _image(files, dataset_dir)} for case, files in sorted(unlabelled.items())
        ]
    if plan.value("pixel_spacing") is not None:
        datalist = {"pixel_spacing": plan.value("pixel_spacing"), **datalist}
    files = config_files(
        path.name,
        plan,
        landmarks,
        cases=len(training),
        dataset_dir=str(dataset_dir),
        seed=seed,
        pretrained=weights is not None,
    )
    files["configs/metadata.json"] |= credits.of_metadata()
    # Two stages ask for no places.
    numbers = fingerprint if "places" in plan.decisions else replace(fingerprint, places={})
    files["configs/plan.json"] = {"fingerprint": numbers.to_dict(), "decisions": plan.to_dict()}
    verdict = verdict_table(dataset.names, training, landmarks, fingerprint)
    files["configs/verdict.json"] = verdict
    files["data/datalist.json"] = datalist
    shown = None if atlas is None else atlas_case(atlas, training, dataset.names, verdict)
    pose = plan.decisions.get("pose")
    pictures = atlas_files(
        landmarks,
        verdict,
        dataset.properties.descriptions,
        upright=pose is None or pose.value["kind"] == "upright",
        case=shown,
    )
    working = path.with_name(f".{path.name}.tmp")
    shutil.rmtree(working, ignore_errors=True)
    for name, content in files.items():
        target = working / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json_text(content), encoding="utf-8")
    for name, data in pictures.items():
        (working / name).parent.mkdir(parents=True, exist_ok=True)
        (working / name).write_bytes(data)
    copy_scripts(files, working / "scripts")
    shutil.copy(TEMPLATES / "logging.conf", working / "configs" / "logging.conf")
    shutil.copy(TEMPLATES / "LICENSE", working / "LICENSE")
    (working / "models").mkdir()
    if weights is not None:
        shutil.copy(weights, working / "models" / "pretrained.pt")
    (working / "docs").mkdir()
    (working / "docs" / "README.md").write_text(readme(path.name, plan, landmarks, split, credits), encoding="utf-8")
    if credits.data_license:
        (working / "docs" / "data_license.txt").write_text(f"{credits.data_license.strip()}\n", encoding="utf-8")
    put_in_place(working, path)


def put_in_place(working: Path, place: Path) -> None:
    """Move a finished folder to its place, in that of an older one: the place never holds half of either.

    Args:
        working: the finished folder, beside `place`.
        place: what is there is removed when the new folder stands in its stead.
    """
    if not place.exists():
        working.rename(place)
        return
    old = place.with_name(f".{place.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    place.rename(old)
    working.rename(place)
    shutil.rmtree(old)


def config_files(
    name: str,
    plan: Plan,
    landmarks: dict[str, Any],
    *,
    cases: int,
    dataset_dir: str,
    seed: int,
    pretrained: bool = False,
) -> dict[str, Any]:
    """The config files that follow from a plan, by their path in the bundle.

    Args:
        name: of the bundle.
        plan: all decisions.
        landmarks: content of ``configs/landmarks.json``.
        cases: number of training cases.
        dataset_dir: folder that the image paths of the data list start from.
        seed: of the training.
        pretrained: the training starts from ``models/pretrained.pt``.
    """
    count = len(landmarks["landmarks"])
    return {
        "configs/landmarks.json": landmarks,
        "configs/train.json": configs.train_config(plan, count, dataset_dir, seed, pretrained=pretrained),
        "configs/evaluate.json": configs.evaluate_config(plan),
        "configs/inference.json": configs.inference_config(plan, count),
        "configs/multi_gpu_train.json": configs.multi_gpu_config(plan),
        "configs/metadata.json": metadata(plan, name, landmarks, cases),
    }


def check_target(path: Path, overwrite: bool) -> None:
    """Refuse to write over something that is not a bundle, or over a bundle without being told to.

    Raises:
        UserError: in these cases.
    """
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return
    if not (path / "configs" / "train.json").is_file():
        raise UserError(f"{path}: exists and is no bundle; give a folder that does not exist yet")
    if not overwrite:
        raise UserError(
            f"{path}: is a bundle already; give --overwrite to replace it with its weights, or another name"
        )


def data_list(dataset: Dataset, split: Split) -> tuple[Path, dict[str, Any]]:
    """The folder that image paths start from, and the content of ``data/datalist.json``.

    Points are inline, in world mm by name, so a bundle trains also when the landmark files have moved away. The list
    names the folder too, and holds what is declared about landmarks, so that it can be read as a data set; training
    takes ``dataset_dir`` of ``train.json``.
    """
    images = [part for case in dataset.cases for part in case.image]
    root = Path(os.path.commonpath([str(part.absolute().parent) for part in images]))
    # Where there is one fold only, nothing would be left to train on: then no case validates.
    folds = split.folds if len(set(split.folds.values())) > 1 else {}
    training = [_item(case, dataset.names, root, folds) for case in dataset.cases if case.name in split.folds]
    test = [_item(case, dataset.names, root, {}) for case in dataset.cases if case.name in set(split.test)]
    declared = dataset.properties.for_names(dataset.names)
    properties = {"properties": properties_document(dataset.names, declared)} if declared != Properties() else {}
    return root, {"dataset_dir": str(root), **properties, "training": training, "test": test}


def _item(case: Case, names: Sequence[str], root: Path, folds: Mapping[str, int]) -> dict[str, Any]:
    item: dict[str, Any] = {"case": case.name, "image": _image(case.image, root)}
    if case.landmarks is not None:
        item["label"] = case.landmarks.ordered(names).to_inline()
    if case.name in folds:
        item["fold"] = folds[case.name]
    if case.group is not None:
        item["group"] = case.group
    return item


def _image(files: Sequence[Path], root: Path) -> str | list[str]:
    """The files of an image, as a data list has them: relative to a folder, a list where there are several."""
    paths = [os.path.relpath(part.absolute(), root) for part in files]
    return paths[0] if len(paths) == 1 else paths
