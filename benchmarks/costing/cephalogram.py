"""A cephalogram, from the array to its points: two stages, and a window over the whole picture."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch
from monai.inferers import SlidingWindowInferer

from auto_config.bundle.opened import OpenBundle, open_bundle
from costing.bundles import bundle_of, pictures, with_random_weights
from costing.measuring import Work


def _opened(options: dict[str, Any]) -> tuple[OpenBundle, dict[str, Any]]:
    folder = Path(tempfile.mkdtemp())
    source = pictures(folder / "data", 12, options["size"], options["landmarks"])
    bundle = bundle_of(source, folder / "bundle", pixel_spacing=[0.1, 0.1], network="tiny", workers=1)
    opened = open_bundle(with_random_weights(bundle), device="cpu")
    return opened, opened.preprocess(source / "images" / "case_000.png")


def ours(options: dict[str, Any]) -> Work:
    """The bundle that `auto_config create` plans for a CPU, with its networks."""
    opened, data = _opened(options)
    return lambda: opened.predict(data)


def usual(options: dict[str, Any]) -> Work:
    """The network of the same bundle's fine stage in MONAI's window over the whole picture, and the highest pixel."""
    opened, data = _opened(options)
    window = SlidingWindowInferer([256, 256], sw_batch_size=1, overlap=0.5, mode="gaussian")
    image = data["image"].as_tensor()

    def work() -> torch.Tensor:
        with torch.inference_mode():
            logits = window(image[None], lambda x: opened.network({"fine": x})["fine"]["logits"])[0]
            return torch.stack(torch.unravel_index(logits.flatten(1).argmax(1), logits.shape[1:]), -1)

    return work
