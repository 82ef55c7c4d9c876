"""A network of MONAI's or of the user's as a row: what its JSON says and what was measured of it, no import of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

from auto_config.methods.base import Backbone, Json, Stage
from auto_config.methods.topology import Topology, round_up
from auto_config.methods.unets import UNETS

CHANNELS, LANDMARKS, DIMS, PATCH = "@channels", "@landmarks", "@spatial_dims", "@patch_size"
"""What stands in the JSON for numbers that a plan decides: of the image, of the output, 2 or 3, and the patch."""

_SMALLEST = 32
"""A network that pads by itself has any divisor, and how often it halves is not seen: five times is the usual."""

ARGUMENTS = {
    "spatial_dims": DIMS,
    "dimensions": DIMS,
    "in_channels": CHANNELS,
    "out_channels": LANDMARKS,
    "img_size": PATCH,
}
"""Arguments that are filled in where a network has them and the user gives none."""


def is_own(name: str) -> bool:
    """Whether ``--network`` names a class (``package.module.Class``) or a file and no row of the table."""
    return "." in name


def own_backbone(written: Mapping[str, Any]) -> Backbone:
    """A row for a network that a plan holds.

    Args:
        written: ``config``, the JSON with the words above in the place of numbers; ``divisor`` of each edge of a patch;
            ``values_per_voxel`` of all its layers but the last; ``memory_gb`` that it is planned for, None for CPUs;
            ``packages`` that it needs.
    """
    step, values = int(written["divisor"]), float(written["values_per_voxel"])

    def topology(spacing: Sequence[float], patch_size: Sequence[int]) -> Topology:
        """Every edge a multiple, two of them at least, because norms need several values in the last level."""
        axes = len(spacing)
        return Topology(
            patch_size=tuple(max(2 * step, _SMALLEST, round_up(edge, step)) for edge in patch_size),
            strides=((1,) * axes,),
            kernel_sizes=((3,) * axes,),
            divisor=(step,) * axes,
        )

    def config(stage: Stage, spatial_dims: int, in_channels: int, out_channels: int) -> Json:
        numbers = {CHANNELS: in_channels, LANDMARKS: out_channels, DIMS: spatial_dims, PATCH: stage["patch_size"]}
        found: Json = filled(written["config"], numbers)
        return found

    return Backbone(
        name=str(written["config"]["_target_"]),
        title="a network of the user's",
        citation=f"the network {written['config']['_target_']}",
        memory_gb=written["memory_gb"],
        topology=topology,
        describe=lambda topology: {},  # noqa: ARG005
        values=lambda topology, outputs: (values + outputs) * prod(topology.patch_size),
        budget=UNETS["plain"].budget,
        config=config,
        output_layer=lambda stage: None,  # noqa: ARG005
        packages=tuple(written["packages"]),
        unused_parameters=True,  # nobody has looked whether each of its layers is called
    )


def filled(value: Any, numbers: Mapping[str, Any]) -> Any:
    """JSON with numbers in the place of the words that stand for them."""
    if isinstance(value, Mapping):
        return {name: filled(part, numbers) for name, part in value.items()}
    if isinstance(value, list):
        return [filled(part, numbers) for part in value]
    return numbers.get(value, value) if isinstance(value, str) else value
