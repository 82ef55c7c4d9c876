"""Set a package up for the data of one site: check that they fit the plan, then write a bundle with a data list."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from auto_config.bundle.json_text import json_text
from auto_config.bundle.planning_data import SplitOptions, chosen_split
from auto_config.bundle.pretrained import without_pretrained
from auto_config.bundle.writer import check_target, data_list, put_in_place
from auto_config.choices import Outside
from auto_config.datasets.model.dataset import Case, Dataset, Problem, present_points
from auto_config.errors import UserError
from auto_config.federation.checks import ACCEPTABLE, foreign_names, site_problems
from auto_config.federation.package import copied, opened_package, planned
from auto_config.fingerprint.measuring import measure_cases
from auto_config.fingerprint.summary import all_problems, summarise
from auto_config.planning.splits import Split


@dataclass(frozen=True)
class Joined:
    """What a site got.

    Args:
        names: of the plan, in channel order.
        known: training cases of the site in which each is present or absent.
        split: which case is where.
        weights: the package came with weights.
    """

    names: tuple[str, ...]
    known: tuple[int, ...]
    split: Split
    weights: bool


def join_site(
    package: Path,
    place: Path,
    dataset: Dataset,
    *,
    problems: list[Problem],
    wishes: SplitOptions,
    refuse: Callable[[list[Problem]], None],
    accept: Collection[str] = (),
    outside: Outside = "error",
    workers: int | None = None,
    overwrite: bool = False,
) -> Joined:
    """Write the bundle of a site, whole or not at all.

    Args:
        package: zip, or folder of a bundle; only read.
        place: folder to write.
        dataset: of the site, as it was read.
        problems: found while reading.
        wishes: for the split of the site's cases.
        refuse: shows problems, and raises where one is an error.
        accept: checks of `ACCEPTABLE` that are overruled.
        outside: what a point outside of its image is.
        workers: processes that read images.
        overwrite: replace a bundle that is there.

    Raises:
        UserError: the package is none, the folder is taken, a check does not exist, and whatever `refuse` raises.
    """
    unknown = sorted(set(accept) - set(ACCEPTABLE))
    if unknown:
        raise UserError(f"--accept {unknown[0]}: is no check; allowed are {', '.join(ACCEPTABLE)}")
    check_target(place, overwrite)
    with opened_package(package) as folder:
        plan = planned(folder)
        names = list(plan.names)
        if dataset.spatial_dims == plan.numbers.spatial_dims:
            dataset = _in_order(dataset, names)
        measured = measure_cases(dataset, outside=outside, workers=workers)
        refuse([*problems, *all_problems(dataset, measured)])
        dataset = replace(dataset, cases=tuple(one.case for one in measured))
        here = summarise(dataset, measured)
        points = np.stack([present_points(case, dataset.names, dataset.spatial_dims) for case in dataset.cases])
        refuse(site_problems(plan, here, points, accept))
        split = _split(dataset, wishes)
        working = place.with_name(f".{place.name}.tmp")
        shutil.rmtree(working, ignore_errors=True)
        try:
            copied(folder, working)
            _set_data(working, dataset, split)
            put_in_place(working, place)
        finally:
            shutil.rmtree(working, ignore_errors=True)
    training = [case for case in dataset.cases if case.name in split.folds]
    weights = (place / "models" / "model.pt").is_file()
    return Joined(tuple(names), tuple(known_cases([_inline(case, names) for case in training], names)), split, weights)


def known_cases(labels: list[dict[str, Any]], names: list[str]) -> list[int]:
    """In how many inline labels each landmark is present or absent, not unknown."""
    return [sum(label.get(name, "unknown") not in ("unknown", None) for label in labels) for name in names]


def _inline(case: Case, names: list[str]) -> dict[str, Any]:
    return {} if case.landmarks is None else case.landmarks.ordered(names).to_inline()


def _in_order(dataset: Dataset, names: list[str]) -> Dataset:
    """The data set with the landmarks of the plan; those it does not have are unknown.

    Raises:
        UserError: it has others.
    """
    known = [sum(_has(case, name) for case in dataset.cases) for name in dataset.names]
    strange = foreign_names(names, dataset.names, known)
    if strange is not None:
        raise UserError(f"{dataset.source}: {strange}")
    cases = tuple(
        case if case.landmarks is None else replace(case, landmarks=case.landmarks.ordered(names), raters={})
        for case in dataset.cases
    )
    return replace(dataset, names=tuple(names), cases=cases)


def _has(case: Case, name: str) -> bool:
    return case.landmarks is not None and name in case.landmarks.names


def _split(dataset: Dataset, wishes: SplitOptions) -> Split:
    split, _ = chosen_split(dataset.cases, wishes)
    if not split.folds:
        raise UserError(f"{dataset.source}: has no case with landmarks to train on; annotate some of the plan's")
    return split


def _set_data(bundle: Path, dataset: Dataset, split: Split) -> None:
    """The data list of the site, and where its images are."""
    root, listed = data_list(dataset, split)
    pixels = json.loads((bundle / "configs" / "train.json").read_text(encoding="utf-8")).get("pixel_spacing")
    if pixels is not None:
        listed = {"pixel_spacing": pixels, **listed}
    (bundle / "data").mkdir()
    (bundle / "data" / "datalist.json").write_text(json_text(listed), encoding="utf-8")
    (bundle / "models").mkdir(exist_ok=True)
    for name in ("train.json", "inference.json", "evaluate.json"):
        path = bundle / "configs" / name
        if not path.is_file():
            continue
        config = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(config.get("dataset_dir"), str) and not config["dataset_dir"].startswith(("$", "@")):
            config["dataset_dir"] = str(root)
        if name == "train.json" and not (bundle / "models" / "pretrained.pt").is_file():
            config = without_pretrained(config)
        path.write_text(json_text(config), encoding="utf-8")
