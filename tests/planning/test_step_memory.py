"""A training step of the published plans, on tensors without storage: the planned memory holds it."""

import json

import pytest
import torch
from monai.bundle import ConfigParser
from peak_memory import PeakMemory
from torch._subclasses.fake_tensor import FakeTensorMode

from auto_config.bundle_scripts.methods.losses import _TopKBCE
from auto_config.methods import BACKBONES, METHODS
from auto_config.methods.unets import UNETS
from auto_config.planning.stock import step_gb

LANDMARKS, BATCH = 32, 2


def step_of(name, topology):
    """GB that a step of method nnlandmark in bfloat16 holds: tensors, weights and momentum."""
    stage = {"patch_size": list(topology.patch_size), **BACKBONES[name].describe(topology)}
    config = json.dumps(BACKBONES[name].config(stage, 3, 1, LANDMARKS))
    with FakeTensorMode():
        config = json.loads(config.replace('"scripts.', '"auto_config.bundle_scripts.'))
        network = ConfigParser({"network": config}).get_parsed_content("network")
        image = torch.empty(BATCH, 1, *topology.patch_size)
        with PeakMemory() as memory:
            with torch.autocast("cpu", dtype=torch.bfloat16):
                output = network(image)
            logits = output.float().flatten(0, 1).flatten(1)
            heatmap = torch.empty_like(logits)
            _TopKBCE.apply(logits, heatmap, round(0.2 * logits.shape[1])).backward()
    return (memory.peak + 8 * sum(weight.numel() for weight in network.parameters())) / 1e9


@pytest.mark.parametrize("name", ["plain", "resenc_m"])
def test_the_memory_of_a_step_is_what_is_planned_for_it_with_a_reserve(name):
    topology = UNETS[name].topology([1.0] * 3, [128] * 3)
    planned = BATCH * step_gb(UNETS[name], topology, LANDMARKS, METHODS["nnlandmark"].loss_bytes_per_voxel)
    assert 0.6 * planned < step_of(name, topology) < 0.95 * planned
    assert planned < 11
