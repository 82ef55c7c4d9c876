"""What `create` says at its end."""

import io
from pathlib import Path
from types import SimpleNamespace

from rich.console import Console

from auto_config.commands.create import tell


def test_what_to_type_next_is_one_line_to_copy():
    """Brackets are no markup, and a path with spaces is quoted, however narrow the terminal is."""
    decisions = {
        name: SimpleNamespace(value="1", reason="told by [red]") for name in ("method", "network", "spacing")
    } | {"stages": SimpleNamespace(value=[{"name": "fine", "patch_size": [8, 8]}], reason="fits")}
    out = io.StringIO()
    bundle = Path("bundles of many people [old]") / "points of the skull [b]"
    tell(bundle, SimpleNamespace(decisions=decisions), Console(file=out, width=40))
    lines = out.getvalue().splitlines()
    assert lines[-1] == (
        "bundles of many people [old]/points of the skull [b]: written; configs/plan.json has every decision. "
        "Next: auto_config train 'bundles of many people [old]/points of the skull [b]'"
    )
    assert lines[:-1] == [f"{name} 1: told by [red]" for name in ("method", "network", "spacing")] + [
        "stages fine 8x8: fits"
    ]
