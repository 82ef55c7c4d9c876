"""Networks with their budgets, and presets: names for a pair of network and recipe."""

from __future__ import annotations

from dataclasses import dataclass

_RESIDUAL_BLOCKS = (1, 3, 4, 6, 6, 6)


@dataclass(frozen=True)
class Network:
    """What the planner knows of a network.

    Args:
        name: as the user gives it.
        residual: residual blocks in the encoder (ResEnc) or plain pairs of convolutions.
        memory_gb: GPU memory for which the references hold; None for the network that is planned for CPUs.
        reference_3d: values in the feature maps of one patch at which `batch_3d` patches fill `memory_gb`.
        reference_2d: the same in 2D, for `batch_2d` patches.
        features: channels of the first level, doubled at each further one.
        max_features_3d: channels at most.
        max_features_2d: channels at most, 2D.
        max_pools: poolings along each axis at most; None for no limit.
        stock_dataset_share: the share of all voxels of the data set that the stock planner lets one batch hold.
        stock_batch_2d: patches for which the stock planner of the reference sizes a 2D patch. nnLandmark's default
            planner gives one of 1280 x 1024 and a batch of 2 where nnU-Net's 12 would give 512 x 448: the same memory,
            spent on two patches.

    Source:
        nnU-Net 2.6's planners (Isensee et al. 2021, Isensee et al. 2024 "nnU-Net Revisited").
    """

    name: str
    residual: bool
    memory_gb: float | None
    reference_3d: float
    reference_2d: float
    features: int
    max_features_3d: int
    max_features_2d: int
    max_pools: int | None = None
    stock_dataset_share: float = 1.0
    stock_batch_2d: int = 12
    batch_3d: int = 2
    batch_2d: int = 12

    def filters(self, levels: int, spatial_dims: int) -> list[int]:
        """Channels of each of `levels` levels."""
        largest = self.max_features_2d if spatial_dims == 2 else self.max_features_3d
        return [min(self.features * 2**level, largest) for level in range(levels)]

    def encoder_blocks(self, levels: int) -> list[int]:
        """Blocks of each level of the encoder: residual blocks, or plain convolutions."""
        if not self.residual:
            return [2] * levels
        return [_RESIDUAL_BLOCKS[min(level, len(_RESIDUAL_BLOCKS) - 1)] for level in range(levels)]

    def decoder_convolutions(self) -> int:
        """Convolutions of each level of the decoder after the up-sampling."""
        return 1 if self.residual else 2

    def budget(self, spatial_dims: int) -> float:
        """Feature map values of a whole batch that fill `memory_gb`."""
        if spatial_dims == 2:
            return self.reference_2d * self.batch_2d
        return self.reference_3d * self.batch_3d


NETWORKS = {
    network.name: network
    for network in (
        # Measured on the mouse skulls: 3 M parameters learn 51 points in minutes on one core.
        Network("tiny", False, None, 0.0, 0.0, 12, 128, 128, max_pools=4),
        Network("plain", False, 8.0, 560e6, 85e6, 32, 320, 512, stock_dataset_share=0.05, stock_batch_2d=2),
        Network("resenc_m", True, 8.0, 680e6, 135e6, 32, 320, 512),
        Network("resenc_l", True, 24.0, 2100e6, 380e6, 32, 320, 512),
        Network("resenc_xl", True, 40.0, 3600e6, 560e6, 32, 320, 512),
    )
}

PRESETS: dict[str, tuple[str, str]] = {
    "tiny": ("tiny", "default"),
    "plain": ("plain", "default"),
    "resenc_m": ("resenc_m", "default"),
    "resenc_l": ("resenc_l", "default"),
    "resenc_xl": ("resenc_xl", "default"),
    "nnlandmark": ("plain", "nnlandmark"),
    "nnlandmark_resenc_m": ("resenc_m", "nnlandmark"),
    "nnlandmark_resenc_l": ("resenc_l", "nnlandmark"),
    "nnlandmark_resenc_xl": ("resenc_xl", "nnlandmark"),
}
"""Name of a preset: its network and its recipe."""
