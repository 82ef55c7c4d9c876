"""What a prediction cost: seconds of a case, and the largest memory of the process and of the GPU."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np


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
