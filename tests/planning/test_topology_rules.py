"""Depth, strides and kernels, and the count of feature map values against real networks."""

import pytest
import torch
from dynamic_network_architectures.architectures.unet import PlainConvUNet, ResidualEncoderUNet
from hypothesis import given, settings
from hypothesis import strategies as st

from auto_config.memory.counted import BYTES_PER_VALUE, memory_values
from auto_config.methods import BACKBONES, METHODS
from auto_config.methods.topology import plan_topology, round_up
from auto_config.methods.unets import UNETS


def test_isotropic_cube_pools_to_an_edge_of_four():
    topology = plan_topology((1, 1, 1), (128, 128, 128))
    assert topology.strides == ((1, 1, 1),) + ((2, 2, 2),) * 5
    assert topology.kernel_sizes == ((3, 3, 3),) * 6
    assert topology.divisor == (32, 32, 32)


def test_thick_axis_pools_later_and_has_flat_kernels_until_then():
    topology = plan_topology((5, 0.6, 0.6), (20, 448, 448))
    # 0.6, 1.2, 2.4 against 5 mm are a factor of two apart and more; 4.8 against 5 is not.
    assert [stride[0] for stride in topology.strides] == [1, 1, 1, 1, 2, 2, 1]
    assert [kernel[0] for kernel in topology.kernel_sizes[:3]] == [1, 1, 1]
    assert topology.kernel_sizes[3][0] == 3
    assert topology.kernel_sizes[-1] == (3, 3, 3)


def test_limit_on_poolings():
    assert plan_topology((1, 1, 1), (64, 64, 64), max_pools=2).divisor == (4, 4, 4)


@given(
    spacing=st.lists(st.floats(0.1, 6), min_size=2, max_size=3),
    edge=st.lists(st.integers(1, 400), min_size=3, max_size=3),
)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_patch_is_rounded_up_to_the_strides(spacing, edge):
    wished = edge[: len(spacing)]
    topology = plan_topology(spacing, wished)
    for axis, size in enumerate(topology.patch_size):
        step = 1
        for stride in topology.strides:
            step *= stride[axis]
        assert step == topology.divisor[axis]
        assert wished[axis] <= size < wished[axis] + step
        assert size % step == 0
        assert size // step >= min(4, wished[axis])
    assert plan_topology(spacing, topology.patch_size).patch_size == topology.patch_size or min(wished) < 8


def test_round_up():
    assert [round_up(edge, 8) for edge in (0, 1, 8, 8.1)] == [8, 8, 8, 16]


@pytest.mark.parametrize("name", ["plain", "resenc_m"])
@pytest.mark.parametrize(
    ("spacing", "patch"), [((1, 1, 1), (32, 48, 32)), ((5, 0.6, 0.6), (12, 96, 64)), ((0.1, 0.1), (96, 64))]
)
def test_count_is_that_of_the_real_network(name, spacing, patch):
    network, dims = UNETS[name], len(patch)
    topology = plan_topology(spacing, patch)
    levels = len(topology.strides)
    common = {
        "input_channels": 1,
        "n_stages": levels,
        "features_per_stage": network.filters(levels, dims),
        "conv_op": torch.nn.Conv3d if dims == 3 else torch.nn.Conv2d,
        "kernel_sizes": [list(kernel) for kernel in topology.kernel_sizes],
        "strides": [list(stride) for stride in topology.strides],
        "num_classes": 7,
    }
    with torch.device("meta"):
        if network.residual:
            real = ResidualEncoderUNet(
                **common, n_blocks_per_stage=network.encoder_blocks(levels), n_conv_per_stage_decoder=[1] * (levels - 1)
            )
        else:
            real = PlainConvUNet(**common, n_conv_per_stage=2, n_conv_per_stage_decoder=2)
    assert network.values(topology, 7) == real.compute_conv_feature_map_size(topology.patch_size)


def test_loss_is_counted_per_landmark_voxel():
    network, topology = BACKBONES["plain"], plan_topology((1, 1, 1), (64, 64, 64))
    cost = METHODS["default"].loss_bytes_per_voxel
    extra = memory_values(network, topology, 10, cost) - memory_values(network, topology, 0, cost)
    # 22.4 bytes of float32 maps at 8 GB for 2 x 560e6 values.
    assert extra == pytest.approx(10 * 64**3 * (1 + 22.4 / (8e9 / 1.12e9)))
    assert pytest.approx(8e9 / 1.12e9) == BYTES_PER_VALUE
    free = memory_values(network, topology, 10, 0.0)
    assert free == network.values(topology, 10)
