"""``python only_listed.py BUNDLE WORDS...``: MONAI's command with nothing but what the metadata of a bundle lists.

It is ``python -m monai.bundle WORDS...`` with those packages and what they depend on. An environment made of that file
without a network: whatever else is installed here, this project first of all, is refused as if it were not there.
"""

from __future__ import annotations

import json
import runpy
import sys
from collections.abc import Collection, Sequence
from importlib.machinery import ModuleSpec
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

OWN = {"auto_config", "landmark_app"}


def listed(metadata: dict) -> set[str]:
    """Distributions that metadata.json lists."""
    named = {*metadata["required_packages_version"], *metadata.get("optional_packages_version", {})}
    return {canonicalize_name(name) for name in named | {"monai", "torch", "numpy"}}


def with_dependencies(names: set[str]) -> set[str]:
    """What pip would install: the distributions and what they need here, without extras that nobody asked for."""
    found: set[str] = set()
    left = [(name, frozenset[str]()) for name in names]
    seen = set()
    while left:
        name, extras = left.pop()
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        found.add(name)
        try:
            needed = [Requirement(line) for line in requires(name) or ()]
        except PackageNotFoundError:
            continue  # for another system, or left out here
        left += [(canonicalize_name(one.name), frozenset(one.extras)) for one in needed if _applies(one, extras)]
    return found


def _applies(needed: Requirement, extras: Collection[str]) -> bool:
    """Whether a line of requirements is one of this system and of these extras."""
    return needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in ("", *extras))


class Refusal:
    """An importer that knows better than those after it."""

    def __init__(self, allowed: set[str]) -> None:
        installed = packages_distributions()
        by_name = {name: {canonicalize_name(one) for one in of} for name, of in installed.items()}
        self.refused = {name for name, of in by_name.items() if not of & allowed} | OWN

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: object = None) -> ModuleSpec | None:
        """Nothing, so that the next importer is asked, or the error of a package that is not there."""
        if path is None and name in self.refused:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return None


def main() -> None:
    """Refuse, then run MONAI's command."""
    metadata = json.loads((Path(sys.argv[1]) / "configs" / "metadata.json").read_text(encoding="utf-8"))
    refusal = Refusal(with_dependencies(listed(metadata)))
    for name in [name for name in sys.modules if name.split(".")[0] in refusal.refused]:
        del sys.modules[name]
    sys.meta_path.insert(0, refusal)  # type: ignore[arg-type]
    sys.argv = ["monai.bundle", *sys.argv[2:]]
    runpy.run_module("monai.bundle", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
