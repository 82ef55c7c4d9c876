"""Points of a whole volume from windows where landmarks are expected, and from all windows, outside of the network."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from monai.inferers import SlidingWindowInferer

from auto_config.bundle_scripts.inference.dense import DenseInferer
from auto_config.bundle_scripts.inference.expected.cover import inside
from auto_config.bundle_scripts.inference.expected.places import ExpectedPlaces, few_windows
from auto_config.bundle_scripts.inference.streaming.window_grid import regular_windows
from auto_config.bundle_scripts.methods.decoders import ArgmaxDecoder
from auto_config.bundle_scripts.methods.interfaces import LOGITS, Output
from auto_config.bundle_scripts.training.cpu_memory import keep_freed_memory
from costing.measuring import APART, Work

COUNTS: dict[str, float] = {}
"""Windows that the network saw in the last prediction of this process."""


class KnowingNetwork:
    """Cones about points, from an image whose channels are its own voxel coordinates; counts windows."""

    shape, flipped = None, False

    def __init__(self, points: np.ndarray) -> None:
        self.points = torch.from_numpy(points).float()

    def views(self) -> list[KnowingNetwork]:
        """Itself."""
        return [self]

    def __call__(self, images: dict[str, torch.Tensor]) -> dict[str, Output]:
        """Logits that fall from 6 by a fifth of the distance in voxels."""
        (image,) = images.values()
        COUNTS["windows"] = COUNTS.get("windows", 0) + len(image)
        with APART.network(len(self.points) * image.nbytes / image.shape[1] / 1e6):
            # The coordinates of a window are those along its edges; one window at a time.
            x, y, z = image[0, 0, :, 0, 0], image[0, 1, 0, :, 0], image[0, 2, 0, 0, :]
            along = [(axis - self.points[:, number, None]).square() for number, axis in enumerate((x, y, z))]
            away = along[0][:, :, None, None] + along[1][:, None, :, None] + along[2][:, None, None, :]
            return {name: {LOGITS: away.sqrt_().mul_(-0.2).add_(6)[None]} for name in images}


def anatomy(size: int, landmarks: int, extent: float, spread: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Mean points ``(L, 3)`` mm about the middle, within a ball of a diameter, and those of a case that strays."""
    random = np.random.default_rng(seed)
    directions = random.normal(size=(landmarks, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    mean = extent / 2 * directions * random.uniform(size=(landmarks, 1)) ** (1 / 3)
    return mean, mean + random.normal(size=mean.shape) * spread + (size - 1) / 2


def counts(spreads: tuple[float, ...] = (3, 6, 8, 10, 12), draws: int = 20) -> None:
    """Print how many windows of 96^3 show 32 landmarks in 300^3 voxels of 1 mm, and how many peaks need their own."""
    windows = regular_windows([300] * 3, [96] * 3, 0.5)
    print(f"| spread | windows, of {windows.count} | mean | peaks that need a window of their own |\n|---|---|---|---|")
    for spread in spreads:
        found, again = [], []
        for seed in range(draws):
            mean, points = anatomy(300, 32, 180, spread, seed)
            corners = few_windows(_places(mean, 300, spread), windows, radius=5)
            if corners is None:
                continue
            found.append(len(corners))
            again.append(int((~inside(np.round(points).astype(int).clip(0, 299), corners, windows)).sum()))
        shown = (
            f"{min(found)} to {max(found)} | {np.mean(found):.1f} | {min(again)} to {max(again)}"
            if found
            else "all | |"
        )
        print(f"| {spread:g} mm | {shown} |")


def _places(mean: np.ndarray, size: int, spread: float) -> ExpectedPlaces:
    return ExpectedPlaces(
        mean_mm=mean.tolist(),
        spread_mm=np.full(mean.shape, spread).tolist(),
        extent_mm=[[size] * 3] * 2,
        absent=[],
        spacing=[1.0] * 3,
    )


def _work(options: dict[str, Any], expects: bool) -> Work:
    size, spread = options["size"], options["spread"]
    mean, points = anatomy(size, options["landmarks"], options["extent"], spread)
    inferer = DenseInferer(
        window=SlidingWindowInferer([options["patch"]] * 3, sw_batch_size=1, overlap=0.5, mode="gaussian"),
        decoder=ArgmaxDecoder("sigmoid", 5.0),
        spacing=[1.0] * 3,
        expected=_places(mean, size, spread) if expects else None,
    )
    image = torch.stack(torch.meshgrid(*[torch.arange(float(size))] * 3, indexing="ij"))
    network = KnowingNetwork(points)

    def predict() -> torch.Tensor:
        COUNTS.clear()
        with torch.inference_mode():
            return inferer(image[None], network)

    return predict


def ours(options: dict[str, Any]) -> Work:
    """Windows where landmarks are expected."""
    keep_freed_memory()
    return _work(options, expects=True)


def usual(options: dict[str, Any]) -> Work:
    """All windows; the same keeping of memory."""
    keep_freed_memory()
    return _work(options, expects=False)
