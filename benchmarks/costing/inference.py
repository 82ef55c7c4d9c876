"""Points of a whole volume from a sliding window, outside of the network: in slabs, and as MONAI merges."""

from __future__ import annotations

from typing import Any

import torch
from monai.inferers import SlidingWindowInferer

from auto_config.bundle_scripts.inference.dense import DenseInferer
from auto_config.bundle_scripts.inference.streaming.windows import windows_of
from auto_config.bundle_scripts.methods.decoders import ArgmaxDecoder
from auto_config.bundle_scripts.methods.interfaces import LOGITS, Output
from auto_config.bundle_scripts.training.cpu_memory import keep_freed_memory
from costing.measuring import APART, Work


class FreeNetwork:
    """Gives each landmark's channel, the first window times a number, as a fresh tensor; that is not counted."""

    shape = None

    def __init__(self, landmarks: int, views: int = 1) -> None:
        self.factors, self.count = torch.linspace(0.5, 1.5, landmarks), views
        self.flipped = False
        self._kept: torch.Tensor | None = None

    def views(self) -> list[FreeNetwork]:
        """Itself, so many times."""
        return [self] * self.count

    def __call__(self, images: dict[str, torch.Tensor]) -> dict[str, Output]:
        """The channels of each window."""
        (image,) = images.values()
        # What is kept, and a copy of it.
        with APART.network(2 * len(self.factors) * image.nbytes / image.shape[1] / 1e6):
            if self._kept is None:
                self._kept = image * self.factors.reshape(1, -1, *[1] * (image.ndim - 2))
            return {name: {LOGITS: self._kept.clone()} for name in images}


def _parts(options: dict[str, Any]) -> tuple[SlidingWindowInferer, torch.Tensor, FreeNetwork]:
    torch.manual_seed(0)
    window = SlidingWindowInferer([options["patch"]] * 3, sw_batch_size=1, overlap=0.5, mode="gaussian")
    size = options.get("volume", [options["size"]] * 3)
    return window, torch.rand(1, *size), FreeNetwork(options["landmarks"], options.get("views", 1))


def ours(options: dict[str, Any]) -> Work:
    """`DenseInferer`, which keeps a slab of the merged map; memory is kept between windows, as `predict` keeps it."""
    keep_freed_memory()
    window, image, network = _parts(options)
    inferer = DenseInferer(window=window, decoder=ArgmaxDecoder("sigmoid", 15.0), spacing=[1.0] * 3)

    def predict() -> torch.Tensor:
        with torch.inference_mode():
            return inferer(image[None], network)

    return predict


def usual(options: dict[str, Any]) -> Work:
    """MONAI's window gives the map of the whole volume, and the highest voxel of each channel is the point."""
    window, image, network = _parts(options)

    def predict() -> torch.Tensor:
        with torch.inference_mode():
            total: torch.Tensor | None = None
            for _ in network.views():
                merged = window(image[None], lambda x: network({"fine": x})["fine"][LOGITS])[0]
                total = merged if total is None else total.add_(merged)
            assert total is not None
            index = total.flatten(1).argmax(1)
            return torch.stack(torch.unravel_index(index, total.shape[1:]), -1)

    return predict


def windows(size: int, patch: int) -> int:
    """How many windows a cube is seen in."""
    window = SlidingWindowInferer([patch] * 3, overlap=0.5)
    return windows_of(window, [size] * 3).count
