"""The table of waits in docs/gpu.md: its paths, its numbers, and how it is written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

from network_paths import network_pass, networks
from prediction_paths import decoding, expected_places, instances, pose_search, prediction
from training_paths import TWO_AND_MANY, training_step
from validation_paths import validation

from auto_config.methods import METHODS

PAGE = Path(__file__).parents[3] / "docs" / "gpu.md"
BEGIN, END = "<!-- waits -->", "<!-- end of waits -->"

TRAINED = list(METHODS)


def training(method: str) -> Counter[str]:
    """Waits of a step with two stages in 3D."""
    return training_step(method, 3, 2)


PATHS: dict[str, Callable[[], Counter[str]]] = {
    "step with pairs and many instances, 3D": partial(training_step, "default", 3, 2, TWO_AND_MANY),
    "step with pairs and many instances, 2D": partial(training_step, "default", 2, 1, TWO_AND_MANY),
    "step of one stage, 2D": partial(training_step, "default", 2, 1),
    **{
        f"validated case, {'one stage' if stages == 1 else 'two stages'}, {dims}D": partial(validation, dims, stages)
        for stages in (1, 2)
        for dims in (2, 3)
    },
    **{f"validated case with pairs and many instances, {dims}D": partial(validation, dims, 1, True) for dims in (2, 3)},
    "image, one stage, 2D, mirrored": partial(prediction, "default", 2, 1),
    "image, one stage, 3D, mirrored": partial(prediction, "default", 3, 1),
    "image, one stage, 3D, not mirrored": partial(prediction, "nnlandmark", 3, 1),
    "image, two stages, 2D, mirrored": partial(prediction, "default", 2, 2),
    "image, two stages, 3D, mirrored": partial(prediction, "default", 3, 2),
    "image, one stage, 2D, two networks": partial(prediction, "default", 2, 1, members=2),
    "image, two stages, 2D, two networks": partial(prediction, "default", 2, 2, members=2),
    "image, two stages, 3D, two networks": partial(prediction, "default", 3, 2, members=2),
    "image, one stage, shape chooses": partial(prediction, "default", 3, 1, prior=True),
    "image, two stages, shape chooses": partial(prediction, "default", 3, 2, prior=True),
    "image, two stages, any pose": partial(prediction, "default", 3, 2, pose="free"),
    "image, one stage, poses tried": partial(pose_search, 3),
    "image, one stage, landmarks where they are expected": partial(expected_places, 3),
    "image with pairs and many instances, 2D": partial(instances, 2, True),
    "image with pairs and many instances": partial(instances, 3, True),
    **{f"decoders of `{method}`": partial(decoding, method, 3) for method in METHODS},
}


NETWORKS: dict[str, Callable[[], Counter[str]]] = {
    f"{dims}D, `{method}`, {network or 'its own'}": partial(network_pass, method, network, dims)
    for dims in (2, 3)
    for method, network in networks(dims)
}
"""A forward and a backward pass of each network; none of them waits."""


def bounds() -> dict[str, int]:
    """The counts of the page."""
    text = PAGE.read_text(encoding="utf-8")
    rows = text[text.index(BEGIN) : text.index(END)].splitlines()
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows if row.startswith("| ")]
    return {name: int(count) for name, count, *_ in cells[1:]}


BOUNDS = bounds()


def table() -> str:
    """The table with counts of now."""
    found = {f"step of `{method}`": training(method).total() for method in TRAINED}
    found |= {name: path().total() for name, path in PATHS.items()}
    lines = ["| path | waits |", "|---|---|", *[f"| {name} | {count} |" for name, count in found.items()]]
    return "\n".join(lines)
