"""JSON files with our errors: each wrong one is one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from auto_config.bundle_scripts.points.landmark_text import read_text
from auto_config.bundle_scripts.points.landmarks import LandmarkFileError
from auto_config.errors import UserError


def read_json(path: Path) -> Any:
    """The content of a JSON file.

    Raises:
        UserError: It cannot be read, is not UTF-8, not JSON, has a key twice in one object, or is nested too deeply.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        document = dict(pairs)
        if len(document) < len(pairs):
            keys = [key for key, _ in pairs]
            repeated = next(key for key in keys if keys.count(key) > 1)
            raise UserError(f"{path}: key {repeated!r} occurs more than once; rename or remove one of them")
        return document

    try:
        return json.loads(read_text(path), object_pairs_hook=unique)
    except json.JSONDecodeError as error:
        raise UserError(f"{path}: is not valid JSON (line {error.lineno}: {error.msg}); correct it") from error
    except RecursionError as error:
        raise UserError(f"{path}: is not valid JSON (nested too deeply); correct it") from error
    except LandmarkFileError as error:
        raise UserError(str(error)) from error
    except ValueError as error:  # a number of thousands of digits
        raise UserError(f"{path}: is not valid JSON ({error}); correct it") from error


def shown(value: object, limit: int = 60) -> str:
    """A value as an error shows it: on one line, and not all of a long one."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # an integer of thousands of digits
        text = type(value).__name__
    return text if len(text) <= limit else f"{text[:limit]}..."
