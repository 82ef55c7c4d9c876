"""Which room may import which: the table of docs/ARCHITECTURE.md holds for every import of the package and the app."""

import ast
import re
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FREE = {"choices", "errors", "wording", "__init__"}  # words, errors and the version: light, imported by all
PACKAGES = {"auto_config": ROOT / "auto_config", "landmark_app": ROOT / "apps" / "landmark_app"}


def table() -> dict[str, set[str]]:
    """Rooms of the page, each with those that it may import."""
    page = (ROOT / "docs" / "ARCHITECTURE.md").read_text(encoding="utf-8")
    rows = page.partition("## Who may import whom")[2].partition("\n## ")[0].splitlines()
    rows = [row for row in rows if row.startswith("| `")]
    return {row.split("|")[1].strip(" `"): set(re.findall(r"`([\w.]+)`", row.split("|")[2])) for row in rows}


def module_names() -> dict[str, Path]:
    """Every module by its dotted name; one of `auto_config` without that prefix."""
    found = {}
    for package, folder in PACKAGES.items():
        for path in sorted(folder.rglob("*.py")):
            parts = [package, *path.relative_to(folder).with_suffix("").parts]
            name = ".".join(parts).removesuffix(".__init__")
            found[name.removeprefix("auto_config.").replace("auto_config", "__init__")] = path
    return found


def imported(name: str, path: Path, modules: dict[str, Path]) -> set[str]:
    """The modules of this repository that a module imports anywhere in its file."""
    full = name if name.startswith("landmark_app") else f"auto_config.{name}".removesuffix(".__init__")
    package = full.split(".") if path.name == "__init__.py" else full.split(".")[:-1]
    found = set()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    if name == "__init__":  # it hands names on when they are asked for, and tells type checkers where they come from
        tree.body = [node for node in tree.body if ast.unparse(node).partition("\n")[0] != "if TYPE_CHECKING:"]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            source = ".".join(filter(None, (base, node.module)))
            targets = [f"{source}.{alias.name}" for alias in node.names]
        else:
            continue
        for target in targets:
            if target.split(".")[0] in PACKAGES:
                short = target.removeprefix("auto_config.").replace("auto_config", "__init__")
                # A name that is no module is one of its module.
                found.add(short if short in modules else short.rpartition(".")[0] or "__init__")
    return found


def room(module: str, rooms: dict[str, set[str]]) -> str | None:
    """The smallest room of the table that a module lies in."""
    parts = module.split(".")
    names = [".".join(parts[:end]) for end in range(len(parts), 0, -1)]
    return next((name for name in names if name in rooms), None)


def inside(name: str, other: str) -> bool:
    """Whether a room is another one, or a part of it."""
    return name == other or name.startswith(f"{other}.")


ROOMS = table()
MODULES = module_names()
IMPORTS = {module: imported(module, path, MODULES) for module, path in MODULES.items()}


def arrows(name: str) -> dict[str, set[str]]:
    """Rooms that a room imports, each with the imports that say so."""
    found: dict[str, set[str]] = {}
    for module, targets in IMPORTS.items():
        if room(module, ROOMS) == name:
            for target in targets:
                other = room(target, ROOMS)
                if target not in FREE and other != name:
                    found.setdefault(str(other), set()).add(f"{MODULES[module].relative_to(ROOT)} imports {target}")
    return found


def test_every_module_is_in_a_room():
    homeless = [name for name in MODULES if room(name, ROOMS) is None and name not in {*FREE, "__main__"}]
    assert not homeless, f"docs/ARCHITECTURE.md has no row for {homeless}"


@pytest.mark.parametrize("name", ROOMS)
def test_a_room_imports_only_what_the_page_says(name):
    allowed = ROOMS[name]
    wrong = [
        line
        for other, lines in arrows(name).items()
        if not any(inside(other, one) for one in allowed)
        for line in sorted(lines)
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("name", ROOMS)
def test_the_page_allows_nothing_that_no_one_does(name):
    used = arrows(name)
    idle = [one for one in ROOMS[name] if not any(inside(other, one) for other in used)]
    assert not idle, f"{name} imports nothing of {idle}: take it out of docs/ARCHITECTURE.md"


@pytest.mark.parametrize("name", sorted(FREE))
def test_what_all_import_imports_nothing(name):
    assert not IMPORTS[name]


def test_nothing_points_back():
    """The rooms can be put into an order; `graphlib` raises CycleError with the circle."""
    TopologicalSorter({name: arrows(name).keys() for name in ROOMS}).prepare()


@pytest.mark.parametrize("word", ["monailabel", "landmark_app"])
def test_the_core_imports_no_server(word):
    for path in PACKAGES["auto_config"].rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
        names += [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and not node.level]
        assert not [name for name in names if name.split(".")[0] == word], path
