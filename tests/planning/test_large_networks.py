"""What is planned for networks of 30 to 100 million parameters, and what memory costs them."""

import pytest
import torch
from contract_parts import LANDMARKS, plan_of
from monai.bundle import ConfigParser

from auto_config.bundle import configs
from auto_config.methods import BACKBONES, METHODS
from auto_config.planning.stages import Anatomy, plan_stages


def test_default_learns_slower_with_a_longer_warm_up_where_the_network_is_large():
    tiny, large = (plan_of("default", 3, 1, network=name) for name in ("tiny", "plain"))
    assert tiny.value("optimizer") == {"name": "AdamW", "lr": 2e-3, "weight_decay": 1e-2}
    assert tiny.value("schedule")["warmup_steps"] == 20
    assert (large.value("optimizer")["lr"], large.value("schedule")["warmup_steps"]) == (1e-3, 500)
    written = [configs.train_config(plan, LANDMARKS, "/nowhere", 0)["optimizer"] for plan in (tiny, large)]
    assert written[0]["params"] == "$@network.parameters()"
    assert all("decay_norms" not in optimizer for optimizer in written)
    network = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.InstanceNorm2d(2, affine=True))
    content = ConfigParser({"params": written[1]["params"], "network": network}).get_parsed_content("params")
    assert [[x.ndim for x in group["params"]] for group in content] == [[4], [1, 1, 1]]
    assert [group.get("weight_decay") for group in content] == [None, 0.0]


def brain(landmarks):
    return Anatomy((1.0,) * 3, (160, 190, 160), (165.0, 195.0, 165.0), landmarks, 100)


def test_a_level_that_memory_costs_is_said():
    _, reason = plan_stages(BACKBONES["plain"], METHODS["default"], brain(32), wanted=1)
    assert "nnU-Net's is 128x128x128" in reason and "not 6" in reason and "320 channels" in reason
    _, reason = plan_stages(BACKBONES["plain"], METHODS["default"], brain(3), wanted=1)
    assert "levels" not in reason


@pytest.mark.parametrize("landmarks", [8, 32, 120])
def test_crops_grow_with_memory_and_landmarks_and_too_few_are_said(landmarks):
    crops = []
    for memory in (8.0, 24.0, 80.0):
        stages, reason = plan_stages(
            BACKBONES["plain"], METHODS["default"], brain(landmarks), memory_gb=memory, wanted=2
        )
        crops.append(stages[1]["crops_per_image"])
        enough = crops[-1] >= min(-(-landmarks // 5), 16)
        assert ("are all that memory holds" in reason) != enough
    assert crops == sorted(crops)
    assert max(crops) <= max(16, -(-landmarks // 5))
