"""What landmark names say: variants of one name, and left-right pairs."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Collection, Sequence

_SIDES = {"left": "right", "l": "r", "lt": "rt", "lh": "rh", "sin": "dex"}
_OPPOSITE = _SIDES | {right: left for left, right in _SIDES.items()}
# Words, split at signs and where a lower-case letter meets an upper-case one (``LeftEye``, ``eyeL``).
_WORDS = re.compile(r"[^\W\d_]+|\d+|[\W_]")


def left_right_pairs(names: Sequence[str]) -> list[tuple[int, int]]:
    """Find left-right pairs by name: ``left``/``right``, ``L``/``R``, ``l_``/``r_``, ``_l``/``_r``, in any case.

    Args:
        names: Landmark names.

    Returns:
        Pairs of indices (left, right), in the order of the left one. A name belongs to one pair at most.
    """
    index = {_key(name): position for position, name in enumerate(names)}
    pairs: list[tuple[int, int]] = []
    taken: set[int] = set()
    for position, name in enumerate(names):
        words = _split(name)
        for place, word in enumerate(words):
            if word not in _SIDES:
                continue
            partner = index.get((*words[:place], _OPPOSITE[word], *words[place + 1 :]))
            if partner is not None and not {position, partner} & taken:
                pairs.append((position, partner))
                taken |= {position, partner}
                break
    return pairs


def sided_pairs(names: Sequence[str], declared: Sequence[tuple[str, str]] | None) -> tuple[list[tuple[int, int]], int]:
    """The pairs of a data set: as they are declared, else as the names say them.

    Args:
        names: Landmark names.
        declared: Pairs of names, in any order; None where nothing is declared.

    Returns:
        Pairs of indices, and how many of them, at the beginning, are (left, right) because the names say so; of the
        others nobody knows which is which.
    """
    named = left_right_pairs(names)
    if declared is None:
        return named, len(named)
    row = {name: position for position, name in enumerate(names)}
    meant = {frozenset((row[one], row[other])): (row[one], row[other]) for one, other in declared}
    told = [pair for pair in named if frozenset(pair) in meant]
    known = set(map(frozenset, told))
    return told + [pair for both, pair in meant.items() if both not in known], len(told)


def _split(name: str) -> list[str]:
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    spaced = re.sub(r"\b([LR])(?=[A-Z][a-z])", r"\1 ", spaced)
    spaced = re.sub(r"\b(left|right)(?=[a-z])", r"\1 ", spaced, flags=re.IGNORECASE)
    return [word.casefold() for word in _WORDS.findall(spaced)]


def _key(name: str) -> tuple[str, ...]:
    return tuple(_split(name))


def name_variants(names: Sequence[str]) -> list[tuple[str, str]]:
    """Pairs of names that differ only in case, blanks, ``_``, ``-``, ``.`` or Unicode form."""
    groups: dict[str, list[str]] = {}
    for name in names:
        plain = re.sub(r"[\s_.\-]+", "", unicodedata.normalize("NFKC", name).casefold())
        groups.setdefault(plain, []).append(name)
    return [
        (first, second)
        for group in groups.values()
        for number, first in enumerate(group)
        for second in group[number + 1 :]
    ]


def mistyped(keys: Collection[str], known: Collection[str]) -> tuple[str, str] | None:
    """A key that is a typo of one that is known and not there, and that one; None where there is none."""
    lacking = [name for name in known if name not in keys]
    slips = ((key, similar_name(key, lacking)) for key in keys if key not in known)
    return next(((key, meant) for key, meant in slips if meant is not None), None)


def similar_name(name: str, others: Collection[str]) -> str | None:
    """The one of `others` that `name` may be a typo of; names that differ in a number are not."""
    digits = re.findall(r"\d+", name)
    candidates = [other for other in others if re.findall(r"\d+", other) == digits]
    return next(iter(difflib.get_close_matches(name, candidates, n=1, cutoff=0.75)), None)
