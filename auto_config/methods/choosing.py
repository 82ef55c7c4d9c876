"""Names that users give: a method and its network, and the options that earlier versions had for them."""

from __future__ import annotations

from auto_config.errors import UserError
from auto_config.methods import BACKBONES, METHODS
from auto_config.methods.base import Method
from auto_config.methods.combining.chosen import chosen, combined
from auto_config.methods.combining.losses import LOSSES
from auto_config.methods.combining.rows import heatmap_heads
from auto_config.methods.networks.own import is_own

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


def takes_any(method: Method) -> bool:
    """Whether any network with an output for each voxel fits a method, and not its own alone."""
    if method.backbone is None:
        return True
    return method.loss is not None and LOSSES[method.loss].heads is heatmap_heads and _stride(method.backbone) == 1


def networks_of(method: Method) -> tuple[str, ...]:
    """The networks that a method takes: its own and those that may stand in its place, or every one that fits its loss.

    A network whose output is a distribution over the patch already takes no other loss than one of distributions.
    """
    if not takes_any(method):
        return tuple(n for n, row in BACKBONES.items() if method.backbone in (n, row.instead_of))
    only_logits = method.logits_only if method.loss is None else not LOSSES[method.loss].distribution
    rows = {name: row for name, row in BACKBONES.items() if row.stride == 1 and not (row.own_heads or row.instead_of)}
    return tuple(name for name, row in rows.items() if not (row.distribution and only_logits))


def _stride(network: str) -> int:
    return BACKBONES[network].stride


def check_names(
    method: str | None,
    network: str | None,
    target: str | None = None,
    loss: str | None = None,
    decoder: str | None = None,
) -> None:
    """Refuse what there is not, and what does not fit together.

    Args:
        method: of `METHODS`; None for the first one.
        network: of `BACKBONES`, or a class or a file of the user's; None for the planner's choice.
        target: of `TARGETS`; None for the method's own, or one that fits the loss.
        loss: of `LOSSES`; None for the method's own.
        decoder: of `DECODERS`; None for the method's own, or one that fits the loss.

    Raises:
        UserError: in these cases, with what is allowed.
    """
    if method is not None:
        _allowed("method", method, tuple(METHODS))
    row = METHODS[method or next(iter(METHODS))]
    parts = chosen(row, target, loss, decoder)
    one = combined(row, parts)
    if network is None:
        if one.backbone is not None and one.backbone not in networks_of(one):
            fits = " or ".join(networks_of(one))
            raise UserError(f"--loss {parts.loss}: does not fit network {one.backbone}; give --network {fits} with it")
        return
    if is_own(network):
        if not takes_any(one):
            others = [name for name, other in METHODS.items() if takes_any(other)]
            raise UserError(
                f"--network {network}: method {one.name} has its own network, {one.backbone}; omit --network, or give "
                f"--method {' or '.join(others)}"
            )
        return
    if network not in BACKBONES:
        raise UserError(
            f"--network must be one of {', '.join(BACKBONES)}, or a class such as monai.networks.nets.SwinUNETR, or a "
            f".json file with its _target_ and arguments; got {network!r}"
        )
    if network in networks_of(one):
        return
    if not takes_any(one):
        why = f"has its own network, {' or '.join(networks_of(one))}; omit --network"
    elif BACKBONES[network].stride == 1 and BACKBONES[network].distribution:
        said = f", its loss is {one.loss}" if one.loss else ""
        why = f"does not take a distribution{said}; give --network {' or '.join(networks_of(one))}"
    else:
        why = f"needs an output for each voxel; give --network {' or '.join(networks_of(one))}"
    others = [name for name, other in METHODS.items() if network in networks_of(other)]
    remedy = f", or give --method {' or '.join(others)}" if others else ""
    raise UserError(f"--network {network}: method {one.name} {why}{remedy}")


def _allowed(option: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise UserError(f"--{option} must be one of {', '.join(allowed)}, got {value!r}")
