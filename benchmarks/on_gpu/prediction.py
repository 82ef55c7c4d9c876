"""A case predicted as `predict` does it, and beside it by maps of the whole image."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch

from auto_config.bundle import opened
from on_gpu.made import Made
from on_gpu.rows import Row


def prediction(made: Made, found: Row, image: Path, *, whole: bool = False) -> None:
    """Fill a row with one case after another that warms up.

    Args:
        made: the bundle, with weights.
        found: the row.
        image: the case.
        whole: also with all heatmaps of the whole image, which level sets need and points do not.
    """
    card, times = made.card, 1 if made.quick else 3
    bundle = opened.open_bundle(made.root, device=str(card.device))
    started = time.perf_counter()
    data = bundle.preprocess(image)
    found["read_s"] = time.perf_counter() - started
    grey = data["image"][None].to(card.device)

    def find() -> None:
        with torch.inference_mode():
            bundle.inferer(grey, bundle.network)

    card.forget_peak()
    found["predict_s"] = card.seconds(lambda: bundle.predict(data), times)
    found |= card.peak()
    found["stated_gb"] = made.decided("memory")["prediction_gpu_mb"] * 2**20 / 1e9
    # Without the copy to the device, names, files and the label map.
    found["find_s"] = card.seconds(find, times)
    calls = 0

    def count(*_: Any) -> None:
        nonlocal calls
        calls += 1

    handle = bundle.network.register_forward_pre_hook(count)
    found["syncs_an_image"] = card.synchronisations(find)
    handle.remove()
    found["network_calls"] = calls
    if found["syncs_an_image"] is not None:
        found["syncs_a_call"] = found["syncs_an_image"] / max(calls, 1)
    found["gpu_share_of_finding"] = card.busy_share(find)
    found["all_windows"] = getattr(bundle.inferer, "why_all_windows", None)
    if whole:
        card.forget_peak()
        found["whole_maps_s"] = card.seconds(lambda: bundle.heatmaps(data), times)
        found |= card.peak("whole_maps_")
