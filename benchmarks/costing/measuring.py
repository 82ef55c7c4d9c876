"""Seconds and memory of one side of a comparison."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from auto_config.prediction.cost import process_memory

Work = Callable[[], Any]
"""The work that is measured; what it needs is made before."""


class Apart:
    """What stands in for a network: its seconds and its output are no cost of what is measured around it."""

    def __init__(self) -> None:
        self.seconds, self.mb = 0.0, 0.0

    @contextlib.contextmanager
    def network(self, held_mb: float) -> Iterator[None]:
        """Count what is done within as that of the network, which holds so many MB of outputs."""
        began = time.perf_counter()
        yield
        self.seconds += time.perf_counter() - began
        self.mb = max(self.mb, held_mb)


APART = Apart()
"""Of this process, which measures one side."""


def peak_mb() -> float:
    """Largest memory of this process so far, MB."""
    return process_memory() or 0.0


def measured(work: Work, repeats: int) -> dict[str, float]:
    """Do the work a few times.

    Args:
        work: what is measured.
        repeats: how often; the shortest time counts, because others use the machine too.

    Returns:
        ``seconds``, and ``mb``: by how much the largest memory of this process grew; both without what `APART` counts.
    """
    before, seconds = peak_mb(), []
    for _ in range(repeats):
        began, APART.seconds = time.perf_counter(), 0.0
        work()
        seconds.append(time.perf_counter() - began - APART.seconds)
    # Linux sums its threads' counts of pages only now and then, so that a largest memory read later may be 0.1 MB less.
    return {"seconds": min(seconds), "mb": max(0.0, peak_mb() - before - APART.mb)}


def in_a_process(command: Path, side: str, options: dict[str, Any]) -> dict[str, float]:
    """What `measured` gives of one side, in a process of its own, so that no other's memory is in the figure.

    Args:
        command: ``benchmarks/costs.py``.
        side: such as ``loss.ours``.
        options: sizes of the work.

    Raises:
        RuntimeError: the process failed.
    """
    words = [sys.executable, str(command), "--side", side, "--options", json.dumps(options)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{side}: {done.stderr.strip().splitlines()[-1:]}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found
