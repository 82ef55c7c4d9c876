"""Steps of a training with its real loader, and where the time of one goes."""

from __future__ import annotations

import time
from typing import Any

import torch
from ignite.engine import Events

from on_gpu.losses import floor_seconds
from on_gpu.made import Made
from on_gpu.rows import Row


def steps(made: Made, found: Row, *, warm_up: int, count: int, seconds: float) -> None:
    """Fill a row with speed, memory, waits and shares of a step.

    Args:
        made: the bundle; it has the trained weights afterwards.
        found: the row.
        warm_up: steps that do not count.
        count: steps that do, at most.
        seconds: after which no further step is begun.
    """
    card = made.card
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = card.is_gpu  # as a training has it
    try:
        card.forget_peak()
        trainer, batch = _run(made, found, warm_up, count, seconds)
        found |= card.peak()
        found["planned_gb"] = made.decided("gpu_memory_gb")
        found["stated_gb"] = made.decided("memory")["training_gpu_mb"] * 2**20 / 1e9
        made.keep(trainer.network)
        found["syncs_a_step"] = card.synchronisations(lambda: trainer._iteration(trainer, batch))
        found["gpu_share_of_a_step"] = card.busy_share(lambda: [trainer._iteration(trainer, batch) for _ in range(3)])
        _shares(made, found, trainer, batch)
    finally:
        torch.backends.cudnn.benchmark = before


def _run(made: Made, found: Row, warm_up: int, count: int, seconds: float) -> tuple[Any, Any]:
    """Train, and give the trainer and the last batch."""
    card, times, last = made.card, [], []
    trainer = made.training().get_parsed_content("train#trainer")
    begun = time.perf_counter()

    def after(engine: Any) -> None:
        if engine.state.iteration == warm_up:
            card.wait()
        if engine.state.iteration >= warm_up:
            times.append(time.perf_counter())
        if len(times) > count or (len(times) > 1 and time.perf_counter() - begun > seconds):
            card.wait()
            times[-1] = time.perf_counter()
            last.append(engine.state.batch)
            engine.terminate()

    trainer.add_event_handler(Events.ITERATION_COMPLETED, after)
    trainer.run()
    found["steps"] = len(times) - 1
    found["steps_a_second"] = (len(times) - 1) / (times[-1] - times[0])
    return trainer, last[0]


def _shares(made: Made, found: Row, trainer: Any, batch: Any) -> None:
    """Seconds of the network and of the loss, both forward and backward, and of the least that a loss could take."""
    card, times = made.card, 1 if made.quick else 5
    images, targets = trainer.prepare_batch(batch, card.device, True)

    def network() -> Any:
        outputs = trainer.inferer(images, trainer.network)
        sum(x.sum() for output in outputs.values() for x in output.values()).backward()
        return outputs

    held = {stage: {k: v.detach() for k, v in output.items()} for stage, output in network().items()}

    def loss() -> None:
        # The same values as leaves without a gradient: nothing is copied that a step does not copy.
        given = {s: {k: v.detach().requires_grad_(True) for k, v in output.items()} for s, output in held.items()}
        trainer.loss_function(given, targets).backward()

    found["network_s"], found["loss_s"] = card.seconds(network, times), card.seconds(loss, times)
    found["floor_s"] = floor_seconds(card, [x for output in held.values() for x in output.values()], times)
    found["loss_to_floor"] = found["loss_s"] / found["floor_s"]
