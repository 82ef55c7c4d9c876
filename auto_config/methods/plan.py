"""What a plan is: decisions, each with the rule that made it, as JSON and back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

DECISION_NAMES = (
    "network",
    "method",
    "own_network",
    "parts",
    "gpu_memory_gb",
    "spatial_dims",
    "channels",
    "channel_names",
    "landmarks",
    "unit",
    "pixel_spacing",
    "orientation",
    "spacing",
    "normalization",
    "pad_value",
    "stages",
    "jitter_mm",
    "heatmap_radius_mm",
    "pairs",
    "mirror",
    "instances",
    "pose",
    "loss",
    "optimizer",
    "schedule",
    "sampling",
    "augmentation",
    "iterations_per_epoch",
    "max_epochs",
    "val_interval",
    "overlap",
    "keep",
    "cut_share",
    "workers",
    "memory",
    "test",
    "folds",
    "regions",
)
"""Every decision that a whole plan holds, in the order in which people read them; one with one stage also has
``places``."""


@dataclass(frozen=True)
class Decision:
    """One decision: a JSON value, and one or two plain sentences on the rule that made it."""

    value: Any
    reason: str


@dataclass(frozen=True)
class Plan:
    """All decisions for one data set, by name (see ``docs/file_formats.md`` for the value of each).

    Lengths are in mm (``*_mm``, ``spacing``) or voxels of the stage's grid (``patch_size``), axes in the order of
    ``orientation`` (RAS: x to the right, y to the front, z up; 2D: x to the right, y down).

    Example:
        >>> plan = Plan({"network": Decision("tiny", "no GPU was found")})
        >>> plan.value("network")
        'tiny'
        >>> Plan.from_json(plan.to_json()) == plan
        True
    """

    decisions: dict[str, Decision]

    def value(self, name: str) -> Any:
        """The value of the decision `name`.

        Raises:
            KeyError: there is no such decision; the message names those that there are.
        """
        return self._decision(name).value

    def reason(self, name: str) -> str:
        """Why `name` was decided so.

        Raises:
            KeyError: there is no such decision; the message names those that there are.
        """
        return self._decision(name).reason

    def stage(self, name: str) -> dict[str, Any]:
        """The stage called `name`, ``"coarse"`` or ``"fine"``.

        Raises:
            KeyError: the plan has no such stage.
        """
        for stage in self.value("stages"):
            if stage["name"] == name:
                return dict(stage)
        raise KeyError(f"the plan has no stage {name!r}, only {[stage['name'] for stage in self.value('stages')]}")

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """``{name: {"value": ..., "reason": ...}}``, as it stands in ``configs/plan.json`` under ``decisions``."""
        return {name: {"value": decision.value, "reason": decision.reason} for name, decision in self.decisions.items()}

    def to_json(self) -> str:
        """The plan as JSON text that a person can read."""
        return json.dumps(self.to_dict(), indent=4, ensure_ascii=False, allow_nan=False) + "\n"

    @classmethod
    def from_dict(cls, mapping: Mapping[str, Mapping[str, Any]]) -> Plan:
        """The plan that `to_dict` wrote.

        Earlier versions called the method ``recipe``.

        Raises:
            ValueError: a decision has no value or no reason.
        """
        decisions = {}
        for written, entry in mapping.items():
            name = "method" if written == "recipe" else written
            if set(entry) != {"value", "reason"}:
                raise ValueError(f"decision {written!r} of the plan needs 'value' and 'reason', it has {sorted(entry)}")
            decisions[name] = Decision(entry["value"], entry["reason"])
        return cls(decisions)

    @classmethod
    def from_json(cls, text: str) -> Plan:
        """The plan that `to_json` wrote.

        Raises:
            ValueError: the text is no JSON, or a decision has no value or no reason.
        """
        return cls.from_dict(json.loads(text))

    def _decision(self, name: str) -> Decision:
        if name not in self.decisions:
            raise KeyError(f"the plan decides nothing called {name!r}; it has {', '.join(self.decisions)}")
        return self.decisions[name]
