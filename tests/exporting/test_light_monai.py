"""MONAI with its imports put off: parts are found by whole names, in processes of their own."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from auto_config.bundle import light_monai
from auto_config.bundle import opened as opened_bundles
from auto_config.bundle.light_monai import exported_names, full_targets, install, is_light
from auto_config.cli import main
from auto_config.errors import UserError

READY = Path(__file__).parents[2] / "bundles" / "brain_mri_afids32_demo"


def test_names_of_imports_of_a_packages_own_modules():
    source = (
        "from __future__ import annotations\nimport os\nfrom .a import B, C as D\nfrom .e.f import G\nfrom x import Y\n"
        "from pack.m.n import O\nfrom package.q import R\nfrom pack import S\n"
    )
    relative = {"B": ("a", "B"), "D": ("a", "C"), "G": ("e.f", "G")}
    assert exported_names(source, "pack") == {**relative, "O": ("m.n", "O")}
    assert exported_names(source, "other") == relative


def test_nothing_is_put_off_where_monai_is_imported():
    import monai

    before = dict(vars(monai))
    assert not install()
    assert not is_light()
    assert vars(monai).keys() == before.keys()


def test_short_names_become_whole_ones_and_others_stay():
    import monai.transforms  # noqa: F401

    config = {"a": [{"_target_": "Compose", "transforms": [{"_target_": "scripts.grid.transforms.LowPassd"}]}]}
    config |= {"b": {"_target_": "DynUNet"}, "c": {"_target_": "$torch.nn.ReLU"}, "d": 3}
    assert full_targets(config) == {
        "a": [
            {
                "_target_": "monai.transforms.Compose",
                "transforms": [{"_target_": "scripts.grid.transforms.LowPassd"}],
            }
        ],
        "b": {"_target_": "monai.networks.nets.DynUNet"},
        "c": {"_target_": "$torch.nn.ReLU"},
        "d": 3,
    }
    with pytest.raises(KeyError, match="NoSuchThing"):
        full_targets({"_target_": "NoSuchThing"})


NOT_IMPORTED = (
    "IPython",
    "ignite.handlers",
    "itk",
    "matplotlib",
    "mlflow",
    "monai.bundle.scripts",
    "monai.data.image_writer",
    "monai.losses",
    "monai.visualize.utils",
    "onnx",
    "pandas",
    "requests",
    "scipy.optimize",
    "scipy.signal",
    "scipy.stats",
    "sympy",
    "tensorboard",
    "torch.distributed.tensor",
    "torch.onnx.utils",
    "torchvision",
)
"""What a prediction needs nothing of, each with what it imports in turn."""
FOUND = "landmark", "x", "y", "z", "confidence", "present"


def in_a_process(program, *words):
    line = [sys.executable, "-c", program, *map(str, words)]
    done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_a_prediction_imports_what_it_needs_and_gives_the_points_of_all_of_monai(two_stages, cases, tmp_path):
    program = """
import json, sys
from auto_config.cli import main
status = main()
monai = [name for name in sys.modules if name.split(".")[0] == "monai"]
print(json.dumps([status, len(monai), sorted(sys.modules)]))
"""
    words = "predict", two_stages, cases / "odd.nii.gz"
    status, count, imported = in_a_process(program, *words, tmp_path / "light", "--device", "cpu")
    assert (status, set(NOT_IMPORTED) & set(imported)) == (0, set())
    assert count < 120
    assert main([*map(str, words), str(tmp_path / "whole"), "--device", "cpu"]) == 0
    light, whole = (read_rows(tmp_path / name / "predictions.csv") for name in ("light", "whole"))
    assert len(whole) > 1
    assert [row["landmark"] for row in light] == [row["landmark"] for row in whole]
    numbers = [[[float(row[key]) for key in FOUND[1:] if row.get(key)] for row in rows] for rows in (light, whole)]
    np.testing.assert_allclose(*numbers, atol=1e-4)


def read_rows(path):
    return list(csv.DictReader(path.open(encoding="utf-8", newline="")))


def test_a_bundle_opens_with_few_modules_and_is_the_same():
    program = f"""
import json, sys
from auto_config.bundle import light_monai
assert light_monai.install()
from auto_config.bundle.opened import open_bundle
opened = open_bundle({str(READY)!r}, device="cpu")
import monai
from monai.utils import optional_import
losses = "monai.losses" in sys.modules
pandas, there = optional_import("pandas")
hilbert, signal = optional_import("scipy.signal", name="hilbert")
frame, _ = optional_import("pandas", name="DataFrame")
asked = "pandas" in sys.modules, "scipy.signal" in sys.modules
class Table(frame): pass
print(json.dumps([
    type(opened.network.stages["fine"]).__module__, type(opened.inferer.window).__name__, losses,
    monai.losses.DiceLoss.__name__, monai.networks.nets.UNet.__name__, hasattr(monai, "_no_such_thing"),
    there, signal, asked, pandas.Series([1, 2]).sum().item(), float(abs(hilbert([1.0, 0.0])[0])),
    [isinstance(Table(), frame), isinstance(3, frame), issubclass(Table, frame)],
    optional_import("no_such_package")[1], light_monai.puts_off(),
]))
"""
    network, window, losses, loss, unet, odd, *later, missing, still = in_a_process(program)
    assert (network, window) == ("monai.networks.nets.dynunet", "SlidingWindowInferer")
    assert (losses, loss, unet, odd) == (False, "DiceLoss", "UNet", False)
    assert later == [True, True, [False, False], 3, 1.0, [True, False, True]]
    assert (missing, still) == (False, True)


def test_a_name_that_no_package_exports_is_looked_for_in_all_modules():
    program = """
import json
from auto_config.bundle import light_monai
assert light_monai.install()
import monai.networks.blocks as blocks
def import_all():
    blocks.Added = 3
    return True
light_monai.import_all = import_all
found = blocks.Added
print(json.dumps([found, hasattr(blocks, "_added"), hasattr(blocks, "Other")]))
"""
    assert in_a_process(program) == [3, False, False]


def test_metatensors_go_to_other_processes_as_ever():
    program = """
import json
from auto_config.bundle import light_monai
assert light_monai.install()
from multiprocessing.reduction import ForkingPickler
from monai.data import MetaTensor
print(json.dumps(ForkingPickler._extra_reducers[MetaTensor].__name__))
"""
    assert in_a_process(program) == "reduce_meta_tensor"


def test_a_bundle_that_does_not_open_is_tried_again_with_all_of_monai(monkeypatch):
    tried, imported = [], []

    def opened(root, *_):
        tried.append(root)
        if not imported:
            raise RuntimeError("no such part")
        return "open"

    monkeypatch.setattr(opened_bundles, "_open", opened)
    monkeypatch.setattr(light_monai, "import_all", lambda: imported.append(1) or True)
    assert opened_bundles.open_bundle(READY) == "open"
    assert tried == [READY, READY]
    imported.clear()
    monkeypatch.setattr(light_monai, "import_all", lambda: False)
    with pytest.raises(RuntimeError, match="no such part"):
        opened_bundles.open_bundle(READY)


def test_wrong_input_is_said_at_once(monkeypatch, tmp_path):
    monkeypatch.setattr(light_monai, "import_all", lambda: pytest.fail("imports everything"))
    with pytest.raises(UserError, match="is no bundle"):
        opened_bundles.open_bundle(tmp_path)


def test_nothing_is_put_off_of_a_package_that_looks_otherwise(monkeypatch):
    monkeypatch.setattr(light_monai, "_put_off_all", lambda *_: 1 / 0)
    before = set(sys.modules)
    assert not install()
    assert set(sys.modules) == before
