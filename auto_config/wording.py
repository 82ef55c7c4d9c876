"""Counts, lists and lines of installation as a sentence has them."""

from collections.abc import Sequence

_SHOWN_NAMES = 12


def counted(count: int, noun: str) -> str:
    """A number with its noun: ``1 error``, ``2 errors``."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def shortened(texts: Sequence[str]) -> str:
    """The first texts of a list, and how many more there are."""
    more = f", and {len(texts) - _SHOWN_NAMES} more" if len(texts) > _SHOWN_NAMES else ""
    return ", ".join(texts[:_SHOWN_NAMES]) + more


def install_line(*packages: str) -> str:
    """What installs packages that only some of the work needs.

    They are named themselves and not as an extra of this package, which no index has: the line is true after every way
    of installing it.
    """
    return f"pip install {' '.join(packages)}"


def install_extra(extra: str) -> str:
    """What installs an extra whose packages must have certain versions, which their names alone do not bring."""
    return f"pip install '.[{extra}]' in a checkout; of a wheel its path in place of the dot"
