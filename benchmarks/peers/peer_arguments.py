"""Values of options of the peers' scripts; argparse says in one line where they are none. Light, for `--help`."""

from __future__ import annotations


def numbers(text: str) -> list[float]:
    """Numbers with commas between."""
    return [float(part) for part in text.split(",")]


def whole_numbers(text: str) -> tuple[int, ...]:
    """Whole numbers with commas between."""
    return tuple(int(part) for part in text.split(","))
