"""What a training sets of cuDNN: its fastest kernels, unless `deterministic` is set."""

import pytest
import torch
from analytic_blobs import plan_of
from monai.bundle import ConfigParser
from monai.utils import set_determinism

from auto_config.bundle.configs import multi_gpu_config, train_config


@pytest.fixture(autouse=True)
def _as_before():
    flags = torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
    yield
    set_determinism(None)
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = flags


@pytest.mark.parametrize("several", [False, True], ids=["one GPU", "several GPUs"])
@pytest.mark.parametrize("deterministic", [None, False, True])
def test_fast_kernels_unless_deterministic_ones_are_asked_for(several, deterministic):
    plan = plan_of(dims=3, landmarks=3, method="default", network="tiny", stages=1, patch_size=[32] * 3)
    config = train_config(plan, 3, "/data", 5)
    if several:
        config = {**config, **multi_gpu_config(plan)}
    if deterministic is not None:
        config["deterministic"] = deterministic
    kept = [line for line in config["initialize"] if "determinis" in line]
    parser = ConfigParser({key: config[key] for key in ("imports", "seed", "deterministic")} | {"initialize": kept})
    parser.get_parsed_content("initialize")
    assert torch.backends.cudnn.deterministic is bool(deterministic)
    assert torch.backends.cudnn.benchmark is not bool(deterministic)
    drawn = torch.rand(3)
    parser.get_parsed_content("initialize", instantiate=True)
    set_determinism(5)
    assert torch.equal(torch.rand(3), drawn)
