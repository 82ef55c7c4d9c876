"""Networks as the configs write them: shapes, bias, keys, dictionary and tensor."""

import json

import numpy as np
import pytest
import torch
from analytic_blobs import plan_of
from monai.bundle import ConfigParser
from torch import nn

from auto_config.bundle.parts import network_def
from auto_config.bundle_scripts.methods.ensemble import EnsembleNetwork
from auto_config.bundle_scripts.methods.stages import LandmarkNetwork, residual_encoder_unet

RESIDUAL_LAYER = {"fine": "decoder.seg_layers.0"}


def tiny(dims, stages, landmarks=2, method="default"):
    plan = plan_of(dims=dims, stages=stages, landmarks=landmarks, method=method, patch_size=(16,) * dims)
    text = json.dumps(network_def(plan, landmarks)).replace('"scripts.', '"auto_config.bundle_scripts.')
    return ConfigParser({"network": json.loads(text)}).get_parsed_content("network")


def residual(dims, landmarks, filters=(4, 8)):
    return residual_encoder_unet(
        spatial_dims=dims,
        in_channels=1,
        out_channels=landmarks,
        filters=filters,
        strides=[[1] * dims, [2] * dims],
        kernel_size=[[3] * dims] * 2,
        blocks=[1, 1],
    )


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("stages", [1, 2])
def test_every_stage_gives_one_map_for_each_landmark_at_the_size_of_the_patch(dims, stages):
    network = tiny(dims, stages).eval()
    image = torch.randn((2, 1, *[16] * dims), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        one = network(image)
        each = network(dict.fromkeys(network.stages, image))
    assert list(each) == ["coarse", "fine"][-stages:]
    assert all(list(x) == ["logits"] and x["logits"].shape == (2, 2, *[16] * dims) for x in each.values())
    torch.testing.assert_close(one, each["fine"]["logits"])
    # Empty heatmaps at the start: the bias of -4 of method default.
    assert all(float(x["logits"].median()) < -2 for x in each.values())


@pytest.mark.parametrize("dims", [2, 3])
def test_residual_networks_too(dims):
    network = LandmarkNetwork(
        {"fine": residual(dims, 3)}, 3, dims, output_bias=-4.0, output_layers=RESIDUAL_LAYER
    ).eval()
    with torch.inference_mode():
        logits = network(torch.zeros((1, 1, *[16] * dims)))
    assert logits.shape == (1, 3, *[16] * dims)


@pytest.mark.parametrize("dims", [2, 3])
def test_residual_networks_start_as_nnunet_starts_them(dims):
    """He's spread, biases 0, and each residual block starts as its shortcut."""
    torch.manual_seed(0)
    network = residual(dims, 3, filters=(16, 32))
    convolutions = (nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.ConvTranspose3d)
    spreads = []
    for module in network.modules():
        if not isinstance(module, convolutions):
            continue
        assert module.bias is None or not module.bias.any()
        fan_in = module.weight.shape[1] * module.weight[0, 0].numel()
        if module.weight.numel() > 2000:
            spreads.append(float(module.weight.detach().std()) * (fan_in * (1 + 0.01**2) / 2) ** 0.5)
    assert len(spreads) >= 4
    np.testing.assert_allclose(spreads, 1.0, atol=0.05)
    last = [module for name, module in network.named_modules() if name.endswith("conv2.norm")]
    assert len(last) == 2
    assert all((norm.weight == 0).all() and (norm.bias == 0).all() for norm in last)


def biases_at(network, value):
    return [
        name
        for name, p in network.named_parameters()
        if name.endswith("bias") and p.numel() and bool((p == value).all())
    ]


@pytest.mark.parametrize("landmarks", [3, 4, 8])
def test_the_bias_is_set_in_the_output_layer_only_even_if_features_are_as_many_as_landmarks(landmarks):
    network = LandmarkNetwork(
        {"fine": residual(3, landmarks)}, landmarks, 3, output_bias=-4.0, output_layers=RESIDUAL_LAYER
    )
    assert len(biases_at(network, -4.0)) == 1
    before = LandmarkNetwork({"fine": residual(3, landmarks)}, landmarks, 3)
    assert not biases_at(before, -4.0)
    network.eval()
    with torch.inference_mode():
        low = network(torch.ones(1, 1, 8, 8, 8))
        for p in [dict(network.named_parameters())[biases_at(network, -4.0)[0]]]:
            p.fill_(6.0)
        high = network(torch.ones(1, 1, 8, 8, 8))
    # The one bias moves the logits one to one: it is the last layer's.
    torch.testing.assert_close(high - low, torch.full_like(low, 10.0))


@pytest.mark.parametrize("landmarks", [2, 16, 32])
def test_the_output_bias_of_dynunet(landmarks):
    network = tiny(3, 1, landmarks)
    (name,) = biases_at(network, -4.0)
    assert "output_block" in name


def test_method_nnlandmark_leaves_the_bias_alone():
    assert not biases_at(tiny(3, 1, method="nnlandmark"), -4.0)


def test_two_networks_from_one_config_have_the_same_keys_and_take_each_others_weights():
    one, other = tiny(3, 2), tiny(3, 2)
    assert list(one.state_dict()) == list(other.state_dict())
    other.load_state_dict(one.state_dict())
    image = torch.randn((1, 1, 16, 16, 16), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        torch.testing.assert_close(one.eval()(image), other.eval()(image))
    assert {"shape.mean", "shape.spread", "shape.cases"} <= set(one.state_dict())


def test_an_ensemble_is_called_as_its_members():
    members = [tiny(2, 2).eval(), tiny(2, 2).eval()]
    image = torch.randn((1, 1, 16, 16), generator=torch.Generator().manual_seed(0))
    both = EnsembleNetwork(members)
    with torch.inference_mode():
        torch.testing.assert_close(both(image), (members[0](image) + members[1](image)) / 2)
        torch.testing.assert_close(
            both({"coarse": image})["coarse"]["logits"],
            sum(one({"coarse": image})["coarse"]["logits"] for one in members) / 2,
        )
    assert both.shape is members[0].shape


def test_wrong_parts_are_refused():
    with pytest.raises(ValueError, match="at least one stage"):
        LandmarkNetwork({}, 2)
    with pytest.raises(ValueError, match="needs an output layer"):
        LandmarkNetwork({"fine": nn.Conv3d(1, 2, 1)}, 2, output_bias=-4.0)
    with pytest.raises(ValueError, match="no output layer 'last' with a bias"):
        LandmarkNetwork({"fine": nn.Conv3d(1, 2, 1)}, 5, output_bias=-4.0, output_layers={"fine": "last"})
