"""The landmark atlas of a bundle: what each landmark is, and pictures of where it lies, to show while it is placed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .bundle_folders import landmark_table

FOLDER, FILE = "atlas", "atlas.json"


class AtlasError(ValueError):
    """An atlas that cannot be read, and why, in one line."""


@dataclass(frozen=True)
class AtlasEntry:
    """A landmark in the atlas.

    Attributes:
        name: of the landmark.
        definition: in words; empty where nobody wrote one.
        pictures: files on this machine that are there.
    """

    name: str
    definition: str = ""
    pictures: tuple[Path, ...] = ()


def read_atlas(bundle: Path) -> dict[str, AtlasEntry]:
    """The atlas of a bundle by the names of its landmarks.

    ``atlas/atlas.json`` is ``{"landmarks": [{"name", "definition", "pictures": [paths beside it]}]}``. A bundle without
    one has the descriptions of its landmarks, if it has any. Pictures that are not there, or that lie outside of the
    bundle, are left out.

    Args:
        bundle: its folder.

    Raises:
        AtlasError: the file is there and is no atlas.
    """
    described = {
        str(item["name"]): AtlasEntry(str(item["name"]), str(item["description"]))
        for item in landmark_table(bundle)
        if item.get("name") and item.get("description")
    }
    file = bundle / FOLDER / FILE
    if not file.is_file():
        return described
    try:
        items = json.loads(file.read_text(encoding="utf-8"))["landmarks"]
        entries = [_entry(item, bundle) for item in items]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise AtlasError(f"{file}: is no atlas ({error!r}); create the bundle again") from error
    for entry in entries:
        known = described.get(entry.name)
        definition = entry.definition or (known.definition if known else "")
        described[entry.name] = AtlasEntry(entry.name, definition, entry.pictures)
    return described


def atlas_of_server(items: Any) -> dict[str, AtlasEntry]:
    """The definitions that a server's info has of a bundle's landmarks; it names no pictures of this machine.

    Args:
        items: a list of ``{"name", "definition"}``; anything else is no atlas.
    """
    if not isinstance(items, Iterable) or isinstance(items, (str, bytes, Mapping)):
        return {}
    rows = [item for item in items if isinstance(item, Mapping) and item.get("name") and item.get("definition")]
    return {str(item["name"]): AtlasEntry(str(item["name"]), str(item["definition"])) for item in rows}


def _entry(item: Mapping[str, Any], bundle: Path) -> AtlasEntry:
    root = bundle.resolve()
    found = []
    for text in item.get("pictures") or ():
        # Beside the file, as the format has it; a picture elsewhere in the bundle is taken too.
        for base in (root / FOLDER, root):
            path = (base / str(text)).resolve()
            if root in path.parents and path.is_file():
                found.append(path)
                break
    return AtlasEntry(str(item["name"]), str(item.get("definition") or ""), tuple(found))
