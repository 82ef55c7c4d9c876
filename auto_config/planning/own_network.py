"""A network of MONAI's or of the user's: read, built once, and asked for what a planner needs to know."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from importlib.metadata import packages_distributions
from math import prod
from pathlib import Path
from typing import Any

from auto_config.errors import UserError
from auto_config.methods.networks.own import ARGUMENTS, CHANNELS, DIMS, LANDMARKS, PATCH, filled

_DIVISORS = (1, 2, 4, 8, 16, 32, 64, 128)
_EDGE = 64
"""Patches of at least so many voxels along each axis are tried."""

_ALWAYS_THERE = {"torch", "monai"}


def measured(
    given: str, *, spatial_dims: int, channels: int, landmarks: int, memory_gb: float | None
) -> dict[str, Any]:
    """What a plan holds of a network that no table has; see `auto_config.methods.networks.own.own_backbone`.

    The network is built, and called without numbers (on torch's device ``meta``) for patches whose edges are multiples
    of 1, 2, 4 and so on, until it gives one channel for each landmark and a value for each voxel. A network that cannot
    be called so is called on the CPU.

    Args:
        given: a class with its modules and dots between them, or a ``.json`` file with ``_target_`` and arguments.
        spatial_dims: 2 or 3.
        channels: of the image.
        landmarks: channels of the output.
        memory_gb: GPU memory that it is planned for; None for CPUs.

    Raises:
        UserError: it cannot be read, found, built or called, or its output has another shape.
    """
    config = _completed(given, read(given))
    numbers: dict[str, Any] = {CHANNELS: channels, LANDMARKS: landmarks, DIMS: spatial_dims}
    network, last = None, ""
    for divisor in _DIVISORS:
        size = [divisor * max(3, -(-_EDGE // divisor) | 1)] * spatial_dims
        try:
            # Built again only where its arguments hold the patch.
            if network is None or PATCH in config.values():
                network = _built(given, filled(config, {**numbers, PATCH: size}))
            shape, values = _called(network, (1, channels, *size))
        except UserError as error:
            last = str(error)
            if PATCH not in config.values():
                raise
            continue
        except Exception as error:
            last = f"cannot be called with an image of {_listed(size)}: {_line(error)}"
            continue
        expected = [1, landmarks, *size]
        if shape == expected:
            rest = max(values / prod(size) - landmarks, 0.0)
            return {
                "config": config,
                "divisor": divisor,
                "values_per_voxel": round(rest, 2),
                "memory_gb": memory_gb,
                "packages": _packages(config),
            }
        wrong = (
            f"gives {shape if isinstance(shape, str) else _listed(shape)} for an image of "
            f"{_listed([1, channels, *size])}, and one map for each landmark is needed: {_listed(expected)}"
        )
        if isinstance(shape, str) or shape[1:2] != [landmarks] or len(shape) != len(expected):
            last = wrong
            break
        last = last or wrong
    if last.startswith("--network"):
        raise UserError(last)
    raise UserError(
        f"--network {given}: {last}; its _target_ and arguments in a .json file may say @channels, @landmarks, "
        "@spatial_dims and @patch_size where it has other names for them"
    )


def read(given: str) -> dict[str, Any]:
    """The JSON of a network: that of a file, or the class alone.

    Raises:
        UserError: the file is missing, or holds something else.
    """
    if not given.endswith(".json"):
        return {"_target_": given}
    try:
        found = json.loads(Path(given).read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"--network {given}: {error.strerror}; give a .json file with _target_ and arguments") from None
    except ValueError as error:
        raise UserError(f"--network {given}: is no JSON ({_line(error)}); correct the file") from None
    if not isinstance(found, dict) or not isinstance(found.get("_target_"), str):
        raise UserError(
            f'--network {given}: has no _target_; write {{"_target_": "monai.networks.nets.SwinUNETR", ...}}'
        )
    return found


def _completed(given: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON, with the arguments that a plan decides where the network has them and the file does not say them."""
    from monai.bundle import ComponentLocator, ConfigComponent

    try:
        target = ConfigComponent({"_target_": config["_target_"]}, locator=ComponentLocator()).resolve_module_name()
        if isinstance(target, str):
            from pydoc import locate

            target = locate(target)
        if not callable(target):
            raise TypeError("there is no such class or function")
        names = inspect.signature(target).parameters
    except Exception as error:
        raise UserError(
            f"--network {given}: {config['_target_']} cannot be imported ({_line(error)}); give the class with its "
            "modules, such as monai.networks.nets.SwinUNETR, of a package that is installed here"
        ) from None
    added = {name: word for name, word in ARGUMENTS.items() if name in names and name not in config}
    needed = [
        name
        for name, one in names.items()
        if one.default is one.empty
        and one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)
        and name not in {**config, **added}
    ]
    if needed:
        raise UserError(
            f"--network {given}: {config['_target_']} needs {', '.join(needed)}; give a .json file with its _target_ "
            "and these arguments"
        )
    return {**config, **added}


def _built(given: str, config: Mapping[str, Any]) -> Any:
    """The network.

    Raises:
        UserError: it cannot be built.
    """
    from monai.bundle import ConfigParser
    from torch import nn

    try:
        network = ConfigParser({"network": dict(config)}).get_parsed_content("network")
    except Exception as error:
        raise UserError(
            f"--network {given}: cannot be built ({_line(error.__cause__ or error)}); correct its arguments"
        ) from None
    if not isinstance(network, nn.Module):
        raise UserError(f"--network {given}: gives a {type(network).__name__}, and a torch.nn.Module is needed")
    return network


def _called(network: Any, shape: tuple[int, ...]) -> tuple[list[int] | str, int]:
    """Shape of what it gives for an image, and the values of all its layers with weights."""
    import torch
    from torch import nn

    values = 0

    def count(module: nn.Module, _: Any, found: Any) -> None:
        nonlocal values
        if isinstance(found, torch.Tensor) and any(True for _ in module.parameters(recurse=False)):
            values += found.numel()

    hooks = [module.register_forward_hook(count) for module in network.modules()]
    try:
        with torch.no_grad():
            try:
                found = network.eval().to("meta")(torch.zeros(shape, device="meta"))
            except (NotImplementedError, RuntimeError) as error:
                if not isinstance(error, NotImplementedError) and "meta" not in str(error):
                    raise
                values = 0
                found = network.to_empty(device="cpu")(torch.zeros(shape))
    finally:
        for hook in hooks:
            hook.remove()
    if not isinstance(found, torch.Tensor):
        return f"a {type(found).__name__}", values
    return [int(edge) for edge in found.shape], values


def _packages(config: Mapping[str, Any]) -> list[str]:
    """The distributions that the class comes from, beside those that every bundle needs."""
    module = str(config["_target_"]).partition(".")[0]
    found = packages_distributions().get(module, [])
    return [] if module in _ALWAYS_THERE or module == config["_target_"] else sorted(set(found))


def _listed(shape: Any) -> str:
    return "x".join(str(edge) for edge in shape)


def _line(error: BaseException) -> str:
    return (" ".join(str(error).split()) or type(error).__name__)[:200]
