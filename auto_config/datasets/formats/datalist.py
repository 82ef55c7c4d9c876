"""A MONAI datalist: JSON with ``training``, ``validation`` and ``test`` lists of ``{"image", "label"}`` items.

A label is an inline mapping in RAS mm (``{"AC": [x, y, z], "PC": "absent"}``), the path of a landmark file, or that of
a label map with one value for each landmark, whose names the list's ``labels`` give. Paths are relative to the folder
of the JSON file, or to its ``dataset_dir``. Items may have ``fold``, ``case``, ``group`` and ``raters`` (name of a
rater to a label). Items under ``validation`` are fold 0: they are the ones that training is judged on. ``landmarks``
lists the names in their order; ``properties`` has the content of a ``landmarks.json``; ``pixel_spacing`` is that of all
pictures, in mm. What stands under ``unlabelled``, scans that a bundle may learn from without labels, is no case.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from auto_config.bundle_scripts.points.control_points import PointList
from auto_config.bundle_scripts.points.landmark_files import LANDMARK_SUFFIXES
from auto_config.bundle_scripts.points.landmarks import LandmarkFileError, LandmarkSet, duplicate_names, name_problem
from auto_config.datasets.formats.folders.markups_folder import read_slicer_file
from auto_config.datasets.formats.shared.entries import Entry, Reading, absolute
from auto_config.datasets.formats.shared.image_names import local_path, named_stem
from auto_config.datasets.formats.shared.json_contents import content_of
from auto_config.datasets.formats.shared.label_maps import label_names, read_label_map
from auto_config.datasets.formats.shared.options import ReadOptions
from auto_config.datasets.formats.shared.target import Target
from auto_config.datasets.images import image_stem, image_suffix, is_image
from auto_config.datasets.json_files import read_json, shown
from auto_config.datasets.model.dataset import Case, Problem
from auto_config.datasets.model.names import mistyped
from auto_config.datasets.model.properties import Properties, parse_properties, properties_document
from auto_config.datasets.model.units import parsed_pixel_spacing
from auto_config.errors import UserError

FILE_NAME = "datalist.json"
_UNLABELLED = "unlabelled"
_SPLITS = {"training": "training", "validation": "training", "test": "test", "testing": "test"}
_ITEM_KEYS = ("case", "image", "label", "fold", "group", "raters")
_VALIDATION_FOLD = 0


def is_datalist(path: Path) -> bool:
    """Whether a JSON file has a list of training items."""
    return content_of(path) == "datalist"


def read_datalist(source: Path, options: ReadOptions) -> Reading:
    """Read a datalist.

    Args:
        source: The JSON file.
        options: How to read.

    Raises:
        UserError: The file is not a datalist.
    """
    document = read_json(source)
    if not isinstance(document, dict) or not isinstance(document.get("training"), list):
        raise UserError(f"{source}: is not a MONAI datalist; it needs a list 'training' of image and label items")
    directory = document.get("dataset_dir", "")
    if not isinstance(directory, str) or not directory.isprintable():
        raise UserError(f"{source}: 'dataset_dir' is {shown(directory)}; give the path of a folder, or leave it out")
    root = source.parent / directory
    names, properties = _declared(document, source)
    if properties is not None:
        options = replace(options, many={*options.many, *properties.many})
    if document.get("pixel_spacing") is not None and options.pixel_spacing is None:
        options = replace(options, pixel_spacing=parsed_pixel_spacing(document["pixel_spacing"], str(source)))
    items = [
        (section, split, number, item)
        for section, split in _SPLITS.items()
        for number, item in enumerate(_section(document, section, source), start=1)
    ]
    dims = options.spatial_dims(_first_image(items, root))
    reading = Reading([], [], names, properties, dims, options.pixel_spacing)
    reading.problems.extend(_unread_sections(document, source))
    labels = label_names(document, source) if "labels" in document else None
    for section, split, number, item in items:
        where = f"{source}: {section} item {number}"
        try:
            if isinstance(item, Mapping) and (slip := mistyped([str(key) for key in item], _ITEM_KEYS)):
                message = f"{where}: has the key {slip[0]!r}, which is not read; if {slip[1]!r} is meant, correct it"
                reading.problems.append(Problem("warning", message, _name(item)))
            read = _Item(item, root, where, spatial_dims=dims, options=options, labels=labels)
            entry = read.entry(split, is_validation=section == "validation")
        except (LandmarkFileError, UserError) as error:
            reading.problems.append(Problem("error", str(error), _name(item)))
            continue
        if entry.landmarks is None and None not in entry.unnamed:
            message = f"{where}: has no label; add it, until then the case is left out"
            reading.problems.append(Problem("warning", message, entry.name))
            continue
        reading.entries.append(entry)
    return reading


def write_datalist(target: Target) -> None:
    """Write ``datalist.json`` with inline points, paths relative to it."""
    sections: dict[str, list[dict[str, Any]]] = {"training": [], "test": []}
    for case in target.cases:
        sections[case.split].append(_item(target, case))
    document: dict[str, Any] = {"landmarks": list(target.dataset.names)}
    if target.dataset.properties != Properties():
        document["properties"] = properties_document(target.dataset.names, target.dataset.properties)
    if (spacing := target.pixel_spacing) is not None:
        document["pixel_spacing"] = list(spacing)
    target.write_json(document | sections, FILE_NAME)


def _item(target: Target, case: Case) -> dict[str, Any]:
    paths = target.image_paths(case)
    item: dict[str, Any] = {"case": target.stem(case), "image": paths[0] if len(paths) == 1 else paths}
    item["label"] = target.landmarks(case).to_inline()
    if case.fold is not None:
        item["fold"] = case.fold
    if case.group is not None:
        item["group"] = case.group
    if case.raters:
        item["raters"] = {rater: landmarks.to_inline() for rater, landmarks in case.raters.items()}
    return item


def _declared(document: Mapping[str, Any], source: Path) -> tuple[tuple[str, ...] | None, Properties | None]:
    """Names in their order and what is declared about them."""
    names = document.get("landmarks")
    if names is not None and not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        raise UserError(
            f"{source}: 'landmarks' must be a list of names, got {shown(names)}; correct it or leave it out"
        )
    if names is not None:
        if problem := next(filter(None, map(name_problem, names)), None):
            raise UserError(f"{source}: {problem}")
        if repeated := duplicate_names(names):
            raise UserError(f"{source}: 'landmarks' has {repeated[0]!r} more than once; keep one of them")
    if document.get("properties") is None:
        return None if names is None else tuple(names), None
    declared, properties = parse_properties(document["properties"], f"{source}: properties")
    return declared if names is None else tuple(names), properties


def _section(document: Mapping[str, Any], section: str, source: Path) -> list[Any]:
    items = document.get(section)
    if items is None:
        return []
    if not isinstance(items, list):
        raise UserError(f"{source}: {section!r} is {shown(items)}; give a list of items, or leave it out")
    return items


def _unread_sections(document: Mapping[str, Any], source: Path) -> list[Problem]:
    """Lists of images under a key that means nothing here: a typo would lose all of them."""
    return [
        Problem(
            "error",
            f"{source}: {key!r} lists images that are not read; rename it to one of {', '.join(_SPLITS)}, or remove it",
        )
        for key, value in document.items()
        if key not in (*_SPLITS, _UNLABELLED)
        and isinstance(value, list)
        and any(isinstance(i, Mapping) and "image" in i for i in value)
    ]


def _images(item: object) -> list[str]:
    """The image paths of an item as they are written; empty where it has none that can be used."""
    if isinstance(item, str):
        item = {"image": item}
    value = item.get("image") if isinstance(item, Mapping) else None
    images: list[object] = value if isinstance(value, list) else [value]
    paths = [path for path in images if isinstance(path, str) and path and path.isprintable()]
    return paths if len(paths) == len(images) else []


def _first_image(items: list[tuple[str, str, int, Any]], root: Path) -> list[Path]:
    paths = (absolute(_local(root, image)) for *_, item in items for image in _images(item)[:1])
    return [path for path in [next((path for path in paths if _is_image(path)), None)] if path is not None]


def _local(root: Path, value: str) -> Path:
    try:
        return local_path(root, value)
    except OSError:  # a name that is too long for a file, which its reader says
        return root / value


def _is_image(path: Path) -> bool:
    try:
        return is_image(path)
    except OSError:  # a name that is too long for a file
        return False


def _name(item: object) -> str | None:
    """Name of the case of an item that cannot be read, if it has one."""
    if isinstance(item, Mapping) and isinstance(item.get("case"), str):
        return item["case"]
    images = _images(item)
    return named_stem(images[0]) if images else None


class _Item:
    """One item of a datalist.

    Args:
        item: As the JSON file has it.
        root: Folder that paths start from.
        where: What errors name.
        spatial_dims: Number D of coordinates.
        options: How to read.
        labels: Names of the values of label maps; None where the list has none.
    """

    def __init__(
        self,
        item: object,
        root: Path,
        where: str,
        *,
        spatial_dims: int,
        options: ReadOptions,
        labels: Mapping[int, str] | None,
    ) -> None:
        self._item = {"image": item} if isinstance(item, str) else item
        self._root, self._where, self._dims = root, where, spatial_dims
        self._options, self._labels = options, labels

    def entry(self, split: str, *, is_validation: bool) -> Entry:
        """The case of the item.

        Raises:
            UserError: Something in it is wrong.
            LandmarkFileError: A landmark file of it is wrong.
        """
        item, where = self._item, self._where
        if not isinstance(item, Mapping) or "image" not in item:
            raise UserError(f"{where}: has no 'image'; give the path of the image")
        images = _images(item)
        if not images:
            raise UserError(
                f"{where}: 'image' is {shown(item['image'])}; give a path, or a list with one path for each channel"
            )
        paths = tuple(absolute(_local(self._root, path)) for path in images)
        for path in paths:
            if not _is_image(path):
                raise UserError(f"{where}: image {path} not found; correct the path, it is relative to {self._root}")
        fold = item.get("fold", _VALIDATION_FOLD if is_validation else None)
        if fold is not None and (isinstance(fold, bool) or not isinstance(fold, int) or fold < 0):
            raise UserError(f"{where}: 'fold' is {shown(fold)}; give a number from 0 on, or leave it out")
        for key in ("case", "group"):
            if item.get(key) is not None and not isinstance(item[key], str | int):
                raise UserError(f"{where}: {key!r} is {shown(item[key])}; give a text, or leave it out")
        raters = item.get("raters") or {}
        if not isinstance(raters, Mapping):
            raise UserError(f"{where}: 'raters' is {shown(raters)}; give a mapping of names to labels, or leave it out")
        landmarks, label = self._landmarks(item.get("label"), where, paths[0])
        read = {name: self._landmarks(value, f"{where}: rater {name!r}", paths[0])[0] for name, value in raters.items()}
        group = item.get("group")
        entry = Entry(
            name=_text(item.get("case")) or image_stem(paths[0]),
            image=paths,
            landmarks=None,
            label=label,
            split=split,
            fold=fold,
            group=None if group is None else _text(group),
        )
        for rater, found in {None: landmarks, **read}.items():
            entry = entry if found is None else entry.with_points(found, rater)
        return entry

    def _landmarks(self, label: Any, where: str, image: Path) -> tuple[LandmarkSet | PointList | None, str]:
        many: Collection[str] = self._options.many
        if label is None:
            return None, where
        if isinstance(label, Mapping):
            return LandmarkSet.from_inline(label, spatial_dims=self._dims, where=where, many=many), where
        if isinstance(label, str) and label and label.isprintable():
            path = absolute(_local(self._root, label))
            if label.lower().endswith(LANDMARK_SUFFIXES):
                return read_slicer_file(path, image, self._dims, self._options), str(path)
            if image_suffix(path) and self._labels is not None:
                return read_label_map(path, self._labels, self._dims, self._options), str(path)
        raise UserError(
            f"{where}: label {shown(label)} is not landmarks; give a mapping of names to points, or the path of a file "
            f"that ends in {', '.join(LANDMARK_SUFFIXES)}, or of a label map whose names are in the list's 'labels'"
        )


def _text(value: object) -> str:
    """A name that may be written as a number."""
    return "" if value is None else shown(value, limit=200) if isinstance(value, int) else str(value)
