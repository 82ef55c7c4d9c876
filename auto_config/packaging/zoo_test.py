"""A test in the style of the model zoo (``ci/unit_tests/test_NAME.py``), on small images and points of its own."""

from __future__ import annotations

import re
from pathlib import Path

_TEMPLATE = Path(__file__).with_name("zoo_test.txt")


def zoo_test(name: str, shape: list[int], spacing: list[float], channels: int) -> str:
    """The file's text.

    Args:
        name: of the bundle.
        shape: of the random images, in voxels.
        spacing: of their voxels, mm.
        channels: files of an image.
    """
    camel = "".join(part.capitalize() for part in re.findall(r"[A-Za-z0-9]+", name))
    title = name.replace("\\", "/").replace('"', "'")
    words = {
        "NAME": title,
        '"PLACE"': _quoted(f"models/{name}"),
        "SHAPE_HERE": str(tuple(shape)),
        "SPACING_HERE": str(tuple(spacing)),
        "CHANNELS_HERE": str(channels),
        "CAMEL": camel,
    }
    # In one pass: a name may hold a mark.
    marks = "|".join(re.escape(mark) for mark in words)
    return re.sub(marks, lambda found: words[found[0]], _TEMPLATE.read_text(encoding="utf-8"))


def _quoted(text: str) -> str:
    """A literal as black writes it."""
    literal = repr(text)
    return literal if '"' in text else f'"{literal[1:-1]}"'
