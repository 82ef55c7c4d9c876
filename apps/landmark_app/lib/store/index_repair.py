"""What can be saved of a list of images that MONAI Label cannot read: entry by entry, nothing else is lost."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from monailabel.datastore.local import DataModel, ImageLabelModel, LocalDatastoreModel

from ..core.answers import as_text, jsonable

_OBJECTS = re.compile(r'"objects"\s*:\s*\{')
_KEY = re.compile(r'\s*,?\s*("(?:[^"\\]|\\.)*")\s*:\s*')


def repaired(content: bytes, empty: LocalDatastoreModel) -> tuple[LocalDatastoreModel, list[str]]:
    """A list of images from a file that is none.

    Args:
        content: of the file, which may be cut short, be no UTF-8, or hold what JSON cannot (surrogates, NaN).
        empty: a list without images, for what else it holds.

    Returns:
        The list with every entry that can be read, and a line for each entry that lost something.
    """
    notes = []
    index = empty.model_copy(update={"objects": {}}, deep=True)
    for name, entry in _entries(content.decode("utf-8", "replace")).items():
        image_id = as_text(name)
        clean, note = _readable(entry)
        if clean is not None:
            index.objects[image_id] = clean
        if note:
            notes.append(f"image {image_id!r}: {note}")
    return index, notes


def _readable(entry: Any) -> tuple[ImageLabelModel | None, str]:
    """An entry that MONAI Label can read, None where nothing is left, and what it lost, '' for nothing.

    Without an entry the file of the image is found as a new one.
    """
    try:
        clean = jsonable(entry)
        model = ImageLabelModel.model_validate(clean)
    except (ValueError, RecursionError):
        image = entry.get("image") if isinstance(entry, Mapping) else None
        ending = image.get("ext") if isinstance(image, Mapping) else None
        if not isinstance(ending, str):
            return None, "its entry is lost"
        return ImageLabelModel(image=DataModel(ext=as_text(ending), info={})), "what was known of it is lost"
    return model, "" if clean == entry else "what is no text or number in it was replaced"


def _entries(text: str) -> dict[str, Any]:
    """The entries of all images that are whole; of a file that is cut short, those before the cut."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return _entries_before_a_cut(text)
    found = content.get("objects") if isinstance(content, dict) else None
    return found if isinstance(found, dict) else {}


def _entries_before_a_cut(text: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    start = _OBJECTS.search(text)
    place = start.end() if start else len(text)
    decoder = json.JSONDecoder()
    while key := _KEY.match(text, place):
        try:
            found[json.loads(key[1])], place = decoder.raw_decode(text, key.end())
        except (ValueError, RecursionError):  # noqa: PERF203  it ends the loop
            break
    return found
