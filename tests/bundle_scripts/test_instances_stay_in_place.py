"""That a landmark may have several instances is the matter of few modules: the rest passes points and peaks on."""

import ast
from pathlib import Path

SCRIPTS = Path(__file__).parents[2] / "auto_config" / "bundle_scripts"
MODULES = {"instances", "instance_errors", "instance_thresholds", "matching", "medoids"}
HOME = {
    "points/instances.py",
    "points/instance_errors.py",
    "points/matching.py",
    "points/medoids.py",
    "methods/instances.py",
    "inference/views.py",
    "inference/results.py",
    "inference/turned_cases.py",  # a verdict and a pose are of landmarks whose place follows from their name
    "inference/verdict/step.py",
    "inference/verdict/scores.py",
    "training/metrics.py",
    "training/run/instance_thresholds.py",
}
# Each of these passes them on to a module of `HOME`; a file that no longer does is taken out.
PASSES_ON = {
    "inference/dense.py",  # to `views.agreement`
    "inference/coarse_to_fine.py",  # to `views.agreement`
    "methods/losses.py",  # rows of points that the channel of an exchangeable pair shows
    "training/augmentation.py",  # which rows change places in a mirror image
    "training/dataset.py",  # rows of the label of an image
    "training/shape_fit.py",  # a shape is learnt of landmarks with one point
    "training/trainer.py",  # to `losses.StagesLoss`
}


def imports_instances(path: Path) -> bool:
    nodes = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.ImportFrom)]
    return any(node.level and (node.module or "").split(".")[-1] in MODULES for node in nodes)


def test_few_modules_know_of_instances():
    found = {path.relative_to(SCRIPTS).as_posix() for path in SCRIPTS.rglob("*.py") if imports_instances(path)}
    assert found - HOME == PASSES_ON
