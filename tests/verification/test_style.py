"""`verify` calls the zoo's checkers of style as the zoo does, and all that is copied into bundles passes them."""

from importlib.util import find_spec
from pathlib import Path

import pytest

from auto_config.packaging.zoo_test import zoo_test
from auto_config.verification import style
from auto_config.verification.style import check_style

SCRIPTS = Path(__file__).parents[2] / "auto_config" / "bundle_scripts"
NEEDED = ("isort", "black", "flake8", "bugbear", "flake8_comprehensions", "flake8_executable", "pep8ext_naming")
installed = pytest.mark.skipif(
    any(find_spec(name) is None for name in NEEDED),
    reason="needs the checkers of style that the extra dev has",
)


def states(root: Path) -> dict[str, str]:
    return {finding.what.split(": ")[1]: str(finding) for finding in check_style(root)}


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    (tmp_path / "b" / "scripts").mkdir(parents=True)
    (tmp_path / "b" / "scripts" / "__init__.py").write_text('"""Parts."""\n')
    return tmp_path / "b"


def test_what_is_not_installed_is_named_with_its_line(bundle, monkeypatch):
    there = {"flake8", "bugbear", "flake8_comprehensions"}
    monkeypatch.setattr(style, "find_spec", lambda name: name if name in there else None)
    monkeypatch.setattr(style, "_complaints", lambda *_: pytest.fail("began with half of its plugins"))
    said = states(bundle)
    assert all(line.startswith("not checked") for line in said.values())
    assert said["black"].endswith("not installed: black; pip install black")
    assert said["flake8"].endswith("flake8-executable, pep8-naming; pip install flake8-executable pep8-naming")
    assert "minutes" in said["pytype"]


@installed
def test_all_that_is_copied_into_bundles_passes():
    said = states(SCRIPTS)
    assert [said[name] for name in ("isort", "black", "flake8") if not said[name].startswith("ok ")] == []


@installed
def test_the_test_that_package_writes_passes(bundle):
    for name, dims, channels in (("head_ct", 3, 1), ("2d heads", 2, 3)):
        (bundle / f"test_{dims}.py").write_text(zoo_test(name, [8] * dims, [0.5] * dims, channels), encoding="utf-8")
    assert [line for line in states(bundle).values() if line.startswith("failed")] == []


@installed
@pytest.mark.parametrize(
    ("checker", "code", "problem", "remedy"),
    [
        ("isort", "import sys\nimport os\n\nprint(os, sys)\n", "incorrectly sorted", "python -m isort --profile black"),
        ("black", "x = [1,\n 2]\n", "would reformat", "python -m black --skip-magic-trailing-comma"),
        ("flake8", "import os\n", "F401", "noqa"),
        ("flake8", "def f(x=[]):\n    return x\n", "B006", "noqa"),
        ("flake8", f"x = {'1' * 140}\n", "B950", "noqa"),
        ("flake8", "class small:\n    pass\n", "N801", "noqa"),
        ("flake8", "x = list([i for i in 'ab'])\n", "C411", "noqa"),
    ],
)
def test_each_complaint_names_the_file_and_the_remedy(bundle, checker, code, problem, remedy):
    (bundle / "scripts" / "own.py").write_text(code)
    line = states(bundle)[checker]
    assert line.startswith("failed") and "scripts/own.py" in line and str(bundle) not in line, line
    assert problem in line and remedy in line, line


@installed
def test_the_zoo_ignores_what_it_says_and_data_are_not_looked_at(bundle):
    (bundle / "scripts" / "own.py").write_text("l = dict(a=1)  # noqa: F401\n\nprint(l)\n")
    (bundle / "eval").mkdir()
    (bundle / "eval" / "odd.py").write_text("import os\n")
    assert states(bundle)["flake8"].startswith("ok")


@installed
def test_many_complaints_are_counted(bundle):
    (bundle / "scripts" / "own.py").write_text(
        "".join(f"import {name}\n" for name in ("ast", "csv", "dis", "os", "re"))
    )
    assert "and 2 more" in states(bundle)["flake8"]


@installed
def test_a_checker_that_breaks_is_no_pass(bundle, monkeypatch):
    monkeypatch.setattr(style, "_SETUP", "[flake8]\nmax_line_length = many\n")
    assert states(bundle)["flake8"].startswith("failed")
