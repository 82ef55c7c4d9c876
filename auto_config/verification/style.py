"""The style that the model zoo asks of the code of bundles: isort, black and flake8, set as its format check sets them.

The zoo runs them over everything (`runtests.sh --codeformat`) with the settings below, and pytype after them, which
takes minutes for one bundle and is not run here.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from auto_config.verification.files import shared_files
from auto_config.verification.finding import Finding, passed
from auto_config.wording import install_line

# The zoo's setup.cfg and pyproject.toml; what only leaves out files is not needed.
_SETUP = """[flake8]
select = B,C,E,F,N,P,T4,W,B9
max_line_length = 120
ignore = E203,E501,E741,W503,W504,C408,N812,B023,B905,B028,B907,C419
per_file_ignores = __init__.py: F401, __main__.py: F401

[isort]
known_first_party = models
profile = black
line_length = 120
"""
_BLACK = """[tool.black]
line-length = 120
target-version = ["py37", "py38", "py39"]
"""
_WHAT = "style of the code"
_SAID = 3
"""Complaints that are shown; the rest is counted."""


@dataclass(frozen=True)
class _Tool:
    """One of the zoo's checkers.

    Args:
        name: of its module and its distribution.
        words: that the zoo calls it with.
        plugins: distribution by module, without which it would find less.
        remedy: for what it complains of.
    """

    name: str
    words: tuple[str, ...]
    plugins: tuple[tuple[str, str], ...]
    remedy: str


_FORMAT = "the zoo's `./runtests.sh --autofix` repairs it, and here"
_TOOLS = (
    _Tool(
        "isort",
        ("--check-only", "--quiet", "--settings-file", "setup.cfg"),
        (),
        f"{_FORMAT}: python -m isort --profile black --line-length 120 scripts",
    ),
    _Tool(
        "black",
        ("--check", "--skip-magic-trailing-comma", "--config", "pyproject.toml"),
        (),
        f"{_FORMAT}: python -m black --skip-magic-trailing-comma --line-length 120 scripts",
    ),
    _Tool(
        "flake8",
        ("--config", "setup.cfg"),
        (
            ("bugbear", "flake8-bugbear"),
            ("flake8_comprehensions", "flake8-comprehensions"),
            ("flake8_executable", "flake8-executable"),
            ("pep8ext_naming", "pep8-naming"),
        ),
        "change the line, or end it with `# noqa: CODE` and say why above it",
    ),
)


def check_style(root: Path) -> list[Finding]:
    """What the zoo's checkers of style say of all Python files of a bundle, where they are installed.

    Args:
        root: folder of the bundle.
    """
    files = [path for path in shared_files(root) if path.suffix == ".py"]
    with tempfile.TemporaryDirectory() as folder:
        settings = Path(folder)
        (settings / "setup.cfg").write_text(_SETUP, encoding="utf-8")
        (settings / "pyproject.toml").write_text(_BLACK, encoding="utf-8")
        findings = [_finding(tool, root, files, settings) for tool in _TOOLS]
    untried = Finding(f"{_WHAT}: pytype", "not checked", "it takes minutes", "run it on scripts/ before you hand it on")
    return [*findings, untried]


def _finding(tool: _Tool, root: Path, files: Sequence[Path], settings: Path) -> Finding:
    what = f"{_WHAT}: {tool.name}"
    needed = [(tool.name, tool.name), *tool.plugins]
    missing = [package for module, package in needed if find_spec(module) is None]
    if missing:
        return Finding(what, "not checked", f"not installed: {', '.join(missing)}", install_line(*missing))
    complaints = _complaints(tool, root, files, settings) if files else []
    if not complaints:
        return passed(what)
    more = f" and {len(complaints) - _SAID} more" if len(complaints) > _SAID else ""
    return Finding(what, "failed", "; ".join(complaints[:_SAID]) + more, tool.remedy)


def _complaints(tool: _Tool, root: Path, files: Sequence[Path], settings: Path) -> list[str]:
    """Lines of a checker that name a file of the bundle, by its path in it; where none does, the first it said."""
    # Not in the bundle: modules that lie there would be imported in place of the checker's own.
    ended = subprocess.run(
        [sys.executable, "-m", tool.name, *tool.words, *map(str, files)],
        cwd=settings,
        capture_output=True,
        text=True,
        check=False,
    )
    if ended.returncode == 0:
        return []
    lines = [line.strip() for line in (ended.stdout + ended.stderr).splitlines() if line.strip()]
    named = [line.replace(f"{root}{os.sep}", "") for line in lines if f"{root}{os.sep}" in line]
    return named or [next(iter(lines), f"exit status {ended.returncode}")]
