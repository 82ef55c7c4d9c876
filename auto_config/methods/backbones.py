"""The table of networks. A new network is a row; the user gives its name, or a method names it as its own."""

from __future__ import annotations

from auto_config.methods.base import Backbone
from auto_config.methods.unets import UNETS, unet_backbone

BACKBONES: dict[str, Backbone] = {
    backbone.name: backbone
    for backbone in (
        unet_backbone(UNETS["tiny"], "for CPUs", fine={"features": 16, "max_pools": 3}),
        unet_backbone(UNETS["plain"], "nnU-Net's U-Net, for a GPU of 8 GB"),
        unet_backbone(UNETS["resenc_m"], "nnU-Net's residual encoder, for 8 GB"),
        unet_backbone(UNETS["resenc_l"], "the same for 24 GB"),
        unet_backbone(UNETS["resenc_xl"], "the same for 40 GB"),
    )
}
"""The networks by name."""
