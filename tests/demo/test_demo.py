"""What `demo` refuses before it starts to work."""

from pathlib import Path

import pytest

from auto_config import demo
from auto_config.errors import UserError


def test_a_folder_with_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(UserError, match="not an empty folder"):
        demo.demo(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    with pytest.raises(UserError, match="not an empty folder"):
        demo.demo(path)


@pytest.mark.parametrize(("options", "message"), [({"cases": 9}, "--cases is 9"), ({"minutes": 0}, "--minutes is 0")])
def test_too_small_numbers_are_refused(options: dict[str, int], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        demo.demo(tmp_path / "new", **options)
    assert not (tmp_path / "new").exists()


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(demo.importlib.util, "find_spec", lambda package: None)
    with pytest.raises(UserError, match=r"pip install 'landmark-bundles\[demo\]'"):
        demo.demo(tmp_path / "new")
