"""The largest memory that this process has held so far."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def peak_memory(device: torch.device) -> dict[str, float | None]:
    """MB of the ``process`` and, of what torch took there, of the ``gpu``; None where it is not known.

    Args:
        device: Where the network runs.
    """
    import torch

    gpu = torch.cuda.max_memory_allocated(device) / 2**20 if device.type == "cuda" else None
    return {"process": _process(), "gpu": None if gpu is None else round(gpu, 1)}


def _process() -> float | None:
    if sys.platform == "win32":  # it has no such count without a further package
        return None
    import resource

    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(size / (2**20 if sys.platform == "darwin" else 2**10), 1)
