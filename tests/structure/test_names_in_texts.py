"""What docs, docstrings, messages and comments name exists: modules, and packages that an index has."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# A first word and what the dotted names behind it are looked up in.
FOLDERS = {"scripts": "auto_config/bundle_scripts", "auto_config": "auto_config", "landmark_app": "apps/landmark_app"}
OTHERS = {"monai/bundle/properties.py", "ci/unit_tests/test_NAME.py", "test_NAME.py"}
"""Files of other projects, and files that commands write."""


def tracked(*patterns: str) -> list[str]:
    """Paths of the code and of the pages beside it, as git has them; or of other files."""
    line = ["git", "ls-files", *(patterns or ("*.py", "*.md"))]
    listed = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        pytest.skip("no git checkout")
    return [path for path in listed.stdout.splitlines() if (ROOT / path).is_file()]


def is_there(folder: Path, names: list[str]) -> bool:
    """Whether a dotted name leads to a package, a module, or a word in one."""
    for position, name in enumerate(names):
        if (folder / name).is_dir():
            folder /= name
        elif (folder / f"{name}.py").is_file():
            rest = names[position + 1 :]
            return not rest or has_word(folder / f"{name}.py", rest[0])
        else:
            return has_word(folder / "__init__.py", name)
    return True


def has_word(path: Path, word: str) -> bool:
    """Whether a file has that word."""
    return path.is_file() and re.search(rf"\b{re.escape(word)}\b", path.read_text(encoding="utf-8")) is not None


def dotted(line: str) -> list[tuple[str, list[str]]]:
    """Dotted names in a line that begin with one of the roots."""
    found = re.findall(rf"(?<![\w./])({'|'.join(FOLDERS)})((?:\.[A-Za-z_]\w*)+)", line)
    return [(root, rest.strip(".").split(".")) for root, rest in found]


def files(line: str) -> list[str]:
    """Paths and names of Python files in a line."""
    return re.findall(r"(?<![\w./{}<*-])((?:\w[\w.-]*/)*\w+\.py)\b", line)


def test_a_line_is_searched():
    assert files("`a/b.py` and c_d.py, not {x}.py or *.py") == ["a/b.py", "c_d.py"]
    assert dotted("see scripts.points.peaks.Peaks.") == [("scripts", ["points", "peaks", "Peaks"])]
    assert is_there(ROOT / FOLDERS["scripts"], ["points", "peaks", "Peaks"])
    assert not is_there(ROOT / FOLDERS["scripts"], ["peaks", "Peaks"])
    assert not is_there(ROOT / FOLDERS["scripts"], ["points", "peaks", "Valleys"])


def test_modules_that_texts_name_exist():
    paths = tracked()
    every = [f"/{path}" for path in paths]
    gone = []
    # Not tests, which make files of their own, nor what was true of earlier versions.
    # The page that adds a method makes its files, and has a test of its own.
    made = "docs/adding_a_method.md"
    for path in [path for path in paths if not path.startswith(("tests/", "bundles/", "CHANGELOG", made))]:
        for number, line in enumerate((ROOT / path).read_text(encoding="utf-8").splitlines(), 1):
            missing = [f for f in files(line) if f not in OTHERS and not any(one.endswith(f"/{f}") for one in every)]
            missing += [
                ".".join([root, *names])
                for root, names in dotted(line)
                if names[-1] not in {"py", "json"} and not is_there(ROOT / FOLDERS[root], names)
            ]
            gone += [f"{path}:{number}: {name}" for name in missing]
    assert gone == []


def from_an_index(text: str) -> list[str]:
    """Lines of installation that ask an index for this package; with --from or --spec it is the name of the command."""
    return re.findall(r"install\b[^|`\n]*[ '\"]landmark-bundles\b", text)


def test_nobody_is_told_to_install_this_package_from_an_index_that_has_it_not():
    name = "landmark-bundles"
    assert from_an_index(f"pip install '{name}[plot]'") and from_an_index(f"uv tool install --torch-backend cpu {name}")
    assert not from_an_index(f"uvx --from . {name} --help, {name} is not installed, pip install .")
    paths = [path for path in tracked("*.py", "*.md", "*.ipynb", "*.yml", "*.cff") if not path.startswith("CHANGELOG")]
    found = {path: from_an_index((ROOT / path).read_text(encoding="utf-8")) for path in paths}
    assert {path: lines for path, lines in found.items() if lines} == {}


def test_packages_that_messages_name_are_dependencies_of_an_extra():
    """So that what a message tells to install is what the extra would bring."""
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    asked = set()
    for path in tracked("auto_config/*.py"):
        said = re.findall(r"install_(?:line|extra)\(['\"]([\w-]+)['\"]\)", (ROOT / path).read_text(encoding="utf-8"))
        asked |= set(said)
    assert {"label", "matplotlib", "nilearn", "pandas", "submitit"} <= asked
    known = {
        *re.findall(r'^    "([A-Za-z0-9-]+)', project, re.MULTILINE),
        *re.findall(r"^([\w-]+) = \[", project, re.MULTILINE),
    }
    assert asked - known - {"jsonschema"} == set()  # which only `verify --schema` takes
