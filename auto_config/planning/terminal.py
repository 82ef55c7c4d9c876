"""What `create` prints of a plan."""

from __future__ import annotations

import shlex
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from auto_config.methods.plan import Plan


def print_plan(bundle: Path, plan: Plan, console: Console) -> None:
    """Say in a few lines what was decided and what to type next."""
    for name in ("method", "network", "spacing", "stages"):
        decision = plan.decisions[name]
        value = decision.value
        if name == "stages":
            value = ", ".join(f"{s['name']} {'x'.join(map(str, s['patch_size']))}" for s in value)
        console.print(f"[bold]{name}[/bold] {escape(f'{value}: {decision.reason}')}", soft_wrap=True)
    # On one line and quoted, so that it can be copied as it is.
    following = f"auto_config train {shlex.quote(str(bundle))}"
    folds = plan.decisions.get("folds")
    if folds is not None and folds.value.get("from") == "leave_one_out":
        console.print(f"[bold]folds[/bold] {escape(folds.reason)}", soft_wrap=True)
        following += " --fold all" if folds.value["count"] > 1 else " --fold none"
    console.print(
        f"{bundle}: written; configs/plan.json has every decision. Next: {following}", markup=False, soft_wrap=True
    )
