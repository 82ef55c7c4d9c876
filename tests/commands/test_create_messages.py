"""What `create` says at its end."""

import io
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from auto_config.planning.terminal import print_plan


def test_what_to_type_next_is_one_line_to_copy():
    """Brackets are no markup, and a path with spaces is quoted, however narrow the terminal is."""
    decisions = {
        name: SimpleNamespace(value="1", reason="told by [red]") for name in ("method", "network", "spacing")
    } | {"stages": SimpleNamespace(value=[{"name": "fine", "patch_size": [8, 8]}], reason="fits")}
    out = io.StringIO()
    bundle = Path("bundles of many people [old]") / "points of the skull [b]"
    print_plan(bundle, SimpleNamespace(decisions=decisions), Console(file=out, width=40))
    lines = out.getvalue().splitlines()
    assert lines[-1] == (
        "bundles of many people [old]/points of the skull [b]: written; configs/plan.json has every decision. "
        "Next: auto_config train 'bundles of many people [old]/points of the skull [b]'"
    )
    assert lines[:-1] == [f"{name} 1: told by [red]" for name in ("method", "network", "spacing")] + [
        "stages fine 8x8: fits"
    ]


@pytest.mark.parametrize(("reason", "shown"), [("warning: no GPU was found", True), ("given by the user", False)])
def test_a_plan_for_less_memory_is_said(reason, shown, tmp_path):
    out = io.StringIO()
    decision = SimpleNamespace(value=2.0, reason=reason)
    other = SimpleNamespace(value="x", reason="because")
    names = ("method", "network", "spacing")
    stages = SimpleNamespace(value=[{"name": "fine", "patch_size": [8, 8]}], reason="because")
    decisions = {**dict.fromkeys(names, other), "stages": stages, "gpu_memory_gb": decision}
    print_plan(tmp_path, SimpleNamespace(decisions=decisions), Console(file=out, width=200))
    assert ("gpu_memory_gb 2: warning: no GPU was found" in out.getvalue()) is shown
