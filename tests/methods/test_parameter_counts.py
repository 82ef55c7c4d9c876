"""Each U-Net has as many weights as the package's network of its specification, without layers that nothing calls."""

import json

import pytest
import torch
from dynamic_network_architectures.architectures.unet import PlainConvUNet, ResidualEncoderUNet
from monai.bundle import ConfigParser
from torch import nn

from auto_config.methods import BACKBONES

LANDMARKS = 14
# Features of each level, and strides and kernels that are not 2 and 3, for images of 1 mm or a first axis of 3 mm.
SPECIFIED = {
    ("tiny", (1, 1, 1), (64, 64, 64)): [12, 24, 48, 96, 128],
    ("tiny", (1, 1), (256, 256)): [12, 24, 48, 96, 128],
    ("plain", (1, 1, 1), (128, 128, 128)): [32, 64, 128, 256, 320, 320],
    ("plain", (1, 1), (512, 512)): [32, 64, 128, 256, 512, 512, 512, 512],
    ("resenc_m", (1, 1, 1), (128, 128, 128)): [32, 64, 128, 256, 320, 320],
    ("resenc_m", (3, 1, 1), (48, 192, 192)): [32, 64, 128, 256, 320, 320],
    ("resenc_m", (1, 1), (512, 512)): [32, 64, 128, 256, 512, 512, 512, 512],
    ("resenc_l", (1, 1, 1), (160, 192, 160)): [32, 64, 128, 256, 320, 320],
    ("resenc_xl", (1, 1, 1), (192, 224, 192)): [32, 64, 128, 256, 320, 320],
    ("coord_conv", (1, 1, 1), (128, 128, 128)): [32, 64, 128, 256, 320, 320],
    ("coord_conv", (1, 1), (512, 512)): [32, 64, 128, 256, 512, 512, 512, 512],
}


def specified(name, features, strides, kernels):
    """The network of the package as nnU-Net calls it, on no device; MONAI's DynUNet has no biases before its norms."""
    dims, levels, residual = len(strides[0]), len(features), name.startswith("resenc")
    blocks = {"n_blocks_per_stage": [1, 3, 4, 6, 6, 6, 6, 6][:levels]} if residual else {"n_conv_per_stage": 2}
    with torch.device("meta"):
        network = (ResidualEncoderUNet if residual else PlainConvUNet)(
            # Beside the image a coordinate for each axis.
            input_channels=1 + dims if name == "coord_conv" else 1,
            n_stages=levels,
            features_per_stage=features,
            conv_op=(nn.Conv2d, nn.Conv3d)[dims - 2],
            kernel_sizes=kernels,
            strides=strides,
            num_classes=LANDMARKS,
            n_conv_per_stage_decoder=[1 if residual else 2] * (levels - 1),
            conv_bias=residual,
            norm_op=(nn.InstanceNorm2d, nn.InstanceNorm3d)[dims - 2],
            norm_op_kwargs={"affine": True},
            nonlin=nn.LeakyReLU,
            **blocks,
        )
    # Output layers of deep supervision.
    network.decoder.seg_layers = network.decoder.seg_layers[-1:]
    return network


def count(network):
    return sum(weight.numel() for weight in network.parameters())


@pytest.mark.parametrize(("name", "spacing", "size"), SPECIFIED)
def test_as_many_weights_as_specified(name, spacing, size):
    topology = BACKBONES[name].topology(spacing, size)
    stage = {"patch_size": list(topology.patch_size), **BACKBONES[name].describe(topology)}
    config = json.dumps(BACKBONES[name].config(stage, len(size), 1, LANDMARKS)).replace(
        '"scripts.', '"auto_config.bundle_scripts.'
    )
    with torch.device("meta"):
        network = ConfigParser({"network": json.loads(config)}).get_parsed_content("network")
    features = SPECIFIED[name, spacing, size]
    strides, kernels = [[1] * len(size), *[[2] * len(size)] * (len(features) - 1)], [[3] * len(size)] * len(features)
    if spacing[0] == 3:
        # Thick slices: the first level has no neighbours along them, and they are halved three times only.
        kernels[0], strides[1], strides[5] = [1, 3, 3], [1, 2, 2], [1, 2, 2]
        assert (stage["kernel_sizes"], stage["strides"]) == (kernels, strides)
    assert count(network) == count(specified(name, features, strides, kernels))


def test_the_residual_encoder_m_of_nnunet_has_some_hundred_million_weights():
    topology = BACKBONES["resenc_m"].topology((1, 1, 1), (128, 128, 128))
    features, levels = BACKBONES["resenc_m"].describe(topology)["filters"], 6
    network = specified("resenc_m", features, topology.strides, topology.kernel_sizes)
    assert len(features) == levels
    assert count(network) == pytest.approx(102e6, rel=0.01)
