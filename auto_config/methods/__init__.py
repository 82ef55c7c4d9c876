"""The table of methods: one file for each. A new method is a file and a row; everything else reads the table."""

from auto_config.methods import default, global_to_local, landmarker, nnlandmark
from auto_config.methods.backbones import BACKBONES
from auto_config.methods.base import Backbone, Method, MethodRequest, StageParts, Training
from auto_config.methods.coordinates import dsnt, luvli, star, uglli, wing
from auto_config.methods.networks import anchor_ball, global_only, h3de, sr_unet
from auto_config.methods.regression import adaloss, adaptive_wing, nnlandmark_v1
from auto_config.methods.scn import adaptive, sigma

METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        default.METHOD,
        nnlandmark.METHOD,
        landmarker.METHOD,
        global_to_local.METHOD,
        global_only.METHOD,
        h3de.METHOD,
        h3de.NNLANDMARK_H3DE,
        sr_unet.METHOD,
        anchor_ball.METHOD,
        sigma.METHOD,
        adaptive.METHOD,
        nnlandmark_v1.METHOD,
        adaptive_wing.METHOD,
        dsnt.METHOD,
        wing.METHOD,
        uglli.METHOD,
        luvli.METHOD,
        star.METHOD,
        adaloss.METHOD,
    )
}
"""The methods by name; the first one is what `create` takes unless it is given another."""

__all__ = ["BACKBONES", "METHODS", "Backbone", "Method", "MethodRequest", "StageParts", "Training"]
