"""A person can overlook every folder and every file: at most 16 files in a folder, at most 400 lines in a file."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MOST_FILES, MOST_LINES = 16, 400
PARTS = ("auto_config", "apps", "tests", "benchmarks", "plugins")
FILES = sorted(path for part in PARTS for path in (ROOT / part).rglob("*.py") if "__pycache__" not in path.parts)
FOLDERS = sorted({path.parent.relative_to(ROOT).as_posix() for path in FILES})
# Still being rearranged; take a folder out as soon as it is.
UNFINISHED: tuple[str, ...] = ()


@pytest.mark.parametrize("folder", [folder for folder in FOLDERS if folder not in UNFINISHED])
def test_a_folder_has_few_files(folder):
    names = [path.name for path in FILES if path.parent == ROOT / folder]
    assert len(names) <= MOST_FILES, f"{folder} has {len(names)} files; put some into folders of their own"


@pytest.mark.parametrize("part", PARTS)
def test_a_file_is_short(part):
    long = {}
    for path in FILES:
        name = path.relative_to(ROOT).as_posix()
        lines = len(path.read_text(encoding="utf-8").splitlines())
        if name.split("/")[0] == part and lines > MOST_LINES and not name.startswith(UNFINISHED):
            long[name] = lines
    assert not long, f"longer than {MOST_LINES} lines: {long}"


def test_tests_mirror_the_house():
    """Each folder of tests is called after a room, or is one of those that several rooms share."""
    shared = {"apps", "clients", "device", "docs", "plugins", "structure", "support"}
    rooms = {path.name for path in (ROOT / "auto_config").iterdir() if path.is_dir()}
    folders = {path.name for path in (ROOT / "tests").iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert folders <= rooms | shared, folders - rooms - shared


def test_tests_have_names_of_their_own():
    """pytest takes files of one name in two folders for one module."""
    names = [path.name for path in FILES if path.name.startswith("test_") and path.is_relative_to(ROOT / "tests")]
    assert sorted(names) == sorted(set(names))


@pytest.mark.parametrize("name", UNFINISHED)
def test_no_exception_is_needless(name):
    files = [path for path in FILES if path.is_relative_to(ROOT / name)]
    many = len([path for path in files if path.parent == ROOT / name]) > MOST_FILES
    long = any(len(path.read_text(encoding="utf-8").splitlines()) > MOST_LINES for path in files)
    assert many or long, f"{name} is in order; take it out of UNFINISHED"
