"""A training step of each method on an emulated GPU, and how often the host waits in it."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import numpy as np
import torch
from contract_parts import LANDMARKS, parsed, parts_of, plan_of
from emulated_gpu import GPU, emulated_gpu
from ignite.engine import Events
from torch.utils.data._utils.pin_memory import pin_memory

from auto_config.bundle import configs
from auto_config.bundle.parts import network_def
from auto_config.bundle_scripts.points.instances import Instances
from auto_config.bundle_scripts.training.trainer import PatchTrainer
from auto_config.methods.plan import Plan

STEPS = 2
EDGES = (20, 16, 18)
"""Voxels of a patch, rounded up to whole cells of an output."""


TWO_AND_MANY = Instances(
    ("left", "right", "bud"), (1, 1, 3), (False, False, True), ((0, 1),), (4.0, 4.0, 4.0), (0.5, 0.5, 0.5)
)
"""An exchangeable pair, and a landmark of which there are three at most."""


def batch_of(sizes: dict[str, tuple[int, ...]], seed: int, rows: int = LANDMARKS) -> dict[str, Any]:
    """A collated batch of two samples: present, absent and unknown landmarks, one outside of its patch."""
    random = np.random.default_rng(seed)
    batch: dict[str, Any] = {"seed": torch.tensor([0, 0]), "index": torch.tensor([2 * seed, 2 * seed + 1])}
    for name, size in sizes.items():
        points = random.uniform(0.2, 0.8, (2, 1, rows, len(size))) * size
        points[0, :, 2] = np.asarray(size) + 3
        status = np.ones((2, 1, rows), dtype=np.int64)
        status[1, :, 0], status[1, :, 1] = -1, 0
        batch[name] = {
            "image": torch.from_numpy(random.normal(size=(2, 1, 1, *size)).astype(np.float32)),
            "points": torch.from_numpy(points).float(),
            "status": torch.from_numpy(status),
        }
    return batch


def one_layer(plan: Plan) -> dict[str, Any]:
    """The JSON of a bundle's network with one convolution for each stage: what waits is around the networks."""
    network: dict[str, Any] = json.loads(json.dumps(network_def(plan, LANDMARKS)))
    dims = plan.value("spatial_dims")
    for parts in parts_of(plan):
        network["stages"][parts.name] = {
            "_target_": f"torch.nn.Conv{dims}d",
            "in_channels": plan.value("channels"),
            "out_channels": sum(parts.json.heads.values()),
            "kernel_size": parts.stride,
            "stride": parts.stride,
        }
    for name in ("output_bias", "output_layers"):
        network.pop(name, None)
    return network


def training_step(method: str, dims: int, stages: int, instances: Instances | None = None) -> Counter[str]:
    """Waits of the last of a few steps, by what and where, and of the method's own handlers in it and after it."""
    rows = LANDMARKS if instances is None else len(instances.channels)
    plan = plan_of(method, dims, stages)
    config = configs.train_config(plan, LANDMARKS, "/nowhere", 0)
    config["network_def"] = one_layer(plan)
    parser = parsed(config, device=GPU)
    parts = {part.name: part for part in parts_of(plan)}
    sizes = {name: part.size(*EDGES[:dims]) for name, part in parts.items()}
    waits: Counter[str] = Counter()
    with emulated_gpu() as gpu:
        network = parser.get_parsed_content("network_def").to(GPU)
        trainer = PatchTrainer(
            device=GPU,
            max_epochs=1,
            epoch_length=STEPS,
            # As the loader of a bundle pins them where there is a GPU.
            train_data_loader=[pin_memory(batch_of(sizes, number, rows)) for number in range(STEPS)],
            network=network,
            optimizer=torch.optim.AdamW(network.parameters(), lr=1e-3),
            loss_function={name: part.loss for name, part in parts.items()},
            augmentation=parser.get_parsed_content("augmentation"),
            gradient_clip=12.0,
            instances=instances,
        )
        trainer.add_event_handler(Events.ITERATION_STARTED, gpu.reset)
        own = [handler for part in parts.values() for handler in part.json.handlers]
        for handler in own:
            number = config["train"]["handlers"].index(handler)
            parser.get_parsed_content(f"train#handlers#{number}").attach(trainer)
        trainer.run()
        waits.update(gpu.waits)
        assert all(gpu.holds(x) for x in (*network.parameters(), *network.buffers()))
        with gpu.uncounted():
            assert all(bool(torch.isfinite(p).all()) for p in network.parameters())
            if own:
                # The schedule of widths has taken the losses of this epoch.
                losses = [value for name, value in network.named_buffers() if name.endswith(".losses")]
                assert len(losses) == stages and all(bool((x[-rows:] >= 0).all()) for x in losses)
    return waits
