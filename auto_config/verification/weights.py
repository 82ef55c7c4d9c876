"""The weights of a bundle: whether they are there and can be read, without running code that is in them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from auto_config.bundle_scripts.file_names import ENSEMBLE, WEIGHTS
from auto_config.verification.finding import Finding, passed
from auto_config.verification.large_files import listed_paths

_MODEL = f"models/{WEIGHTS}"


def check_weights(root: Path) -> Finding:
    """Whether ``models/model.pt`` is there or listed, and whether it and the members of the ensemble can be read.

    Args:
        root: folder of the bundle.
    """
    what = "weights"
    if not (root / _MODEL).is_file() and _MODEL not in listed_paths(root):
        remedy = f"train it: auto_config train {root}, or list them in large_files.yml"
        return Finding(what, "failed", f"there is no {_MODEL}", remedy)
    for name in dict.fromkeys([_MODEL, *_members(root)]):
        if not (root / name).is_file() and name not in listed_paths(root):
            remedy = "train that fold again, or list it in large_files.yml"
            return Finding(what, "failed", f"models/{ENSEMBLE} names {name}, which is not there", remedy)
        fault = fault_of(root, name)
        if fault is not None:
            return Finding(what, "failed", *fault)
    return passed(what)


def fault_of(root: Path, name: str) -> tuple[str, str] | None:
    """What is wrong with a file of weights and what to do; None where nothing is, or where it is not there.

    Args:
        root: folder of the bundle.
        name: of the file, by its path in the bundle.
    """
    from auto_config.bundle_scripts.files.weights import read_weights

    if not (root / name).is_file():
        return None
    try:
        read_weights(root / name)
    except ValueError as error:
        problem, _, remedy = str(error).removeprefix(str(root)).lstrip("/\\").rpartition("; ")
        return problem, remedy
    except OSError as error:
        return f"{name}: {error.strerror}", "make it a file that can be read, or train again"
    return None


def _members(root: Path) -> Iterator[str]:
    """Weights that the ensemble names, by their path in the bundle; none where its list cannot be read."""
    try:
        files = json.loads((root / "models" / ENSEMBLE).read_text(encoding="utf-8"))["files"]
        yield from [f"models/{name}" for name in files]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return
