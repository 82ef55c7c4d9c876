"""The GPU of this machine, found without importing torch."""

from __future__ import annotations

import shutil
import subprocess

_TIMEOUT_S = 10
_MIB_PER_GB = 1e9 / 2**20


def gpu_memory_gb() -> float | None:
    """Memory in GB (10^9 bytes) of the largest NVIDIA GPU that ``nvidia-smi`` lists; None without one."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    command = [program, "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=True)
    except (OSError, subprocess.SubprocessError):
        # A driver that does not answer is no GPU to train on.
        return None
    sizes = [float(line) for line in answer.stdout.split() if line.replace(".", "", 1).isdigit()]
    return round(max(sizes) / _MIB_PER_GB, 1) if sizes else None
