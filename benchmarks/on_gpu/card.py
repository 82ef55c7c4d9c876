"""The device, with what only CUDA can say."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from on_gpu.rows import Row


class Card:
    """A device that work is measured on."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.is_gpu = device, device.type == "cuda"

    def about(self) -> Row:
        """Names and versions."""
        return {
            "card": torch.cuda.get_device_name(self.device) if self.is_gpu else "CPU (says nothing about a GPU)",
            "torch": torch.__version__,
            "cudnn": torch.backends.cudnn.version() if self.is_gpu else None,
        }

    def wait(self) -> None:
        """Until all that was asked for is done."""
        if self.is_gpu:
            torch.cuda.synchronize(self.device)

    def seconds(self, work: Callable[[], Any], times: int) -> float:
        """Of one call, the mean of `times` after one that does not count."""
        work()
        self.wait()
        started = time.perf_counter()
        for _ in range(times):
            work()
        self.wait()
        return (time.perf_counter() - started) / times

    def forget_peak(self) -> None:
        """Measure the peak from now on, with nothing kept of what was freed."""
        if self.is_gpu:
            self.wait()
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self.device)

    def peak(self, before: str = "") -> Row:
        """GB since `forget_peak`: what torch took of the card, with workspaces, and of it the tensors."""
        if not self.is_gpu:
            return {}
        return {
            f"{before}peak_gb": torch.cuda.max_memory_reserved(self.device) / 1e9,
            f"{before}tensors_gb": torch.cuda.max_memory_allocated(self.device) / 1e9,
        }

    def synchronisations(self, work: Callable[[], Any]) -> int | None:
        """How often the host waited, as torch counts it."""
        if not self.is_gpu:
            work()
            return None
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
            try:
                work()
            finally:
                torch.cuda.set_sync_debug_mode("default")
        return sum("synchroniz" in str(one.message) for one in caught)

    def busy_share(self, work: Callable[[], Any]) -> float | None:
        """The share of the time in which kernels or copies run; None on a CPU, where the same is done and not said."""
        kind = DeviceType.CUDA if self.is_gpu else DeviceType.CPU
        # The host's own events would only slow it down.
        activity = ProfilerActivity.CUDA if self.is_gpu else ProfilerActivity.CPU
        self.wait()
        with profile(activities=[activity]) as seen:
            started = time.perf_counter()
            work()
            self.wait()
            seconds = time.perf_counter() - started
        share = busy_seconds(seen.events() or (), kind) / seconds
        return share if self.is_gpu else None


def busy_seconds(events: Iterable[Any], kind: DeviceType) -> float:
    """How long at least one event of a device ran.

    Events of the host have the time of the kernels that they started once more, and annotations (such as that of an
    optimizer's step) span kernels and the gaps between them: neither counts. Kernels of two streams at a time count
    once.

    Args:
        events: of a `torch.profiler.profile`.
        kind: of the device.
    """
    spans = sorted(
        (event.time_range.start, event.time_range.end)
        for event in events
        if event.device_type == kind and not event.is_user_annotation
    )
    busy, until = 0.0, float("-inf")
    for start, end in spans:
        busy += max(0.0, end - max(start, until))
        until = max(until, end)
    return busy / 1e6
