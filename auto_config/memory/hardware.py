"""The GPU of this machine that a training would use, found without importing torch where that is possible."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

_TIMEOUT_S = 10
_TORCH_TIMEOUT_S = 120  # a first import of torch from a cold disk
_MIB_PER_GB = 1e9 / 2**20
_ASK_TORCH = "import torch; print(torch.cuda.get_device_properties(0).total_memory if torch.cuda.is_available() else 0)"


def gpu_memory_gb() -> float | None:
    """Memory in GB (10^9 bytes) of the NVIDIA GPU that `train` uses, which is CUDA's first; None without one.

    ``nvidia-smi`` says it in no time where all GPUs are alike. It knows neither the order in which CUDA counts GPUs of
    several kinds nor ``CUDA_VISIBLE_DEVICES``; then torch is asked, in a process of its own.
    """
    sizes = _listed()
    if not sizes:
        return None
    if "CUDA_VISIBLE_DEVICES" not in os.environ and len(set(sizes)) == 1:
        return round(sizes[0] / _MIB_PER_GB, 1)
    answer = _output([sys.executable, "-c", _ASK_TORCH], _TORCH_TIMEOUT_S)
    size = int(answer) if answer is not None and answer.strip().isdigit() else 0
    return round(size / 1e9, 1) if size else None


def _listed() -> list[float]:
    """MiB of each GPU that ``nvidia-smi`` lists."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    # A driver that does not answer is no GPU to train on.
    answer = _output([program, "--query-gpu=memory.total", "--format=csv,noheader,nounits"], _TIMEOUT_S) or ""
    return [float(line) for line in answer.split() if line.replace(".", "", 1).isdigit()]


def _output(command: list[str], seconds: float) -> str | None:
    """What a program prints, or None where it fails."""
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return None
