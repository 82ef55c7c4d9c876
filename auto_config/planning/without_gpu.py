"""Where no GPU is found and none is given: less memory for large networks, and one look where patches learn too slowly."""

from __future__ import annotations

from auto_config.methods.base import Backbone, Method
from auto_config.methods.plan import Decision
from auto_config.planning.options import PlanOptions

CPU_SHARE = 0.25
"""Of the memory that a method's own network is made for, where there is no GPU. On the mouse skulls and one core,
`landmarker` made 23 steps in 15 minutes on the grid for 8 GB (8.6 mm) and 135 on this one (0.27 mm)."""


ONE_LOOK = "no GPU was found, and patches of full resolution learn too slowly on a CPU"


def planned_memory(options: PlanOptions, network: Backbone, method: Method) -> Decision:
    """GB of GPU memory to plan for; None for a network that is planned by voxels."""
    if network.memory_gb is None:
        return Decision(None, "the tiny network is planned by voxels for a CPU")
    if options.gpu_memory_gb is not None:
        return Decision(options.gpu_memory_gb, "given by the user")
    found = options.found_gpu_memory_gb
    if found is None and options.network is None and method.backbone is not None:
        why = (
            f"warning: no GPU was found and no --gpu_memory_gb given, so a quarter of {network.memory_gb:g} GB, which "
            f"{network.name} is made for: CPUs take too long for more; for a GPU, give --gpu_memory_gb"
        )
        return Decision(network.memory_gb * CPU_SHARE, why)
    if found is not None and found < network.memory_gb:
        return Decision(
            found, f"the GPU of this machine, less than the {network.memory_gb:g} GB that {network.name} is made for"
        )
    # Not all of a large GPU: the plan would follow the machine and not the data.
    return Decision(network.memory_gb, f"what {network.name} is made for")


def looks_once(method: Method, options: PlanOptions, wanted: int | None) -> bool:
    """Whether a method is planned to see the whole anatomy at once, on a coarser grid, because there is no GPU.

    Methods of one stage, and those with a network of their own, cut patches of full resolution that hold a part of the
    anatomy. On a GPU they learn in hours which part it is; on a CPU they mix up sides and neighbours until much later.

    Args:
        method: of the table.
        options: what the user wants; a grid, a patch or a network that is given stays as it is.
        wanted: stages, where that is settled.
    """
    gpu = options.gpu_memory_gb or options.found_gpu_memory_gb
    given = options.spacing or options.patch_size or options.network
    slow = method.stages == "one" or (method.stages == "planned" and method.backbone is not None)
    return gpu is None and not given and wanted != 2 and slow and not method.whole_anatomy
