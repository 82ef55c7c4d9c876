"""The environment of the annotation server; where MONAI Label is not installed, this says why tests are missing."""

import importlib.util
from importlib.metadata import version
from pathlib import Path

import pytest

pytest.importorskip("monailabel", reason="the app's tests need MONAI Label (extra 'label'); see make test-label")
tomllib = pytest.importorskip("tomllib", reason="reads pyproject.toml, from Python 3.11 on")


def test_what_is_installed_is_what_the_extra_asks_for():
    from packaging.requirements import Requirement

    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))
    asked = [Requirement(line) for line in project["project"]["optional-dependencies"]["label"]]
    assert {one.name for one in asked} >= {"monailabel", "numpy", "pydicom", "highdicom"}
    for one in asked:
        if one.marker is None or one.marker.evaluate():
            assert one.specifier.contains(version(one.name)), one
        assert not one.marker or not one.marker.evaluate({"python_version": "3.13"})


def test_the_parts_of_the_app_are_imported_under_one_name():
    """MONAI Label forgets modules named `lib`; a class that exists twice is not itself."""
    assert importlib.util.find_spec("landmark_app.lib.core.errors") is not None
    folder = Path(importlib.util.find_spec("landmark_app").origin).parent
    for path in folder.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert "from lib" not in text, path
        assert "import lib" not in text, path


def test_the_app_is_loaded_again_with_the_same_classes(monkeypatch):
    """As MONAI Label does at `/admin/reload`: it runs main.py anew, and forgets the modules named `lib` before."""
    import sys

    from landmark_app.lib.core.errors import ClientError
    from monailabel.utils.others.class_utils import get_class_of_subclass_from_file

    main = Path(importlib.util.find_spec("landmark_app").origin).parent / "main.py"
    before = {name: module for name, module in sys.modules.items() if name.startswith("landmark_app.lib")}
    first = get_class_of_subclass_from_file("main", str(main), "MONAILabelApp")
    second = get_class_of_subclass_from_file("main", str(main), "MONAILabelApp")
    assert first is not second
    assert first.__name__ == second.__name__ == "LandmarkApp"
    for loaded in (first, second):
        assert sys.modules[loaded.init_batch_infer.__globals__["LandmarkBatch"].__module__].ClientError is ClientError
    assert {name: sys.modules[name] for name in before} == before
    assert not [name for name in sys.modules if name == "lib" or name.startswith("lib.")]
