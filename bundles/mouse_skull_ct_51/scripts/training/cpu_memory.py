"""How the C library hands out large blocks while a network trains, or predicts, on a CPU."""

from __future__ import annotations

import ctypes
import sys

# Names and numbers of <malloc.h> of the GNU C library.
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4
LARGEST_INT = 2**31 - 1
PAD_BYTES = 2**28


def keep_freed_memory() -> bool:
    """Let the C library keep what a step, or a window of an image, frees for the next one.

    Feature maps and losses are blocks of tens of megabytes. The GNU C library asks the system for each of them anew and
    gives it back at once, and the system fills every page with zeros again: a third of the time of a training step on
    two cores. Memory on a GPU is managed by torch and not concerned.

    Returns:
        Whether it could be set; other C libraries stay as they are.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    wanted = ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, LARGEST_INT), (M_TOP_PAD, PAD_BYTES))
    return all(mallopt(option, value) == 1 for option, value in wanted)
