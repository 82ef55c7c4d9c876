"""The files of a bundle, as the zoo's checks look at them before anything is run."""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Iterator
from pathlib import Path

from auto_config.verification.finding import Finding, passed
from auto_config.verification.large_files import check_large_files, listed_paths
from auto_config.verification.parsed import kind_of, parsed
from auto_config.verification.weights import check_weights

LARGEST_KB = 1024
"""Files above this are not committed to the zoo but listed in ``large_files.yml``.

Its commit hook (`check-added-large-files`) refuses them; its form for pull requests asks the same above 25 MB only.
"""
SECTIONS = (
    "Authors",
    "Model Description",
    "Data",
    "Performance",
    "Usage",
    "System Configuration",
    "Limitations",
    "Citation",
)
"""Of ``docs/README.md``, after the zoo's template; authors are asked for in the metadata."""
_NAME = re.compile(r"[a-z0-9][a-z0-9_]*")
# Homes of people; a folder such as /data or /path/to says nothing of anybody.
_PERSONAL = re.compile(r"(?:/home|/Users|/root|[A-Za-z]:\\\\?Users)[/\\]+[^\s\"',;)]*")
# What a training leaves beside the bundle: it is neither shared nor looked at.
_OWN = ("cache", "eval", "data")


def check_files(root: Path) -> list[Finding]:
    """Names, required files, sizes and personal paths.

    Args:
        root: folder of the bundle.
    """
    return [
        *_name(root),
        *_required(root),
        _card(root),
        check_weights(root),
        *check_large_files(root),
        _sizes(root),
        _scripts(root),
        _code(root),
        *_configs(root),
        _personal_paths(root),
    ]


def _name(root: Path) -> Iterator[Finding]:
    what = "name"
    if not _NAME.fullmatch(root.name):
        problem = f"the folder is called {root.name!r}"
        yield Finding(
            what, "note", problem, "rename it: the zoo has small letters, digits and _, as in head_ct_landmarks"
        )
    else:
        yield passed(what)


def _required(root: Path) -> Iterator[Finding]:
    remedies = {
        "LICENSE": "put the licence of the bundle there; `auto_config create` writes Apache 2.0",
        "configs/metadata.json": "`auto_config create` writes it",
        "configs/inference.json": "`auto_config create` writes it",
        "configs/train.json": "`auto_config create` writes it",
        "docs/README.md": "describe the model: data, accuracy, limits; `auto_config create` writes a beginning",
    }
    for name, remedy in remedies.items():
        there = (root / name).is_file()
        yield passed(name) if there else Finding(name, "failed", "is missing", remedy)


def _card(root: Path) -> Finding:
    """The zoo's template of the page has more sections (tags, references), which say little of a model."""
    what = "docs/README.md has the sections of the zoo's template"
    path = root / "docs" / "README.md"
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    missing = [name for name in SECTIONS if not re.search(rf"^#+ \**{name}", text, re.MULTILINE | re.IGNORECASE)]
    if not text or not missing:  # said by `_required` where there is none
        return passed(what)
    return Finding(what, "note", f"there is none called {', '.join(missing)}", "add them; people ask for each of them")


def is_large(size: int) -> bool:
    """Whether the zoo's commit hook refuses a file of so many bytes."""
    return size > LARGEST_KB * 1024


def _sizes(root: Path) -> Finding:
    """A note and no failure: a bundle that is not handed on yet has no address to list its weights with."""
    what = f"no file above {LARGEST_KB} kB that large_files.yml does not list"
    listed = listed_paths(root)
    sizes = {path.relative_to(root).as_posix(): path.stat().st_size for path in shared_files(root)}
    large = [name for name, size in sizes.items() if is_large(size) and name not in listed]
    if not large:
        return passed(what)
    said = ", ".join(f"{name} ({math.ceil(sizes[name] / 1024)} kB)" for name in large)
    remedy = (
        "the zoo's commit hook refuses them; list those that belong to the bundle (path, url, hash_type, hash_val), as"
        " `auto_config package --weights_url ADDRESS` does, and remove others; models/fold_N/latest.pt is only needed"
        " to go on with a training"
    )
    return Finding(what, "note", said, remedy)


def shared_files(root: Path) -> Iterator[Path]:
    """Files that would be handed on: all but caches, data and outputs."""
    for path in sorted(root.rglob("*")):
        parts = path.relative_to(root).parts
        if path.is_file() and parts[0] not in _OWN and "__pycache__" not in parts:
            yield path


def _scripts(root: Path) -> Finding:
    what = "scripts/ is a package"
    folder = root / "scripts"
    if not folder.is_dir() or (folder / "__init__.py").is_file():
        return passed(what)
    return Finding(what, "failed", "scripts/__init__.py is missing", "add an empty one")


def _code(root: Path) -> Finding:
    """The zoo's linters begin with what Python cannot read."""
    what = "scripts/ is Python"
    faults = {path: _fault(path) for path in sorted((root / "scripts").rglob("*.py"))}
    wrong = [f"{path.relative_to(root).as_posix()}{fault}" for path, fault in faults.items() if fault is not None]
    if wrong:
        return Finding(what, "failed", f"cannot be read: {', '.join(wrong)}", "`auto_config create` writes them anew")
    return passed(what)


def _fault(path: Path) -> str | None:
    """Where Python stops reading a file: the line if it is known; None if it reads all."""
    try:
        ast.parse(path.read_text(encoding="utf-8"))
    except SyntaxError as error:
        return f" line {error.lineno}"
    except ValueError:  # other bytes than UTF-8, or zeros
        return ""
    return None


def _configs(root: Path) -> Iterator[Finding]:
    """Every JSON file can be read and is an object, and no key stands twice: MONAI silently takes the last."""
    for path in sorted((root / "configs").glob("*.json")):
        what = f"configs/{path.name} is JSON"
        try:
            content, doubled = parsed(path.read_bytes())
        except (OSError, ValueError, RecursionError) as error:
            yield Finding(what, "failed", str(error), "repair the file")
            continue
        if not isinstance(content, dict):
            problem = f"configs/{path.name} must be a JSON object, it holds {kind_of(content)}"
            yield Finding(what, "failed", problem, "repair the file; `auto_config create` writes it")
        elif doubled:
            yield Finding(what, "failed", f"twice in one object: {', '.join(doubled)}", "keep one of each")
        else:
            yield passed(what)


def _personal_paths(root: Path) -> Finding:
    what = "no personal paths"
    found = []
    for path in shared_files(root):
        if path.suffix not in {".json", ".yaml", ".yml", ".md", ".conf", ".txt"}:
            continue
        match = _PERSONAL.search(path.read_text(encoding="utf-8", errors="replace"))
        if match:
            found.append(f"{path.relative_to(root).as_posix()} ({match[0]})")
    if not found:
        return passed(what)
    remedy = 'before you share it, write "/path/to/dataset" in their place; who trains it gives --dataset_dir'
    return Finding(what, "note", ", ".join(found), remedy)
