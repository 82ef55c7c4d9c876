"""The fields of what is known of an image or a label that this server reads itself, and what each must be.

The rest of such an info is a client's own: it is stored as it is and nothing depends on it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from .errors import ClientError
from .requests import shown


def handed_out(info: Mapping[str, Any], strategy: str) -> float:
    """When a strategy last handed out an image, seconds since 1970; 0 for never, and for what is no such note."""
    one = strategies_of(info).get(strategy)
    stamp = one.get("ts", 0) if isinstance(one, Mapping) else 0
    return float(stamp) if _is_number(stamp) else 0.0


def strategies_of(info: Mapping[str, Any]) -> dict[str, Any]:
    """What the strategies noted of an image, by their names; empty for what is no such note."""
    noted = info.get("strategy")
    return dict(noted) if isinstance(noted, Mapping) else {}


def check_info(info: Mapping[str, Any]) -> None:
    """Nothing, if each field that the server reads itself is what it must be. None, which removes a field, is.

    Raises:
        ClientError: a field is not; it is named, with what it must be.
    """
    for name, (fits, meaning) in _FIELDS.items():
        if info.get(name) is not None and not fits(info[name]):
            raise ClientError(f"{name} is {shown(info[name])}; it must be {meaning}, or left out")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_object(value: Any) -> bool:
    return isinstance(value, Mapping)


def _is_strategies(value: Any) -> bool:
    return _is_object(value) and all(_is_object(one) and _is_number(one.get("ts", 0)) for one in value.values())


def _is_names_and_values(value: Any) -> bool:
    return isinstance(value, list) and all(_is_object(item) for item in value)


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_text, value))


_FIELDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "strategy": (_is_strategies, 'an object like {"first": {"ts": 1700000000, "client_id": "..."}}'),
    "landmark_error": (_is_object, "an object of scores"),
    "ts": (_is_number, "a number of seconds"),
    "name": (_is_text, "a text"),
    "path": (_is_text, "a text"),
    "model": (_is_text, "the name of a model"),
    "params": (_is_object, "an object"),
    "label_info": (_is_names_and_values, 'a list like [{"name": "nasion", "idx": 1}]'),
    "form": (_is_text, "a text"),
    "kept": (_is_texts, "a list of names"),
    "confidence": (_is_object, "an object of numbers by name"),
    "radius_mm": (_is_object, "an object of numbers by name"),
    "notes": (_is_texts, "a list of texts"),
}
