"""Help, documentation and metadata list the methods of the table, and nobody else knows their names."""

import ast
import re
from pathlib import Path

import pytest

from auto_config import cli
from auto_config.methods import BACKBONES, METHODS
from auto_config.methods.tables import filled, lists

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "auto_config"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
OUTSIDE = [
    path
    for path in sorted(PACKAGE.rglob("*.py"))
    if not path.is_relative_to(PACKAGE / "methods") and not path.is_relative_to(PACKAGE / "public_datasets")
]
# Formats of data sets and words of argparse that are called as a method is.
HOMONYMS = {
    "default": {"arguments.py"},
    "nnlandmark": {"formats.py", "detect.py", "json_contents.py", "nnlandmark.py", "registry.py"},
}


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_lists_in_pages_are_those_of_the_tables(page):
    text = page.read_text(encoding="utf-8")
    assert filled(text) == text, "run python benchmarks/refresh_docs.py"


def test_every_list_stands_somewhere():
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    assert {name for name in lists() if f"<!-- list: {name} -->" in text} == set(lists())


def test_help_lists_every_row(capsys):
    assert cli.main(["create", "--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "{" not in text
    for row in (*METHODS.values(), *BACKBONES.values()):
        assert f"{row.name}: {row.title}" in text


def test_keys_are_names_and_rows_are_complete():
    for table in (METHODS, BACKBONES):
        for name, row in table.items():
            assert name == row.name
            assert re.fullmatch(r"[a-z][a-z0-9_]*", name)
            assert row.title
            assert row.citation
            assert "\n" not in row.title + row.citation
            assert "|" not in row.title + row.citation
    assert {row.backbone for row in METHODS.values()} <= {None, *BACKBONES}


@pytest.mark.parametrize("path", OUTSIDE, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_method_has_its_name_outside(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    strings = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    named = {name for name in METHODS if name in strings and path.name not in HOMONYMS.get(name, ())}
    assert not named


def test_methods_import_no_torch_and_nothing_above_them():
    for path in (PACKAGE / "methods").glob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        modules = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        modules |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
        ours = {name for name in modules if name.startswith("auto_config.")}
        assert all(name.startswith(("auto_config.methods", "auto_config.errors")) for name in ours), path
        assert not {name for name in modules if name.partition(".")[0] in {"torch", "monai"}}, path
