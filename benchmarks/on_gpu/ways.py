"""A forward and backward pass of the last stage: what channels last, CUDA graphs and the compiler cost beside it."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from on_gpu.card import Card
from on_gpu.made import Made
from on_gpu.rows import Row, line, release

HALF = torch.bfloat16


def ways(made: Made, found: Row) -> None:
    """Fill a row with ratios, those that are sure to be quick first; what is found before the time ends stays.

    Each way has a copy of the network: a graph holds the addresses of its weights, and `make_graphed_callables` puts
    itself in the place of the module's `forward`.
    """
    card, times = made.card, 1 if made.quick else 8
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = card.is_gpu
    try:
        network = made.training().get_parsed_content("network_def").to(card.device).train()
        stage = next(reversed(network.stages.values()))
        planned = made.decided("stages")[-1]
        size, batch = planned["patch_size"], planned["batch_size"]
        image = torch.randn(batch, made.decided("channels"), *size, device=card.device)
        found["pass_s"] = plain = pass_seconds(card, stage, image, times)
        layout = torch.channels_last_3d if len(size) == 3 else torch.channels_last

        def channels_last() -> float:
            given = image.contiguous(memory_format=layout)
            return pass_seconds(card, copied(stage).to(memory_format=layout), given, times)

        def graph() -> float:
            return pass_seconds(card, graphed(card, copied(stage), image), image, times)

        def compiled() -> float:
            # The compiler itself takes minutes on a CPU; without it the tracing and all around it is tried.
            call = torch.compile(copied(stage), backend="eager" if made.quick else "inductor")
            started = time.perf_counter()
            one_pass(card, call, image)
            card.wait()
            found["compiling_s"] = time.perf_counter() - started
            return pass_seconds(card, call, image, times)

        for name, way in {"channels_last": channels_last, "cuda_graph": graph, "compile": compiled}.items():
            found[f"{name}_ratio"] = ratio(way, plain)
            release()
    finally:
        torch.backends.cudnn.benchmark = before
        torch._dynamo.reset()


def ratio(way: Callable[[], float], plain: float) -> float | str:
    """What a way costs beside the plain one, or why it cannot be gone; the end of the time is passed on."""
    try:
        return way() / plain
    except Exception as error:
        return f"error: {line(error)}"


def copied(stage: nn.Module) -> nn.Module:
    """A copy with weights, and without the gradients of an earlier pass."""
    stage.zero_grad(set_to_none=True)
    return copy.deepcopy(stage)


def half(card: Card) -> Any:
    """Half precision as in a step. Weights in it are not kept: a graph would hold those of its recording."""
    return torch.autocast(card.device.type, dtype=HALF, cache_enabled=False)


def graphed(card: Card, stage: nn.Module, image: torch.Tensor) -> Any:
    """The stage as CUDA graphs, recorded in the precision that it is called in."""
    with half(card):
        return torch.cuda.make_graphed_callables(stage, (image,), allow_unused_input=True)


def one_pass(card: Card, call: Any, image: torch.Tensor) -> None:
    """Forward in half precision, and backward."""
    with half(card):
        out = call(image)
    out.float().sum().backward()


def pass_seconds(card: Card, call: Any, image: torch.Tensor, times: int) -> float:
    """Seconds of a pass."""
    return card.seconds(lambda: one_pass(card, call, image), times)
