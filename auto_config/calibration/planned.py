"""What the plan of a bundle says, for those who calibrate it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def planned_value(root: Path, decision: str) -> Any | None:
    """The value of a decision in ``configs/plan.json``; None where its plan does not say it."""
    try:
        plan = json.loads((root / "configs" / "plan.json").read_text(encoding="utf-8"))
        return plan["decisions"][decision]["value"]
    except (OSError, ValueError, LookupError, TypeError):
        return None


def planned_pooling(root: Path) -> bool:
    """Whether the bundle was planned with one region for all landmarks; not where its plan does not say."""
    regions = planned_value(root, "regions")
    return isinstance(regions, dict) and regions.get("pooled") is True
