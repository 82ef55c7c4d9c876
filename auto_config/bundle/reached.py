"""Which modules of `bundle_scripts` a bundle carries: those that its configs name, and what these import."""

from __future__ import annotations

import ast
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

SCRIPTS = Path(__file__).parent.parent / "bundle_scripts"

_NAME = re.compile(r"(?<![\w.])scripts((?:\.\w+)+)")


def reached_scripts(configs: Mapping[str, Any] | Iterable[Any], scripts: Path = SCRIPTS) -> list[Path]:
    """The files that configs reach, relative to the folder of scripts, sorted.

    MONAI imports a ``_target_`` and whatever an expression (``$scripts. ...``) names; Python imports the rest. Imports
    within functions count, and so does the ``__init__.py`` of each package on the way.

    Args:
        configs: Contents of config files.
        scripts: The folder that would travel whole.

    Raises:
        ValueError: A config names a module that is not there, or a module imports one that is not.
    """
    waiting = [_module(name.split("."), scripts, f"a config names scripts.{name}") for name in _names(configs)]
    found: set[Path] = set()
    while waiting:
        path = waiting.pop()
        if path in found:
            continue
        found.add(path)
        waiting += _imports(path, scripts)
        waiting += [parent / "__init__.py" for parent in path.parents]
    return sorted(found)


def copy_scripts(configs: Mapping[str, Any] | Iterable[Any], target: Path) -> None:
    """Copy what configs reach into a folder that does not exist yet."""
    for path in reached_scripts(configs):
        (target / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(SCRIPTS / path, target / path)


def _names(config: Any) -> Iterator[str]:
    """Dotted names after ``scripts.`` in targets and expressions."""
    if isinstance(config, Mapping):
        for key, value in config.items():
            if key == "_target_" and isinstance(value, str):
                yield from (found[1][1:] for found in [_NAME.match(value)] if found)
            else:
                yield from _names(value)
    elif isinstance(config, str):
        if config.startswith("$"):
            yield from (found[1][1:] for found in _NAME.finditer(config))
    elif isinstance(config, Iterable):
        for value in config:
            yield from _names(value)


def _module(parts: list[str], scripts: Path, why: str) -> Path:
    """The file of the longest start of a dotted name that is a module or a package."""
    for end in range(len(parts), 0, -1):
        path = Path(*parts[:end])
        for file in (path.with_suffix(".py"), path / "__init__.py"):
            if (scripts / file).is_file():
                return file
    raise ValueError(f"{scripts}: {why}, which is no module there; correct the name")


def _imports(path: Path, scripts: Path) -> Iterator[Path]:
    """The files that the relative imports of one file name."""
    for level, module, name in _relative((scripts / path).read_text(encoding="utf-8")):
        parts = [*path.parents[level - 1].parts, *module, name]
        yield _module(parts, scripts, f"{path} imports {'.'.join(parts)}")


@cache
def _relative(text: str) -> tuple[tuple[int, tuple[str, ...], str], ...]:
    """The relative imports of a source text: dots, module and name; parsed once, for whoever writes several bundles."""
    return tuple(
        (node.level, tuple(node.module.split(".")) if node.module else (), alias.name)
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.ImportFrom) and node.level
        for alias in node.names
    )
