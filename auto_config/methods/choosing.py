"""Names that users give: a method and its network, and the options that earlier versions had for them."""

from __future__ import annotations

from auto_config.errors import UserError
from auto_config.methods import BACKBONES, METHODS
from auto_config.methods.base import Method

PRESETS: dict[str, tuple[str, str]] = {
    "tiny": ("default", "tiny"),
    "plain": ("default", "plain"),
    "resenc_m": ("default", "resenc_m"),
    "resenc_l": ("default", "resenc_l"),
    "resenc_xl": ("default", "resenc_xl"),
    "nnlandmark": ("nnlandmark", "plain"),
    "nnlandmark_resenc_m": ("nnlandmark", "resenc_m"),
    "nnlandmark_resenc_l": ("nnlandmark", "resenc_l"),
    "nnlandmark_resenc_xl": ("nnlandmark", "resenc_xl"),
}
"""What ``--preset`` of earlier versions stands for: a method and its network. New methods have no preset."""


def earlier_names(
    method: str | None, network: str | None, recipe: str | None, preset: str | None
) -> tuple[str | None, str | None, str | None]:
    """Method and network, where an earlier option may have named them.

    Args:
        method: given as ``--method``.
        network: given as ``--network``.
        recipe: given as ``--recipe``, the earlier name of ``--method``.
        preset: one of `PRESETS`.

    Returns:
        The method, the network, and a line that says what an earlier option stands for; None where none was given.

    Raises:
        UserError: no such preset, or two options for one thing.
    """
    if preset is not None:
        _allowed("preset", preset, tuple(PRESETS))
        stands_for = "--method {} --network {}".format(*PRESETS[preset])
        if (method, network, recipe) != (None, None, None):
            raise UserError(f"--preset {preset} already means {stands_for}; give either the preset or those two")
        return *PRESETS[preset], f"--preset {preset} stands for {stands_for}"
    if recipe is not None:
        if method is not None:
            raise UserError(f"--recipe {recipe} is the earlier name of --method {recipe}; give --method alone")
        _allowed("recipe", recipe, tuple(METHODS))
        return recipe, network, f"--recipe {recipe} stands for --method {recipe}"
    return method, network, None


def networks_of(method: Method) -> tuple[str, ...]:
    """The networks that a method takes: its own, or every one with an output for each voxel."""
    if method.backbone is not None:
        return (method.backbone,)
    return tuple(name for name, backbone in BACKBONES.items() if backbone.stride == 1)


def check_names(method: str | None, network: str | None) -> None:
    """Refuse a method or a network that there is not, or a network that the method does not take.

    Args:
        method: of `METHODS`; None for the first one.
        network: of `BACKBONES`; None for the planner's choice.

    Raises:
        UserError: in these cases, with what is allowed.
    """
    if method is not None:
        _allowed("method", method, tuple(METHODS))
    if network is None:
        return
    _allowed("network", network, tuple(BACKBONES))
    chosen = METHODS[method or next(iter(METHODS))]
    if network in networks_of(chosen):
        return
    if chosen.backbone is not None:
        why = f"has its own network, {chosen.backbone}; omit --network"
    else:
        why = f"needs an output for each voxel; give --network {' or '.join(networks_of(chosen))}"
    others = [name for name, one in METHODS.items() if network in networks_of(one)]
    remedy = f", or give --method {' or '.join(others)}" if others else ""
    raise UserError(f"--network {network}: method {chosen.name} {why}{remedy}")


def _allowed(option: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise UserError(f"--{option} must be one of {', '.join(allowed)}, got {value!r}")
