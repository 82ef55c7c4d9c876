"""Validation on an emulated GPU: MONAI's evaluator with the metrics of train.json, as they stand there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from contract_parts import LANDMARKS, parsed, parts_of, plan_of
from emulated_gpu import GPU, emulated_gpu
from ignite.engine import Events
from monai.data import MetaTensor, list_data_collate
from prediction_paths import IMAGES, SIZE, instance_inferer, network_of
from training_paths import TWO_AND_MANY

from auto_config.bundle import configs

METRICS = ("mre_mm", "sdr_2mm")


class _Cases:
    """Batches of one case each, as a loader gives them; an object of its own, which a parser leaves alone."""

    def __init__(self, dims: int, rows: int) -> None:
        random = np.random.default_rng(0)
        self.batches = []
        for _ in range(IMAGES):
            image = random.normal(size=(1, *SIZE[:dims])).astype(np.float32)
            points = random.uniform(2, 12, (rows, dims))
            points[1] = np.nan  # absent
            case = {"image": MetaTensor(torch.from_numpy(image), torch.eye(4).double()), "label": torch.tensor(points)}
            self.batches.append(list_data_collate([case]))

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.batches)


def _evaluator(dims: int, stages: int, many: bool, device: torch.device) -> Any:
    """The evaluator of train.json with a network of one layer."""
    plan = plan_of("default", dims, stages)
    edges = {part.name: list(part.size(*[16] * dims)) for part in parts_of(plan)}
    config = configs.train_config(plan, LANDMARKS, "/nowhere", 0)
    validate, changes = config["validate"], {"patch_size": edges["fine"], "pad_value": 0.0}
    if "coarse" in edges:
        changes["coarse_patch_size"] = edges["coarse"]
    validate["handlers"], validate["dataloader"] = [], "@cases"
    changes |= {"cases": _Cases(dims, len(TWO_AND_MANY.channels) if many else LANDMARKS), "device": device}
    changes["network_def"] = network_of(plan)
    if device.type == "cpu":
        # The emulated device has no half precision, and a CPU may.
        changes["amp"] = False
    if many:
        for metric in (*validate["key_metric"].values(), *validate["additional_metrics"].values()):
            metric["metric_fn"]["instances"] = "@instances"
        changes |= {"instances": TWO_AND_MANY, "inferer": instance_inferer(plan, mirrored=True)}
    return parsed(config, **changes).get_parsed_content("validate#evaluator")


def validation(dims: int, stages: int, many: bool = False) -> Counter[str]:
    """Waits for one case in a validation, its errors included; the metrics must be those of a CPU."""
    expected = _evaluator(dims, stages, many, torch.device("cpu"))
    expected.run()
    waits: Counter[str] = Counter()
    with emulated_gpu() as gpu:
        evaluator = _evaluator(dims, stages, many, GPU)
        evaluator.add_event_handler(Events.ITERATION_STARTED, gpu.reset)
        evaluator.add_event_handler(Events.ITERATION_COMPLETED, lambda: (waits.clear(), waits.update(gpu.waits)))
        evaluator.run()
        assert all(gpu.holds(x) for x in evaluator.network.parameters())
    for name in METRICS:
        found = evaluator.state.metrics[name]
        assert np.isfinite(found)
        np.testing.assert_allclose(found, expected.state.metrics[name], rtol=1e-5)
    return waits
