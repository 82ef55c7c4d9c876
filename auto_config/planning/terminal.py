"""What `create` prints of a plan."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from auto_config.methods.plan import Plan

WARNING = "warning: "
"""Begins the reason of a decision that a person should know of."""


def memory_line(stated: Mapping[str, Any]) -> str:
    """What training and prediction take, for people.

    Args:
        stated: value of the decision ``memory``.
    """
    training, step = _gb(stated["training_cpu_mb"]), _gb(stated["training_gpu_mb"])
    prediction = f"{_gb(stated['prediction_cpu_mb'])}, or {_gb(stated['prediction_gpu_mb'])} of a GPU"
    return f"training {training} of main memory, or {step} of a GPU; predicting the largest case {prediction}"


def _gb(megabytes: float) -> str:
    return f"{megabytes / 1024:.1f} GB"


def print_plan(bundle: Path, plan: Plan, console: Console) -> None:
    """Say in a few lines what was decided and what to type next."""
    for name in ("method", "network", "spacing", "stages"):
        decision = plan.decisions[name]
        value = decision.value
        if name == "stages":
            value = ", ".join(f"{s['name']} {'x'.join(map(str, s['patch_size']))}" for s in value)
        console.print(f"[bold]{name}[/bold] {escape(f'{value}: {decision.reason}')}", soft_wrap=True)
    if (room := plan.decisions.get("gpu_memory_gb")) is not None and room.reason.startswith(WARNING):
        console.print(f"[bold]gpu_memory_gb[/bold] {escape(f'{room.value:g}: {room.reason}')}", soft_wrap=True)
    if (memory := plan.decisions.get("memory")) is not None:
        console.print(f"[bold]memory[/bold] {escape(memory_line(memory.value))}", soft_wrap=True)
    # On one line and quoted, so that it can be copied as it is.
    following = f"auto_config train {shlex.quote(str(bundle))}"
    folds = plan.decisions.get("folds")
    if folds is not None and folds.value.get("from") == "leave_one_out":
        console.print(f"[bold]folds[/bold] {escape(folds.reason)}", soft_wrap=True)
        following += " --fold all" if folds.value["count"] > 1 else " --fold none"
    console.print(
        f"{bundle}: written; configs/plan.json has every decision. Next: {following}", markup=False, soft_wrap=True
    )
