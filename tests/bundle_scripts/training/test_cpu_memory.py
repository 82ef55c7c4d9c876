"""Large blocks stay with the process after they are freed."""

import subprocess
import sys

import pytest

GROWTH = """
import resource, sys
import torch
from auto_config.bundle_scripts.training.cpu_memory import keep_freed_memory

if len(sys.argv) > 1:
    assert keep_freed_memory()
for _ in range(5):
    torch.zeros(20_000_000).add_(1)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    torch.zeros(20_000_000).add_(1)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the GNU C library is Linux's")
def test_blocks_are_used_again_without_new_pages():
    faults = [
        int(subprocess.run([sys.executable, "-c", GROWTH, *more], capture_output=True, text=True, check=True).stdout)
        for more in ([], ["keep"])
    ]
    # 80 MB five times: each page anew without; with, at most one block that found no place where another had been.
    assert faults[1] * 3 < faults[0]
