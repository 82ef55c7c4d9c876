"""Counts and lists as a sentence has them."""

from collections.abc import Sequence

_SHOWN_NAMES = 12


def counted(count: int, noun: str) -> str:
    """A number with its noun: ``1 error``, ``2 errors``."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def shortened(texts: Sequence[str]) -> str:
    """The first texts of a list, and how many more there are."""
    more = f", and {len(texts) - _SHOWN_NAMES} more" if len(texts) > _SHOWN_NAMES else ""
    return ", ".join(texts[:_SHOWN_NAMES]) + more
