"""The table of networks. A new network is a row; the user gives its name, or a method names it as its own."""

from __future__ import annotations

from auto_config.methods.base import Backbone
from auto_config.methods.flexible_unet import FLEXIBLE_UNET
from auto_config.methods.grids import GRID
from auto_config.methods.networks.other_networks import COORD_CONV, HOURGLASS, SINGLE_LANDMARK
from auto_config.methods.networks.own import own_backbone
from auto_config.methods.networks.routing_unet import ROUTING_CELLS, ROUTING_UNET
from auto_config.methods.networks.super_resolution import SUPER_RESOLUTION
from auto_config.methods.plan import Plan
from auto_config.methods.scn.backbone import SCN
from auto_config.methods.unets import UNETS, unet_backbone

BACKBONES: dict[str, Backbone] = {
    backbone.name: backbone
    for backbone in (
        unet_backbone(UNETS["tiny"], "a small U-Net", fine={"features": 16, "max_pools": 3}),
        unet_backbone(UNETS["plain"], "nnU-Net's U-Net"),
        unet_backbone(UNETS["resenc_m"], "nnU-Net's residual encoder M"),
        unet_backbone(UNETS["resenc_l"], "nnU-Net's residual encoder L"),
        unet_backbone(UNETS["resenc_xl"], "nnU-Net's residual encoder XL"),
        FLEXIBLE_UNET,
        GRID,
        ROUTING_UNET,
        ROUTING_CELLS,
        SUPER_RESOLUTION,
        HOURGLASS,
        COORD_CONV,
        SINGLE_LANDMARK,
        SCN,
    )
}
"""The networks by name."""


def network_of(plan: Plan) -> Backbone:
    """The network of a plan: a row, or the one that the user brought."""
    written = plan.decisions.get("own_network")
    return BACKBONES[plan.value("network")] if written is None or written.value is None else own_backbone(written.value)
