"""How much memory a training step needs, counted in values of feature maps."""

from __future__ import annotations

from math import prod

from auto_config.methods.base import Backbone
from auto_config.methods.topology import Topology

BYTES_PER_VALUE = 8e9 / (2 * 560e6)
"""What one counted value costs: nnU-Net's reference says 2 x 560e6 of them fill 8 GB."""


def memory_values(network: Backbone, topology: Topology, landmarks: int, loss_bytes_per_voxel: float) -> float:
    """Values for one patch with everything that a landmark trainer holds.

    Beside the feature maps: what the method's loss and target hold for each landmark at full resolution. Stock nnU-Net
    counts one feature map for each output channel only; with 32 landmarks in a patch of 128^3 the rest is more than a
    gigabyte for each patch.

    Args:
        network: the network of the stage.
        topology: strides and patch size (voxels).
        landmarks: number of landmarks.
        loss_bytes_per_voxel: of the method, for each voxel and landmark.
    """
    loss = loss_bytes_per_voxel / BYTES_PER_VALUE * landmarks * prod(topology.patch_size)
    return network.values(topology, landmarks) + loss
