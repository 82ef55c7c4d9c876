"""A bundle carries the modules that its configs reach, and no others."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
from blobs import write_blobs

from auto_config.bundle.opened import _import_scripts
from auto_config.bundle.reached import SCRIPTS, reached_scripts
from auto_config.commands.create import create

pytestmark = pytest.mark.usefixtures("warm_python")

FILES = {
    "__init__.py": "",
    "unused.py": "",
    "a/__init__.py": "",
    "a/part.py": "from ..b import deep\nfrom .beside import NAME\n\n\nclass Part: ...\n",
    "a/beside.py": "def late():\n    from ..b.within import x\n",
    "a/unused.py": "from . import part\n",
    "b/__init__.py": "",
    "b/deep.py": "",
    "b/within.py": "x = 1\n",
}
REACHED = ["__init__.py", "a/__init__.py", "a/beside.py", "a/part.py", "b/__init__.py", "b/deep.py", "b/within.py"]


@pytest.fixture
def scripts(tmp_path):
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.mark.parametrize(
    "config",
    [
        {"x": [{"y": {"_target_": "scripts.a.part.Part"}}]},
        {"x": "$scripts.a.part.Part(1) + 2"},
        {"x": {"$": ["$[scripts.a.part.Part for _ in ()]"]}},
    ],
)
def test_targets_and_expressions_reach_what_they_name_and_what_it_imports(scripts, config):
    assert [path.as_posix() for path in reached_scripts([config], scripts)] == REACHED


@pytest.mark.parametrize("text", ["scripts.unused", "see scripts.a.part", "$myscripts.unused + 1", "$x.scripts.unused"])
def test_what_is_no_name_of_a_module_reaches_nothing(scripts, text):
    assert reached_scripts([{"description": text}], scripts) == []


def test_a_name_that_is_no_module_is_an_error(scripts):
    with pytest.raises(ValueError, match=r"a config names scripts\.c\.Part, which is no module there"):
        reached_scripts([{"_target_": "scripts.c.Part"}], scripts)
    (scripts / "b/deep.py").write_text("from ..c.gone import x\n")
    with pytest.raises(ValueError, match=r"b/deep\.py imports c\.gone\.x, which is no module there"):
        reached_scripts([{"_target_": "scripts.a.part.Part"}], scripts)


@pytest.fixture(scope="module")
def kinds(tmp_path_factory):
    """A bundle of one stage, and one of two."""
    folder = tmp_path_factory.mktemp("kinds")
    write_blobs(folder / "data")
    for stages in (1, 2):
        bundle = folder / f"stages_{stages}"
        assert (
            create(
                folder / "data",
                bundle,
                network="tiny",
                stages=stages,
                patch_size=[16, 16, 16],
                workers=1,
                few_labels=False,
            )
            == 0
        )
    return folder


def carried(bundle: Path) -> set[str]:
    return {path.relative_to(bundle / "scripts").as_posix() for path in (bundle / "scripts").rglob("*.py")}


def test_what_a_kind_of_bundle_does_not_use_is_absent(kinds):
    everything = {path.relative_to(SCRIPTS).as_posix() for path in SCRIPTS.rglob("*.py")}
    one, two = carried(kinds / "stages_1"), carried(kinds / "stages_2")
    assert one | two < everything
    assert "inference/dense.py" in one - two
    assert "inference/coarse_to_fine.py" in two - one
    # No landmark has several instances, and no weights were given.
    absent = {"methods/instances.py", "training/run/instance_thresholds.py", "training/pretrained.py"}
    assert absent.isdisjoint(one | two)


@pytest.mark.parametrize("kind", ["stages_1", "stages_2"])
def test_every_module_that_is_carried_imports_in_a_process_without_the_tool(kinds, kind):
    names = [name[:-3].replace("/", ".").removesuffix("__init__").strip(".") for name in carried(kinds / kind)]
    code = (
        "import importlib, json, sys; sys.path.insert(0, sys.argv[1]); sys.modules['auto_config'] = None\n"
        "for name in json.loads(sys.argv[2]): importlib.import_module('.'.join(filter(None, ('scripts', name))))"
    )
    subprocess.run([sys.executable, "-c", code, kinds / kind, json.dumps(sorted(names))], check=True, cwd="/")


def test_every_target_of_the_configs_is_carried(kinds):
    for kind in ("stages_1", "stages_2"):
        configs = [json.loads(path.read_text()) for path in sorted((kinds / kind / "configs").glob("*.json"))]
        assert {path.as_posix() for path in reached_scripts(configs, kinds / kind / "scripts")} == carried(kinds / kind)


def test_bundles_of_two_kinds_keep_their_own_code_in_one_process(kinds):
    one, two = (_import_scripts(kinds / kind / "scripts") for kind in ("stages_1", "stages_2"))
    assert one != two
    importlib.import_module(f"{one}.inference.dense")
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module(f"{two}.inference.dense")
