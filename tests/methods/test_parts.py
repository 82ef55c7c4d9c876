"""What a method may give that those of today do not: another network and other heads for each stage, no target."""

from dataclasses import replace

import pytest
import torch
from contract_parts import LANDMARKS, parsed, plan_of

from auto_config.bundle import configs
from auto_config.bundle.metadata import references
from auto_config.bundle.parts import network_def
from auto_config.methods import BACKBONES, METHODS, StageParts
from auto_config.methods.topology import Topology, round_up

STRIDE = 8


def _topology(spacing, patch_size):
    """Sizes in whole cells of a grid."""
    dims = len(spacing)
    size = tuple(round_up(edge, STRIDE) for edge in patch_size)
    return Topology(size, ((1,) * dims,), ((STRIDE,) * dims,), (STRIDE,) * dims)


def _grid(stage, dims, channels, outputs):
    """One convolution whose cells do not overlap."""
    name = f"torch.nn.Conv{dims}d"
    return {"_target_": name, "in_channels": channels, "out_channels": outputs, "kernel_size": 8, "stride": 8}


def _parts(plan, stage):
    """Votes on a coarse grid, then the heatmaps of the default method."""
    if stage["name"] == "fine":
        return METHODS["default"].parts(plan, stage)
    dims = plan.value("spatial_dims")
    heads = {"class": LANDMARKS, "offset": LANDMARKS * dims}
    return StageParts(
        network=BACKBONES["votes"].config(stage, dims, plan.value("channels"), sum(heads.values())),
        heads=heads,
        loss={"_target_": "torch.nn.Identity"},
        decoder={"_target_": "scripts.methods.decoders.ArgmaxDecoder"},
    )


@pytest.fixture
def votes(monkeypatch):
    """A method of two stages with a network of its own for each."""
    fine = replace(BACKBONES["tiny"].fine, name="votes_fine")
    own = replace(fine, name="votes", topology=_topology, describe=lambda _: {}, config=_grid, stride=STRIDE, fine=fine)
    monkeypatch.setitem(BACKBONES, "votes", own)
    method = replace(METHODS["default"], name="votes", backbone="votes", stages="two", parts=_parts)
    monkeypatch.setitem(METHODS, "votes", method)
    return method


@pytest.mark.parametrize("dims", [2, 3])
def test_each_stage_has_a_network_heads_and_sizes_of_its_own(votes, dims):
    plan = plan_of("votes", dims)
    coarse, fine = plan.value("stages")
    assert all(edge % STRIDE == 0 for edge in coarse["patch_size"])
    assert "filters" not in coarse
    assert len(fine["filters"]) == len(fine["strides"])
    written = network_def(plan, LANDMARKS)
    assert list(written["output_layers"]) == ["fine"]
    assert written["output_bias"] == -4.0
    network = parsed({"network": written}).get_parsed_content("network").eval()
    images = {stage["name"]: torch.zeros(2, 1, *stage["patch_size"]) for stage in (coarse, fine)}
    with torch.inference_mode():
        outputs = network(images)
    grid = [edge // STRIDE for edge in coarse["patch_size"]]
    assert {head: list(x.shape) for head, x in outputs["coarse"].items()} == {
        "class": [2, LANDMARKS, *grid],
        "offset": [2, LANDMARKS * dims, *grid],
    }
    assert list(outputs["fine"]) == ["logits"]
    assert list(outputs["fine"]["logits"].shape) == [2, LANDMARKS, *fine["patch_size"]]
    # The bias is that of the stage that has a layer for it.
    assert float(outputs["fine"]["logits"].median()) < -2
    assert float(outputs["coarse"]["class"].abs().max()) < 1


def test_a_stage_without_a_target_has_none_in_the_config(votes):
    config = configs.train_config(plan_of("votes", 3), LANDMARKS, "/nowhere", 0)
    assert {"target", "loss", "coarse_loss"} <= set(config)
    assert "coarse_target" not in config


def test_a_bundle_cites_its_method_and_its_network(votes, monkeypatch):
    monkeypatch.setitem(METHODS, "votes", replace(votes, citation="Voter, 2020"))
    assert references(plan_of("votes", 2)) == ["Voter, 2020", BACKBONES["votes"].citation]
    monkeypatch.setitem(METHODS, "votes", replace(votes, citation=BACKBONES["votes"].citation))
    assert references(plan_of("votes", 2)) == [BACKBONES["votes"].citation]


def test_stages_that_start_with_different_biases_are_refused(votes, monkeypatch):
    def parts(plan, stage):
        return replace(METHODS["default"].parts(plan, stage), output_bias={"coarse": -4.0, "fine": -2.0}[stage["name"]])

    monkeypatch.setitem(METHODS, "votes", replace(votes, parts=parts, backbone=None))
    with pytest.raises(ValueError, match="one output bias for all stages"):
        network_def(plan_of("votes", 3), LANDMARKS)
