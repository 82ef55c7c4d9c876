"""The landmark names of a bundle, in the order of the network's channels."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path


def read_landmark_names(landmarks: str | Path | Sequence[str]) -> tuple[str, ...]:
    """Landmark names in the order of the network's channels.

    Args:
        landmarks: path of a bundle's ``configs/landmarks.json``, or the names themselves.

    Returns:
        The names.

    Raises:
        ValueError: the file is missing or is not a ``landmarks.json``.
    """
    if not isinstance(landmarks, (str, Path)):
        return tuple(landmarks)
    try:
        return tuple(str(item["name"]) for item in json.loads(Path(landmarks).read_text(encoding="utf-8"))["landmarks"])
    except OSError as error:
        raise ValueError(
            f"{landmarks}: cannot be read ({error.strerror}); give the bundle's configs/landmarks.json"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{landmarks}: not a landmarks.json with a list 'landmarks' of items with a 'name'") from error


def read_flip_pairs(landmarks: str | Path | Sequence[int]) -> tuple[int, ...]:
    """For each landmark the index of the one that takes its place in the mirror image.

    A landmark without a pair lies on the midline and keeps its place.

    Args:
        landmarks: path of a bundle's ``configs/landmarks.json``, or the indices themselves.
    """
    if not isinstance(landmarks, (str, Path)):
        return tuple(int(index) for index in landmarks)
    items = json.loads(Path(landmarks).read_text(encoding="utf-8"))["landmarks"]
    index = {item["name"]: i for i, item in enumerate(items)}
    return tuple(index[item["pair"]] if item["pair"] else i for i, item in enumerate(items))


def listed(names: Sequence[str], limit: int = 5) -> str:
    """Names for a message, the first ones of many: ``a, b and 3 more``."""
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more


def quoted(names: Sequence[str], limit: int = 5) -> str:
    """`listed` with quotes around each name."""
    return listed([repr(name) for name in names], limit)
