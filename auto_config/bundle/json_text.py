"""JSON as people read it: objects over lines, lists on one line where they fit."""

from __future__ import annotations

import json
from typing import Any

WIDTH = 100
"""Columns of a line, where it can be broken."""

_STEP = 4


def json_text(value: Any, width: int = WIDTH) -> str:
    """A JSON document, indented by four columns, that ends in a line break.

    A list stands on one line where it fits and holds no part of a config (an object with ``_target_``). Long lists of
    numbers fill lines. Objects have a line for each key. Equal values give equal texts, keys in their own order.

    Args:
        value: what JSON can hold; a number that is not finite is refused.
        width: columns of a line.

    Raises:
        ValueError: a number is not finite.
    """
    return _text(value, 0, 0, width) + "\n"


def _text(value: Any, indent: int, taken: int, width: int) -> str:
    """The text of a value.

    Args:
        value: the value.
        indent: columns before the lines of what holds it.
        taken: further columns of its first line that are in use: indentation, key and the comma that may follow.
        width: columns of a line.
    """
    inner = indent + _STEP
    if isinstance(value, dict) and value:
        lines = [f"{_flat(str(key))}: " for key in value]
        lines = [
            key + _text(item, inner, inner + len(key) + 1, width)
            for key, item in zip(lines, value.values(), strict=True)
        ]
        return "{\n" + _joined(lines, inner) + "\n" + " " * indent + "}"
    if isinstance(value, (list, tuple)) and value:
        flat = _flat(value)
        if taken + len(flat) <= width and not _has_part(value):
            return flat
        if all(isinstance(item, (int, float)) for item in value):
            lines = _filled([_flat(item) for item in value], width - inner - 1)
        else:
            lines = [_text(item, inner, inner + 1, width) for item in value]
        return "[\n" + _joined(lines, inner) + "\n" + " " * indent + "]"
    return _flat(value)


def _flat(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _joined(lines: list[str], indent: int) -> str:
    return ",\n".join(" " * indent + line for line in lines)


def _has_part(value: Any) -> bool:
    """Whether there is an object with ``_target_`` somewhere inside."""
    if isinstance(value, dict):
        return "_target_" in value or any(_has_part(item) for item in value.values())
    return isinstance(value, (list, tuple)) and any(_has_part(item) for item in value)


def _filled(items: list[str], width: int) -> list[str]:
    """Lines of items with a comma between them, as many as fit."""
    lines = [items[0]]
    for item in items[1:]:
        if len(lines[-1]) + len(item) + 2 <= width:
            lines[-1] += f", {item}"
        else:
            lines.append(item)
    return lines
