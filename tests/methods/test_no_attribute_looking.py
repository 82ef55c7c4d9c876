"""No part of the seam asks another one what it is: no hasattr, no getattr, no isinstance of parts."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2] / "auto_config"
SEAM = (
    "bundle_scripts/methods/interfaces.py",
    "bundle_scripts/methods/decoders.py",
    "bundle_scripts/inference/dense.py",
    "bundle_scripts/inference/coarse_to_fine.py",
    "bundle_scripts/methods/losses.py",
    "bundle_scripts/inference/flip.py",
    "bundle_scripts/inference/views.py",
    "bundle/earlier.py",
    "bundle/parts.py",
    "prediction/densities.py",
    "prediction/regions.py",
)
ALLOWED = {"bundle_scripts/methods/decoders.py": {"isinstance"}}  # a number or one for each axis


@pytest.mark.parametrize("name", SEAM)
def test_nothing_looks_for_attributes(name):
    tree = ast.parse((ROOT / name).read_text(encoding="utf-8"))
    called = {node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    assert not (called & {"hasattr", "getattr", "isinstance"}) - ALLOWED.get(name, set())
