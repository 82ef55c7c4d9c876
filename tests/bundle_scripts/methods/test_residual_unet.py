"""Residual-encoder networks beside those of the package: weights, outputs, names, files."""

import copy
from pathlib import Path

import pytest
import torch
from dynamic_network_architectures.architectures.unet import ResidualEncoderUNet
from ignite.engine import Engine
from torch import nn
from toy_training import same

from auto_config.bundle_scripts.methods.stages import LandmarkNetwork, residual_encoder_unet
from auto_config.bundle_scripts.training.pretrained import LoadPretrained
from auto_config.bundle_scripts.training.run.resume_state import restore_training_state

FILTERS, BLOCKS, LANDMARKS = [4, 6, 8], [1, 2, 1], 3
OUTPUT = "decoder.seg_layers.1"


def strides(dims):
    return [[1] * dims, [2] * dims, [2] * (dims - 1) + [1]]


def ours(dims):
    return residual_encoder_unet(
        spatial_dims=dims,
        in_channels=2,
        out_channels=LANDMARKS,
        filters=FILTERS,
        strides=strides(dims),
        kernel_size=[[3] * dims] * 3,
        blocks=BLOCKS,
    )


def theirs(dims):
    """The network of the package with weights that are all in use: a block is more than its shortcut."""
    torch.manual_seed(1)
    network = ResidualEncoderUNet(
        input_channels=2,
        n_stages=3,
        features_per_stage=FILTERS,
        conv_op=(nn.Conv2d, nn.Conv3d)[dims - 2],
        kernel_sizes=[[3] * dims] * 3,
        strides=strides(dims),
        n_blocks_per_stage=BLOCKS,
        num_classes=LANDMARKS,
        n_conv_per_stage_decoder=[1, 1],
        conv_bias=True,
        norm_op=(nn.InstanceNorm2d, nn.InstanceNorm3d)[dims - 2],
        norm_op_kwargs={"eps": 1e-5, "affine": True},
        nonlin=nn.LeakyReLU,
        nonlin_kwargs={"inplace": True},
    ).eval()
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    return network


def image_of(dims):
    return torch.randn((2, 2, *[16] * dims), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("dims", [2, 3])
@torch.no_grad()
def test_the_packages_weights_load_and_give_its_output_and_gradients(dims):
    """Its state dict has other names of the same weights too, and output layers for deep supervision."""
    package, network, image = theirs(dims), ours(dims).eval(), image_of(dims)
    state = package.state_dict()
    assert len(state) > 3 * len(network.state_dict())
    assert "decoder.seg_layers.0.weight" in state
    network.load_state_dict(state)
    assert all(torch.equal(tensor, state[name]) for name, tensor in network.state_dict().items())
    torch.testing.assert_close(network(image), package(image), rtol=0, atol=0)
    with torch.enable_grad():
        for module in (network, package):
            module(image).square().mean().backward()
    gradients = {name: weight.grad for name, weight in package.named_parameters()}
    for name, weight in network.named_parameters():
        torch.testing.assert_close(weight.grad, gradients[name], rtol=1e-5, atol=1e-7)


def test_names_that_no_file_has_are_refused():
    network, state = ours(2), theirs(2).state_dict()
    with pytest.raises(RuntimeError, match=r"Unexpected key.*seg_layers\.9\.weight"):
        network.load_state_dict({**state, "decoder.seg_layers.9.weight": torch.zeros(1)})
    del state["encoder.stem.convs.0.conv.weight"]
    with pytest.raises(RuntimeError, match=r"Missing key.*encoder\.stem\.convs\.0\.conv\.weight"):
        network.load_state_dict(state)


@pytest.mark.parametrize("dims", [2, 3])
def test_each_weight_has_one_name_and_a_gradient(dims):
    """Or files from a GPU hold it several times, and several processes look for those without a gradient."""
    network = LandmarkNetwork({"fine": ours(dims)}, LANDMARKS, dims)
    weights = [name for name in network.state_dict() if name.startswith("stages.")]
    assert weights == [name for name, _ in network.named_parameters(remove_duplicate=False)]
    assert len({tensor.data_ptr() for tensor in network.parameters()}) == len(weights)
    network(image_of(dims)).sum().backward()
    assert [name for name, weight in network.named_parameters() if weight.grad is None] == []


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated", "ignore:The TorchScript type system")
def test_it_is_scripted_and_not_for_one_size(dims):
    network = LandmarkNetwork({"coarse": ours(dims), "fine": ours(dims)}, LANDMARKS, dims).eval()
    network.stages["fine"].load_state_dict(theirs(dims).state_dict())
    scripted, image = torch.jit.script(network), image_of(dims)
    with torch.inference_mode():
        for given in (image, image.repeat_interleave(2, dim=2)):
            torch.testing.assert_close(scripted(given), network(given))


def test_weights_of_an_earlier_bundle_load_into_the_network_and_its_copies():
    """Members of an ensemble are copies of a network that may be gone by then."""
    earlier = LandmarkNetwork({"fine": theirs(2)}, LANDMARKS, 2).eval()
    network, image = LandmarkNetwork({"fine": ours(2)}, LANDMARKS, 2).eval(), image_of(2)
    copies = [network, copy.deepcopy(network)]
    del network
    while copies:
        one = copies.pop(0)
        one.load_state_dict(earlier.state_dict())
        with torch.inference_mode():
            torch.testing.assert_close(one(image), earlier(image), rtol=0, atol=0)


def test_a_training_starts_from_an_earlier_bundle(tmp_path):
    earlier, network = (LandmarkNetwork({"fine": made(2)}, LANDMARKS, 2) for made in (theirs, ours))
    torch.save(earlier.state_dict(), tmp_path / "model.pt")
    LoadPretrained(network, str(tmp_path / "model.pt")).attach(Engine(lambda *_: None))
    mine, given = network.state_dict(), earlier.state_dict()
    assert same({n: mine[n] for n in mine if n[:5] != "shape"}, {n: given[n] for n in mine if n[:5] != "shape"})


def test_a_training_does_not_go_on_with_the_optimiser_of_an_earlier_bundle():
    """Its momenta are in another order."""
    earlier, network = theirs(2), ours(2)
    state = {"network": earlier.state_dict(), "optimizer_name": "SGD"}
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    with pytest.raises(ValueError, match="belongs to another network"):
        restore_training_state(state, Path("latest.pt"), network, optimizer, None, None)


def test_the_output_layer_is_the_last_convolution():
    network = LandmarkNetwork({"fine": ours(2)}, LANDMARKS, 2, output_bias=-4.0, output_layers={"fine": OUTPUT})
    other = LandmarkNetwork({"fine": copy.deepcopy(network.stages["fine"])}, LANDMARKS, 2)
    with torch.no_grad():
        other.get_parameter(f"stages.fine.{OUTPUT}.bias").add_(10.0)
        torch.testing.assert_close(other(image_of(2)) - network(image_of(2)), torch.full((2, LANDMARKS, 16, 16), 10.0))
    with pytest.raises(ValueError, match=r"no output layer 'decoder\.seg_layers\.0' with a bias"):
        LandmarkNetwork({"fine": ours(2)}, 3, 2, output_bias=-4.0, output_layers={"fine": "decoder.seg_layers.0"})
