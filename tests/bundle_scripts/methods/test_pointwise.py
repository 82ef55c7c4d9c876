"""The last convolution as a product of matrices: the same maps and gradients, in the order that losses want."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from monai.networks.nets import DynUNet
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from auto_config.bundle_scripts.methods.networks.pointwise import PointwiseOutput, as_product
from auto_config.bundle_scripts.methods.stages import LandmarkNetwork

CONVOLUTIONS = {2: nn.Conv2d, 3: nn.Conv3d}
LAST = {2: torch.channels_last, 3: torch.channels_last_3d}


@given(st.integers(2, 3), st.integers(1, 3), st.integers(1, 9), st.integers(1, 9), st.booleans())
def test_it_gives_the_maps_and_gradients_of_the_convolution(dims, batch, features, maps, last):
    torch.manual_seed(features * 10 + maps)
    convolution = CONVOLUTIONS[dims](features, maps, 1)
    image = torch.randn(batch, features, *(5, 4, 3)[:dims])
    image = image.contiguous(memory_format=LAST[dims]) if last else image
    weights, found = torch.randn(batch, maps, *(5, 4, 3)[:dims]), {}
    for name, layer in {"convolution": convolution, "product": PointwiseOutput(convolution)}.items():
        given_image = image.detach().requires_grad_()
        out = layer(given_image)
        gradients = torch.autograd.grad((out * weights).sum(), [given_image, *layer.parameters()])
        found[name] = [out, *gradients]
    assert found["product"][0].is_contiguous()
    for one, other in zip(*found.values(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


class Copies(TorchDispatchMode):
    """Counts the operations that copy a tensor."""

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, operation, types, arguments=(), options=None):
        name = operation.overloadpacket.__name__
        self.found += [name] if name in {"clone", "copy_", "_to_copy", "contiguous", "_reshape_copy"} else []
        return operation(*arguments, **(options or {}))


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("last", [False, True])
def test_features_are_read_where_they_lie(dims, last):
    image = torch.randn(2, 8, *(6, 5, 4)[:dims])
    image = image.contiguous(memory_format=LAST[dims]) if last else image
    layer = PointwiseOutput(CONVOLUTIONS[dims](8, 3, 1))
    with torch.no_grad(), Copies() as copies:
        layer(image)
    assert copies.found == []


def test_in_half_precision_it_is_as_near_to_float32_as_the_convolution():
    torch.manual_seed(0)
    convolution, image = nn.Conv3d(16, 51, 1), torch.randn(2, 16, 8, 8, 8)
    exact = convolution(image)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        product, convolved = PointwiseOutput(convolution)(image), convolution(image)
    assert product.dtype == torch.bfloat16
    assert (product - exact).abs().mean() < 1.5 * (convolved - exact).abs().mean()


def test_scripts_and_traces_have_the_convolution():
    layer = PointwiseOutput(nn.Conv2d(4, 3, 1))
    image = torch.randn(1, 4, 6, 5)
    torch.testing.assert_close(torch.jit.script(layer)(image), layer(image))
    traced = torch.jit.trace(layer, image)
    assert "aten::conv2d" in str(traced.inlined_graph) or "_convolution" in str(traced.inlined_graph)
    assert "baddbmm" not in str(traced.inlined_graph)


@pytest.mark.parametrize(
    ("layer", "why"),
    [
        (nn.Conv3d(4, 3, 3, padding=1), "looks further"),
        (nn.Conv3d(4, 3, 1, stride=2), "leaves voxels out"),
        (nn.Conv3d(4, 2, 1, groups=2), "has groups"),
        (nn.Conv3d(4, 3, 1, padding=1), "pads"),
        (nn.Conv3d(4, 3, 1, bias=False), "has no bias"),
        (nn.Linear(4, 3), "is none"),
    ],
)
def test_another_layer_stays(layer, why):
    network = nn.Sequential(layer)
    as_product(network, "0")
    assert network[0] is layer, why
    as_product(network, "nowhere")


def test_the_network_of_a_bundle_has_it_and_reads_the_weights_of_earlier_ones():
    def made(output_layers):
        torch.manual_seed(1)
        norm = ("INSTANCE", {"affine": True})
        unet = DynUNet(3, 1, 5, [3, 3, 3], [1, 2, 2], [2, 2], filters=[4, 8, 8], norm_name=norm)
        return LandmarkNetwork({"fine": unet}, 5, output_layers=output_layers)

    earlier, now = made(None), made({"fine": "output_block.conv.conv"})
    assert isinstance(now.stages["fine"].output_block.conv.conv, PointwiseOutput)
    assert set(earlier.state_dict()) == set(now.state_dict())
    now.load_state_dict(earlier.state_dict())
    image = torch.randn(1, 1, 8, 8, 8)
    torch.testing.assert_close(now(image), earlier(image), rtol=1e-4, atol=1e-5)
