"""`benchmarks/fidelity/ablations.py`: each row exchanges the part that its name says, in a bundle of `create`."""

import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from blobs import write_blobs
from PIL import Image

from auto_config.commands.create import create

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def imported(name):
    """A script of `benchmarks/`, as its own folder and that of `fidelity` know it."""
    path = list(sys.path)
    sys.path[:0] = [str(BENCHMARKS), str(BENCHMARKS / "fidelity")]
    try:
        return importlib.import_module(name)
    finally:
        sys.path[:] = path


ABLATIONS, CHANGE = imported("ablations").ABLATIONS, imported("accuracy").change
ROWS = [(name, row) for name, ablation in ABLATIONS.items() for row in ablation.rows]


@pytest.fixture(scope="module")
def heads(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ablations") / "heads"
    write_blobs(folder)
    return folder


@pytest.fixture(scope="module")
def made(heads):
    """Loss and target of each row, as train.json has them."""
    written = {}
    for number, (name, row) in enumerate(ROWS):
        bundle = heads.parent / f"bundle_{number}"
        loss = dict(zip(row.create[::2], row.create[1::2], strict=True)).get("--loss")
        assert create(heads, bundle, method=ABLATIONS[name].method, loss=loss, workers=1) == 0
        config = bundle / "configs" / "train.json"
        CHANGE(config, [f"{key}={json.dumps(value)}" for key, value in row.values.items()])
        whole = json.loads(config.read_text(encoding="utf-8"))
        written[name, row.name] = {"loss": whole["loss"], "target": whole.get("target")}
    return written


def test_rows_of_nnlandmark_change_one_part_each(made):
    first = made["nnlandmark", "radius 15, top 20 %"]
    assert (first["target"]["radius"], first["loss"]["fraction"]) == ([15.0, 15.0, 15.0], 0.2)
    for radius in (7, 23):
        changed = made["nnlandmark", f"radius {radius}"]
        assert changed == {**first, "target": {**first["target"], "radius": [radius] * 3}}
    for percent in (10, 100):
        changed = made["nnlandmark", f"top {percent} %"]
        assert changed == {**first, "loss": {**first["loss"], "fraction": percent / 100}}
    squared = made["nnlandmark", "squared error"]
    assert squared["target"] == first["target"] and squared["loss"]["_target_"] != first["loss"]["_target_"]


def test_rows_of_noothout_are_its_five_losses(made):
    terms = {name: parts["loss"] for (ablation, name), parts in made.items() if ablation == "noothout"}
    weighed = terms.pop("log R + C, cells weighed 100 times")
    whole = {"cells": True, "vectors": True, "logarithms": True}
    found = {name: {key: loss.get(key, value) for key, value in whole.items()} for name, loss in terms.items()}
    assert found.pop("C")["vectors"] is False
    assert found == {
        "log R + C": whole,
        "R + C": {**whole, "logarithms": False},
        "log R": {**whole, "cells": False},
        "R": {**whole, "cells": False, "logarithms": False},
    }
    assert [(one.get("cells", True), one.get("vectors", True)) for one in weighed["losses"]] == [
        *((True, False), (False, True)),
    ]
    assert weighed["weights"] == [100, 1]


def test_an_id_that_is_not_there_is_no_new_one(tmp_path):
    config = tmp_path / "train.json"
    config.write_text('{"loss": {"fraction": 0.2}}', encoding="utf-8")
    for wrong in ("loss#share=1", "lose#fraction=1"):
        with pytest.raises(KeyError):
            CHANGE(config, [wrong])
    assert json.loads(config.read_text(encoding="utf-8")) == {"loss": {"fraction": 0.2}}


def test_equalised_pictures_have_every_grey_value_alike(tmp_path):
    made = imported("equalised").equalise
    dark = np.arange(64, dtype=np.uint8).repeat(64).reshape(64, 64)  # 64 of 256 values, as often each
    (tmp_path / "plain").mkdir()
    Image.fromarray(dark).save(tmp_path / "plain" / "a.png", dpi=(254, 254))
    listed = {"training": [{"image": "a.png"}], "test": []}
    (tmp_path / "plain" / "datalist.json").write_text(json.dumps(listed), encoding="utf-8")
    made(tmp_path / "plain", tmp_path / "equal")
    with Image.open(tmp_path / "equal" / "a.png") as picture:
        values = np.asarray(picture)[:, 0].astype(int)
        assert picture.info["dpi"] == pytest.approx((254, 254), abs=0.1)
    steps = np.diff(values)
    assert values[0] == 0 and values[-1] == 255 and steps.min() >= 0  # the whole range, in the same order
    assert set(steps[values[1:] < 255]) == {4, 5}  # 256 values for 64
    Image.fromarray(dark.astype(np.uint16)).save(tmp_path / "plain" / "a.png")
    with pytest.raises(ValueError, match="not grey with 8 bits"):
        made(tmp_path / "plain", tmp_path / "again")
