"""What training and prediction must agree on stands in two files, because each must work alone: do they agree?"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

SHARED = (
    *("pixel_spacing", "spacing", "pad_value", "coarse_factor", "coarse_patch_size", "patch_size"),
    *("preprocessing", "network_def", "decoder", "coarse_decoder"),
)
"""Ids of train.json and inference.json that decide which images the network sees and what its output means."""


def disagreement(root: Path, overrides: Mapping[str, Any] | None = None) -> str | None:
    """One line about what differs in train.json and inference.json; None where they agree.

    Args:
        root: folder of the bundle. A file that is missing or damaged is nothing that is said here.
        overrides: values of ids of train.json that a command sets, also of parts (``network_def#stages#...``).
    """
    train, inference = (_read(root / "configs" / f"{name}.json") for name in ("train", "inference"))
    given = {name.lstrip("+%"): value for name, value in (overrides or {}).items()}
    inside = {re.split("#|::", name)[0] for name in given} - given.keys()
    found = []
    for name in SHARED:
        if name not in train or name not in inference:
            continue
        ours, theirs = _value(given.get(name, train[name])), inference[name]
        if name in inside or ours != theirs:
            found.append(name if isinstance(theirs, dict) else f"{name} ({json.dumps(ours)} and {json.dumps(theirs)})")
    if not found:
        return None
    said = " and the command line" if inside or not given.keys().isdisjoint(SHARED) else ""
    return (
        f"{root}: training (configs/train.json{said}) and prediction (configs/inference.json) differ in "
        f"{', '.join(found)}; set the same in both, or points may be wrong"
    )


def _value(value: Any) -> Any:
    """What MONAI's command line makes of a text."""
    if not isinstance(value, str):
        return value
    try:
        return ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return value


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
