"""What the rooms of the app import of each other; only the text of the files is read."""

import ast
from pathlib import Path

import pytest

APP = Path(__file__).parents[2] / "apps/landmark_app"
LIB = APP / "lib"
# A room imports those before it that it names, so there is no circle.
ARROWS = {
    "core": set(),
    "geometry": {"core"},
    "labels": {"core", "geometry"},
    "dicom": {"geometry"},
    "store": {"core", "geometry", "labels", "dicom"},
    "tasks": {"core", "geometry", "labels", "store"},
    "choosing": {"core", "store"},
    "training": {"core", "geometry", "store", "tasks"},
    "server": {"core", "labels", "store", "tasks", "training"},
}


def rooms_imported(path: Path, room: str) -> set[str]:
    """The rooms that a file of a room imports, wherever it does."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {name.name.removeprefix("landmark_app.lib.") for name in node.names if "landmark_app" in name.name}
        if isinstance(node, ast.ImportFrom) and node.level == 0 and (node.module or "").startswith("landmark_app"):
            found.add((node.module or "").removeprefix("landmark_app.lib."))
        if isinstance(node, ast.ImportFrom) and node.level == 1 and node.module is None:
            found.add(room)
        if isinstance(node, ast.ImportFrom) and node.level >= 2:
            assert node.level == 2, f"{path}: imports from above lib"
            found |= {node.module} if node.module else {name.name for name in node.names}
    return {name.split(".")[0] for name in found} - {room}


def test_the_table_has_no_circle_and_names_every_room():
    rooms = list(ARROWS)
    assert {path.name for path in LIB.iterdir() if path.is_dir() and path.name != "__pycache__"} == set(rooms)
    for number, room in enumerate(rooms):
        assert ARROWS[room] <= set(rooms[:number]), room
    assert [path.name for path in LIB.glob("*.py")] == ["__init__.py"]


@pytest.mark.parametrize("room", ARROWS)
def test_a_room_imports_those_that_the_table_names_and_no_others(room):
    imported = {path.name: rooms_imported(path, room) for path in (LIB / room).glob("*.py")}
    for name, others in imported.items():
        assert others <= ARROWS[room], f"{room}/{name} imports {sorted(others - ARROWS[room])}"
    assert set().union(*imported.values()) == ARROWS[room], "an arrow that nothing needs"


def test_the_page_on_the_architecture_has_the_same_table():
    page = (Path(__file__).parents[2] / "docs/ARCHITECTURE.md").read_text(encoding="utf-8")
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in page.splitlines() if line.startswith("| `")]
    written = {row[0].strip("`"): set(filter(None, row[2].split(", "))) for row in rows if row[0].strip("`") in ARROWS}
    assert written == ARROWS


def test_the_process_that_reads_files_of_clients_imports_neither_torch_nor_monai_label():
    """It starts in a second, and its limit of memory is for the file."""
    import subprocess
    import sys

    program = "import sys, landmark_app.lib.labels.reading_worker; print({'torch', 'monailabel'} & set(sys.modules))"
    environment = {"PYTHONPATH": f"{APP.parent}:{APP.parents[1]}"}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.strip() == "set()"
