"""Names that clients send to the landmark names of the bundles."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

from auto_config.bundle_scripts.points.landmarks import unique_slugs

from .errors import ClientError

SHOWN = 12
"""How many names an error lists."""

Many = Mapping[str, float]
"""Landmarks of which an image may have any number, each with the mm that two of them are never nearer than."""

NONE_MANY: Many = MappingProxyType({})

# What Slicer calls the points of a list that has the landmark's name.
_NUMBERED = re.compile(r"(.+)-\d{1,4}")


class KnownNames:
    """The landmark names that a label may use: those of all bundles of the server.

    Args:
        bundles: Name of each bundle to its landmark names in the order of its channels.
        many: Those of which an image may have any number, in any of the bundles.
    """

    def __init__(self, bundles: Mapping[str, Sequence[str]], many: Many = NONE_MANY) -> None:
        self.many = many
        self.bundles = {bundle: tuple(names) for bundle, names in bundles.items()}
        self.all = tuple(dict.fromkeys(name for names in self.bundles.values() for name in names))
        self._by_slug: dict[str, set[str]] = {}
        for names in self.bundles.values():
            for name, slug in zip(names, unique_slugs(names), strict=True):
                self._by_slug.setdefault(slug, set()).add(name)

    def find(self, text: str) -> str | None:
        """The landmark that a text names: by itself, by its slug (MONAI's channel names), or in another case.

        One of which an image may have many is also named with a number behind it, ``suture-2``, as Slicer does.
        """
        if text in self.all:
            return text
        found = self._by_slug.get(text) or {name for name in self.all if name.casefold() == text.casefold()}
        if not found and (numbered := _NUMBERED.fullmatch(text)):
            name = self.find(numbered[1])
            return name if name in self.many else None
        return next(iter(found)) if len(found) == 1 else None

    def bundle_names(self, model: object) -> tuple[str, ...] | None:
        """Names of the bundle behind a model (``NAME``, ``NAME_edit``, ``NAME_points``), or None if there is none."""
        return next(
            (
                names
                for bundle, names in self.bundles.items()
                if model in (bundle, f"{bundle}_edit", f"{bundle}_points")
            ),
            None,
        )

    def refuse(self, unknown: Iterable[str], where: str) -> ClientError:
        """The error for names that no bundle has."""
        given = list(dict.fromkeys(unknown))
        return ClientError(
            f"{where}: {listed(given)} {'is' if len(given) == 1 else 'are'} not among the landmarks of this server's "
            f"bundles; allowed are {listed(self.all) or 'none, as no bundle is loaded'}; rename or remove"
        )


def listed(names: Sequence[str]) -> str:
    """Names in quotes, not too many."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(repr(name) for name in names[:SHOWN]) + more
