"""What the landmarks of a bundle are, in words, for clients that show it while a person places them."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)

ATLAS = Path("atlas") / "atlas.json"


def definitions(bundle: Path, names: Sequence[str]) -> list[dict[str, str]]:
    """``name`` and ``definition`` of each landmark that the bundle's atlas defines, in the order of `names`.

    Pictures stay in the bundle. An atlas that cannot be read is logged, and nothing is defined: points can be placed
    without it.

    Args:
        bundle: its folder.
        names: its landmarks.
    """
    path = bundle / ATLAS
    if not path.is_file():
        return []
    try:
        rows: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["landmarks"]
        known = {str(row["name"]): str(row.get("definition") or "") for row in rows}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        logger.warning("%s: is no atlas (%r)", path, error)
        return []
    return [{"name": name, "definition": known[name]} for name in names if known.get(name)]
