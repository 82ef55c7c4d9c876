"""The fine stage serves every method: what finds points on a coarse grid is looked at again in crops."""

import json

import numpy as np
import pytest
import torch
from contract_parts import plan_of
from steps import narrow_bundle, points_of, two_steps, write_cases

from auto_config.methods import METHODS


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("method", METHODS)
def test_every_method_can_be_planned_in_two_stages(method, dims):
    plan = plan_of(method, dims, 2)
    coarse, fine = plan.value("stages")
    assert (coarse["name"], fine["name"]) == ("coarse", "fine")
    assert all(a > b for a, b in zip(coarse["spacing"][:2], fine["spacing"][:2], strict=True))
    assert plan.value("jitter_mm") > 0
    row = METHODS[method]
    made = {stage["name"]: row.parts(plan, stage) for stage in (coarse, fine)}
    assert list(made["coarse"].heads) == list(made["fine"].heads)
    # Each landmark has the same number of channels in each head, the first one's first, as crops need it.
    assert all(channels % plan.value("landmarks") == 0 for channels in made["fine"].heads.values())


ONE_STAGE = [name for name in METHODS if len(plan_of(name, 2).value("stages")) == 1]


@pytest.mark.parametrize("method", ONE_STAGE)
def test_methods_of_one_stage_train_and_predict_in_two(method, tmp_path):
    data = write_cases(tmp_path / "data", 2)
    own = METHODS[method].backbone is not None
    small = {"patch_size": None, "network": None} if own else {}
    root = narrow_bundle(data, tmp_path / "bundle", stages=2, dims=2, method=method, **small)
    train = json.loads((root / "configs/train.json").read_text(encoding="utf-8"))
    assert {"loss", "coarse_loss", "decoder", "coarse_decoder", "jitter_mm"} <= set(train)
    state = two_steps(root)
    assert all(torch.isfinite(x).all() for name, x in state.items() if x.is_floating_point() and "shape." not in name)
    assert {name.split(".")[1] for name in state if name.startswith("stages.")} == {"coarse", "fine"}
    found = points_of(root, sorted((data / "images").iterdir())[0])
    assert np.isfinite(found).all()
