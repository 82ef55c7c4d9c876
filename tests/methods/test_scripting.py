"""The network of a written bundle becomes TorchScript by scripting, as the model zoo exports it."""

import pytest
import torch

from auto_config.bundle_scripts.methods.interfaces import LOGITS
from auto_config.bundle_scripts.methods.stages import LandmarkNetwork


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("stages", [("fine",), ("coarse", "fine")])
def test_a_scripted_network_gives_the_first_head_of_the_last_stage(dims, stages):
    torch.manual_seed(dims)
    layer = (torch.nn.Conv2d, torch.nn.Conv3d)[dims - 2]
    heads = {LOGITS: 3, "offset": 2}
    network = LandmarkNetwork(
        {name: layer(1, 5, 3, padding=1) for name in stages}, 3, dims, heads=dict.fromkeys(stages, heads)
    ).eval()
    image = torch.randn(2, 1, *(8,) * dims)
    scripted = torch.jit.script(network)(image)
    outputs = network(dict.fromkeys(stages, image))
    torch.testing.assert_close(scripted, network(image))
    torch.testing.assert_close(scripted, outputs["fine"][LOGITS])
    assert {name: value.shape[1] for name, value in outputs["fine"].items()} == heads
