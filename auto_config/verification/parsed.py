"""JSON as it stands in a file, with what a parser would pass over in silence."""

from __future__ import annotations

import json
from typing import Any


def parsed(data: bytes) -> tuple[Any, list[str]]:
    """The content of a file of JSON, and the keys that stand twice in one of its objects: MONAI takes the last.

    Args:
        data: the file, UTF-8 without a byte order mark.

    Raises:
        ValueError: it is no JSON.
        RecursionError: it is nested too deeply.
    """
    doubled: list[str] = []

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        names = [key for key, _ in items]
        doubled.extend(sorted({key for key in names if names.count(key) > 1}))
        return dict(items)

    return json.loads(data.decode("utf-8"), object_pairs_hook=pairs), doubled


def kind_of(content: Any) -> str:
    """What JSON holds instead of an object, in a word: ``a list``."""
    kinds = {list: "a list", str: "a text", bool: "true or false", type(None): "null"}
    return kinds.get(type(content), "a number")
