"""The largest memory of a process is its own, not that of the program that started it."""

import subprocess
import sys

import pytest

from auto_config.prediction.cost import process_memory

SAYS = "from auto_config.prediction.cost import process_memory; print(process_memory())"


@pytest.mark.skipif(sys.platform != "linux", reason="read from the kernel of Linux")
def test_a_small_process_of_a_large_one_is_small():
    large = bytearray(300 << 20)
    large[:: 1 << 12] = b"x" * (len(large) >> 12)  # every page is in use
    own = process_memory()
    done = subprocess.run([sys.executable, "-c", SAYS], capture_output=True, text=True, check=True)
    assert own > 300 and 5 < float(done.stdout) < 100
    assert process_memory(2**30) is None  # no such process
