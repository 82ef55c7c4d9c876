"""The method of docs/adding_a_method.md, taken from the page: it keeps the contract, which sees faults in it."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree

import pytest
import torch
from peak_memory import PeakMemory
from steps import write_cases

from auto_config.bundle_scripts.methods.interfaces import LOGITS, PointBatch

pytestmark = pytest.mark.usefixtures("warm_python")

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "adding_a_method.md").read_text(encoding="utf-8")
NAME = "gaussian_mse"
PART = f"auto_config/bundle_scripts/methods/{NAME}.py"
ROW = f"auto_config/methods/{NAME}.py"
TABLE = "auto_config/methods/__init__.py"
CONTRACT = "tests/methods/test_contract.py"


def blocks(language):
    """Code of the page in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, flags=re.DOTALL | re.MULTILINE)


CODE = dict(re.findall(r"^`([\w/]+\.py)`:\n\n```python\n(.*?)^```$", TEXT, flags=re.DOTALL | re.MULTILINE))
"""Python of the page by the name of the file that stands above it."""


def replaced(path, old, new):
    """Change the only occurrence of `old` in a file."""
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1, (path, old)
    path.write_text(text.replace(old, new), encoding="utf-8")


def copied(root):
    """The package, its tests and its pages, with all that the page adds."""
    for folder in ("auto_config", "tests", "docs", "benchmarks"):
        # Pictures and a zipped bundle are not needed.
        shutil.copytree(ROOT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__", "*.png", "*.zip"))
    for name in ("pyproject.toml", "README.md"):
        shutil.copyfile(ROOT / name, root / name)
    for path in (PART, ROW):
        (root / path).write_text(CODE[path], encoding="utf-8")
    lines = CODE[TABLE].splitlines(keepends=True)
    imports = "".join(line for line in lines if line.startswith("from "))
    rows = "".join(line for line in lines if line.startswith("        "))
    assert imports and rows
    replaced(root / TABLE, "\nMETHODS: dict", f"{imports}\nMETHODS: dict")
    replaced(root / TABLE, "    )\n}\n", f"{rows}    )\n}}\n")
    (row,) = blocks("markdown")
    first = "| `scripts.methods.stages.LandmarkNetwork`"
    replaced(root / "docs/bundle.md", first, row + first)
    return root


def python(root, *arguments):
    """A command of this Python with the package of the copy."""
    environment = {**os.environ, "PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)


def outcomes(root, *arguments):
    """What pytest makes of tests in the copy: of each by its name why it failed, or nothing; and what it printed."""
    run = python(root, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--junitxml", root / "run.xml", *arguments)
    assert (root / "run.xml").is_file(), run.stdout + run.stderr
    cases = ElementTree.parse(root / "run.xml").getroot().iter("testcase")
    # One that failed, broke or was skipped has an element that says why.
    return {case.get("name"): "".join(one.get("message", one.tag) for one in case) for case in cases}, run.stdout


def contract():
    """Names of the contract's tests for the method of the page."""
    tree = ast.parse((ROOT / CONTRACT).read_text(encoding="utf-8"))
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    every = [node.name for node in functions if "EVERY" in map(ast.unparse, node.decorator_list)]
    assert len(every) >= 10
    return {f"{name}[{NAME}-{dims}]" for name in every for dims in (2, 3)}


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A copy in which every step of the page was taken."""
    root = copied(tmp_path_factory.mktemp("checkout"))
    assert "python benchmarks/refresh_docs.py\n" in blocks("bash")
    run = python(root, "benchmarks/refresh_docs.py")
    assert run.returncode == 0, run.stderr
    return root


def test_the_method_of_the_page_keeps_the_contract_and_is_in_every_list(checkout):
    assert f"python -m pytest {CONTRACT} -k {NAME}\n" in blocks("bash")
    # Of the other files: lists, help, names, and the table of parts, which the page's line and command make whole.
    files = (CONTRACT, "tests/methods/test_tables.py", "tests/bundle/test_own_parts.py")
    chosen = f"{NAME} or test_tables or test_each_part_of_ours_has_its_reason"
    found, output = outcomes(checkout, *files, "-k", chosen)
    assert {name for name in found if name in contract()} == contract(), output
    assert f"test_a_train_config_has_few_parts_of_ours[{NAME}]" in found
    assert "test_each_part_of_ours_has_its_reason_and_each_reason_its_part" in found
    assert "test_lists_in_pages_are_those_of_the_tables[method.md]" in found
    assert not any(found.values()), output
    assert f"| `{NAME}` | " in (checkout / "docs/method.md").read_text(encoding="utf-8")


OFF_BY_ONE = '''

from dataclasses import replace

from .decoders import ArgmaxDecoder


class OffByOne(ArgmaxDecoder):
    """A decoder that counts voxels from 1."""

    def decode(self, output, log_prior=None):
        found = super().decode(output, log_prior)
        return replace(found, points=found.points + 1)
'''


def test_the_contract_sees_faults(tmp_path):
    """A decoder that is off by one voxel, and unknown landmarks that count as absent ones."""
    root = copied(tmp_path)
    replaced(root / ROW, "scripts.methods.decoders.ArgmaxDecoder", f"scripts.methods.{NAME}.OffByOne")
    replaced(root / PART, "truth.status >= 0", "truth.status >= -1")
    (root / PART).write_text((root / PART).read_text(encoding="utf-8") + OFF_BY_ONE, encoding="utf-8")
    wrong = ("test_the_best_output_decodes_to_the_points", "test_unknown_landmarks_have_no_gradient")
    right = "test_densities_are_probabilities_of_each_voxel"
    found, output = outcomes(root, CONTRACT, "-k", f"{NAME} and ({' or '.join((*wrong, right))})")
    for name in (*wrong, right):
        for dims in (2, 3):
            why = found.pop(f"{name}[{NAME}-{dims}]")
            assert ("assert" in why) if name in wrong else not why, output
    assert not found


def test_the_bundle_of_the_page_is_as_it_is_shown(checkout, tmp_path):
    assert any(f"auto_config create scans my_landmarks --method {NAME}\n" in block for block in blocks("bash"))
    options = ("--method", NAME, "--workers", 1, "--folds", 2, "--test_fraction", 0)
    data, root = write_cases(tmp_path / "data", 3), tmp_path / "bundle"
    run = python(checkout, "-m", "auto_config", "create", data, root, *options)
    assert run.returncode == 0, run.stderr
    train = json.loads((root / "configs/train.json").read_text(encoding="utf-8"))
    (shown,) = blocks("json")
    assert {name: train[name] for name in json.loads(shown)} == json.loads(shown)
    assert (root / "scripts/methods" / f"{NAME}.py").read_text(encoding="utf-8") == CODE[PART]


def code_of(path, package):
    """The module that the page's file makes in a package."""
    module = ModuleType(f"{package}.{NAME}")
    module.__package__ = package
    exec(compile(CODE[path], path, "exec"), vars(module))  # its annotations are texts, so this needs no import
    return module


def test_the_loss_of_the_page_is_the_mean_squared_error_and_takes_the_memory_that_its_row_says():
    loss = code_of(PART, "auto_config.bundle_scripts.methods").GaussianMSELoss(2.0)
    method = code_of(ROW, "auto_config.methods").METHOD
    for size in ((24, 20), (24, 20, 16)):
        points = torch.tensor([[7.3, 8.2, 5.1], [40.0, 3.0, 2.0], [11.0, -1.0, 9.5], [3.0, 4.0, 5.0]])[:, : len(size)]
        status = torch.tensor([[1, 1, 0, -1]])
        grid = torch.stack(torch.meshgrid(*[torch.arange(float(n)) for n in size], indexing="ij"), -1)
        dense = torch.stack([torch.exp(-(grid - point).square().sum(-1) / 8) for point in points[:2]])
        half = torch.randn((1, 4, *size), generator=torch.Generator().manual_seed(0)).bfloat16().requires_grad_()
        with PeakMemory() as memory:
            found = loss({LOGITS: half.float()}, PointBatch(points[None, :, None], status), size)
            found.backward()
        target = torch.cat([dense, torch.zeros(1, *size)])
        expected = (half.detach().float()[0, :3].sigmoid() - target).square().mean()
        torch.testing.assert_close(found.detach(), expected)
    assert memory.peak / half.numel() == pytest.approx(method.loss_bytes_per_voxel, abs=0.5)


def test_the_code_of_the_page_is_short_and_in_the_style_of_the_project(checkout):
    assert set(CODE) == {PART, ROW, TABLE}
    assert len(CODE) == len(blocks("python"))
    for command in (["check"], ["format", "--check"]):
        run = python(checkout, "-m", "ruff", *command, "--no-cache", PART, ROW)
        assert run.returncode == 0, run.stdout + run.stderr
    assert "some forty lines" in TEXT
    assert 35 <= sum(len(lines_of(CODE[path])) for path in (PART, ROW)) <= 45


def lines_of(code):
    """Numbers of the lines that are neither imports nor texts, comments or empty."""
    found = set()
    for node in ast.walk(ast.parse(code)):
        text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if not isinstance(node, ast.stmt) or isinstance(node, ast.Import | ast.ImportFrom) or text:
            continue
        # Of a block, its first line; what is in it is counted by itself.
        last = node.lineno if hasattr(node, "body") else node.end_lineno
        found |= set(range(node.lineno, last + 1))
    return found
