"""Which bundles `pipeline.json` has words for, and why others have none."""

import json
import re
import shutil
from pathlib import Path

import pytest
from contract_parts import LANDMARKS, NAMES, plan_of

from auto_config.bundle import configs
from auto_config.exporting.pipeline import describe
from auto_config.methods import METHODS

PAGE = Path(__file__).parents[2] / "docs" / "exports.md"


@pytest.fixture
def root(tmp_path):
    """The files of a bundle that are read."""
    (tmp_path / "configs").mkdir()
    shutil.copy(NAMES, tmp_path / "configs" / "landmarks.json")
    (tmp_path / "configs" / "metadata.json").write_text(json.dumps({"name": "blobs", "version": "0.1.0"}))
    return tmp_path


def written(method, dims=3, stages=None):
    """``inference.json`` and the files of each stage."""
    plan = plan_of(method, dims, stages)
    files = {stage["name"]: [f"{stage['name']}.onnx"] for stage in plan.value("stages")}
    return configs.inference_config(plan, LANDMARKS), files


def test_the_page_lists_the_methods_that_are_described(root):
    described = [name for name in METHODS if isinstance(describe(root, *written(name)), dict)]
    line = re.search(r"methods these are: (.*?)\. For", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert re.findall(r"`(\w+)`", line.group(1)) == described
    assert {"default", "nnlandmark"} <= set(described) < set(METHODS)


@pytest.mark.parametrize("stages", [1, 2])
def test_numbers_are_those_of_the_config(root, stages):
    config, files = written("default", stages=stages)
    content = describe(root, config, files)
    assert content["landmarks"] == [item["name"] for item in json.loads(NAMES.read_text())["landmarks"]]
    assert content["mirror"] == [1, 0, 2]
    assert [stage["name"] for stage in content["stages"]] == ["coarse", "fine"][2 - stages :]
    assert content["stages"][-1]["patch_size"] == config["patch_size"]
    assert ("reach_mm" in content) == (stages == 2)
    assert content["stages"][0]["decoder"] == {
        "link": "softmax",
        "sharpness": 1.0,
        "window": 1.5,
        "radius": 5,
        "rounds": 12,
    }


REASONS = {
    "pictures": lambda config: config.update(spacing=[1.0, 1.0]),
    "several instances": lambda config: config.update(instances={}),
    "more than one heatmap": lambda config: config["network_def"].update(heads={"fine": {"logits": 3, "offset": 9}}),
    "the decoder of the fine stage": lambda config: config["decoder"].update(_target_="scripts.mine.Decoder"),
    "its decoder has colour": lambda config: config["decoder"].update(colour="red"),
    "cells of several voxels": lambda config: config["window"].update(_target_="scripts.mine.Window"),
    "an inferer of its own": lambda config: config["inferer"].update(_target_="scripts.mine.Inferer"),
    "in any pose": lambda config: config["inferer"].update(pose={"kind": "free"}),
    "a preprocessing of its own": lambda config: config["preprocessing"]["transforms"].pop(),
    "orientation": lambda config: config["preprocessing"]["transforms"][1].update(axcodes="LPS"),
    "and no number": lambda config: config.update(overlap="$0.5"),
    "crop_sharing of inference.json": lambda config: config["inferer"].update(crop_sharing="$3 / 16"),
}


@pytest.mark.parametrize("reason", REASONS)
def test_what_it_has_no_words_for_is_said(root, reason):
    config, files = written("default", stages=2)
    REASONS[reason](config)
    assert reason in describe(root, config, files)
