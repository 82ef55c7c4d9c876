"""What `predict` is asked to predict: the image files of each case."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from auto_config.bundle_scripts.images.files import case_name, grouped_channels, images_by_case, listed_case
from auto_config.bundle_scripts.images.unread_images import unread_line
from auto_config.datasets.images import IMAGE_SUFFIXES, image_suffix
from auto_config.errors import UserError

TRAINING, TEST, UNLABELLED = ("training", "validation"), ("test", "testing"), ("unlabelled",)
"""Lists of a data list whose cases a bundle has seen, and those held out."""

Images = dict[str, tuple[Path, ...]]
"""Files of each case by its name: one, or one for each channel."""


def find_images(source: Path, *, spatial_dims: int | None = None, channels: int = 1) -> Images:
    """The images to predict by name of their case.

    Args:
        source: an image file, a DICOM series (a folder), a folder whose images `images_by_case` finds, or a data list
            (.json) whose test images are meant.
        spatial_dims: of the images that the bundle takes; None takes what is there.
        channels: of the images; more than one takes ``CASE_0000``, ``CASE_0001``, ... as one case.

    Returns:
        Files of each case.

    Raises:
        UserError: nothing there, a file of another kind, no image in the folder or under ``test``, or two images of
            one name.
    """
    if not source.exists():
        raise UserError(f"{source}: is not there; give an image, a folder of images or a data list (.json)")
    if source.is_file() and source.suffix.lower() == ".json":
        images = listed_images(source, TEST)
        if not images:
            raise UserError(f"{source}: lists no image under 'test'; give a folder of images")
        return images
    if source.is_file():
        if image_suffix(source) is None:
            allowed = f"{source}: not an image that can be read; allowed are {', '.join(IMAGE_SUFFIXES)}"
            raise UserError(unread_line(source) or allowed)
        return {case_name(source): (source,)} if channels == 1 else _with_its_channels(source, channels)
    try:
        return images_by_case(source, spatial_dims=spatial_dims, channels=channels)
    except ValueError as error:
        raise UserError(str(error)) from error


def wanted_images(bundle: Path) -> dict[str, int]:
    """What images a bundle takes: ``spatial_dims`` and ``channels``, for `find_images`.

    Nothing where its files do not say it: whoever opens the bundle then says what is wrong with it.
    """
    try:
        landmarks = json.loads((bundle / "configs" / "landmarks.json").read_text(encoding="utf-8"))
        metadata = json.loads((bundle / "configs" / "metadata.json").read_text(encoding="utf-8"))
        channels = int(metadata["network_data_format"]["inputs"]["image"]["num_channels"])
        return {"spatial_dims": int(landmarks["spatial_dims"]), "channels": channels}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _with_its_channels(image: Path, channels: int) -> Images:
    """The case of a file: itself, or ``CASE_0000``, ``CASE_0001``, ... where it is named as one of them."""
    name = case_name(image)
    stem = name.rpartition("_")[0]
    siblings = {
        case_name(path): path
        for path in sorted(image.parent.iterdir())
        if path == image or (image_suffix(path) and case_name(path).rpartition("_")[0] == stem)
    }
    try:
        cases = grouped_channels(siblings, channels)
    except ValueError as error:
        raise UserError(str(error)) from error
    return next({case: paths} for case, paths in cases.items() if image in paths)


def listed_images(datalist: Path, sections: tuple[str, ...]) -> Images:
    """Images of a MONAI data list by name of their case, also of cases without landmarks.

    Args:
        datalist: the JSON file; its paths are relative to its ``dataset_dir``, else to its folder.
        sections: names of the lists to read; those that are not there are empty.

    Raises:
        UserError: not a data list, or two images of one name.
    """
    try:
        document = json.loads(datalist.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise UserError(f"{datalist}: is no data list ({error}); give one in JSON, or a folder of images") from error
    lists = [document.get(section, []) for section in sections] if isinstance(document, dict) else []
    if not lists or not all(isinstance(items, list) for items in lists):
        raise UserError(f"{datalist}: is no data list; it needs a list 'test' of items with an 'image'")
    root = datalist.parent / str(document.get("dataset_dir", ""))
    images: Images = {}
    for item in [{"image": item} if isinstance(item, str) else item for items in lists for item in items]:
        if not isinstance(item, Mapping) or not isinstance(item.get("image"), (str, list)) or not item["image"]:
            raise UserError(f"{datalist}: {item!r:.80} has no 'image'; give the path of the image")
        case = listed_case(item)
        if case in images:
            raise UserError(f"{datalist}: two images are called '{case}'; give each item its own 'case'")
        paths = [item["image"]] if isinstance(item["image"], str) else item["image"]
        images[case] = tuple(root / str(path) for path in paths)
    return images


def training_cases(bundle: Path, images: Images) -> list[str]:
    """Names of those images that the data list of a bundle has among its training cases; none if it has no list.

    They are known by their files, links resolved, so that no other name hides them.
    """
    datalist = bundle / "data" / "datalist.json"
    if not datalist.is_file():
        return []
    seen = {path.resolve() for paths in listed_images(datalist, TRAINING).values() for path in paths}
    return [case for case, paths in images.items() if any(path.resolve() in seen for path in paths)]
