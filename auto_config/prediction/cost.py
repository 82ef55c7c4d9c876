"""What a prediction cost: seconds of a case, and the largest memory of the process and of the GPU."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch


def peak_memory(device: torch.device) -> dict[str, float | None]:
    """The largest memory so far, in MB: of the ``process``, and of the ``gpu`` what torch took; None where unknown.

    Args:
        device: Where the network runs.
    """
    import torch

    gpu = torch.cuda.max_memory_allocated(device) / 2**20 if device.type == "cuda" else None
    return {"process": process_memory(), "gpu": None if gpu is None else round(gpu, 1)}


def process_memory(process: int | str = "self") -> float | None:
    """The largest memory of a process so far, in MB; None where it is unknown.

    Linux keeps two such numbers. ``ru_maxrss`` counts what the program that started this one had, too: from a large one
    such as a viewer or a notebook that would be the larger number.

    Args:
        process: its number; others than this one on Linux only.
    """
    with suppress(OSError):
        found = re.search(
            r"^VmHWM:\s*(\d+) kB$", Path(f"/proc/{process}/status").read_text(encoding="utf-8"), re.MULTILINE
        )
        if found:
            return round(int(found[1]) / 2**10, 1)
    if sys.platform == "win32" or process != "self":  # Windows has no such count without a further package
        return None
    import resource

    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(size / (2**20 if sys.platform == "darwin" else 2**10), 1)


def cost(seconds: Mapping[str, Any], peak_memory: Mapping[str, Any]) -> dict[str, float | None]:
    """The numbers of ``metrics.json``.

    Args:
        seconds: Of each case, as ``run.json`` has them.
        peak_memory: In MB, ``process`` and ``gpu``, as ``run.json`` has them; empty in runs of earlier versions.
    """
    times = [float(value) for value in seconds.values() if _number(value)]
    memory = {key: float(peak_memory[key]) if _number(peak_memory.get(key)) else None for key in ("process", "gpu")}
    return {
        "seconds_median": float(np.median(times)) if times else None,
        "seconds_max": max(times) if times else None,
        "peak_memory_mb": memory["process"],
        "peak_gpu_memory_mb": memory["gpu"],
    }


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
