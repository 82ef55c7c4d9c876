"""The tables of waits in docs/gpu.md: their paths, their numbers, and how they are written."""

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
NONE = "-"
"""Where a method has no such path."""

LARGE = (40, 36, 24)
"""Voxels of an image of many windows, which one stage looks at in slabs."""

PATHS: dict[str, Callable[[], Counter[str]]] = {
    "step with pairs and many instances, 3D": partial(training_step, "default", 3, 2, TWO_AND_MANY),
    "step with pairs and many instances, 2D": partial(training_step, "default", 2, 1, TWO_AND_MANY),
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
    **{
        f"image, one stage, {dims}D, mirrored, in slabs": partial(prediction, "default", dims, 1, size=LARGE)
        for dims in (2, 3)
    },
    **{
        f"image, two stages of `global_to_local`, {dims}D": partial(prediction, "global_to_local", dims, 2)
        for dims in (2, 3)
    },
    **{
        f"image, one stage of `{method}`, {dims}D": partial(prediction, method, dims, 1)
        for method in ("anchor_ball", "scn", "nnlandmark_v1")
        for dims in (2, 3)
    },
}


def _of_method(method: str) -> dict[str, Callable[[], Counter[str]]]:
    """A step with two stages and with one, and the decoders of all stages."""
    found: dict[str, Callable[[], Counter[str]]] = {}
    for dims in (3, 2):
        found[f"step, two stages, {dims}D"] = partial(training_step, method, dims, 2)
        if METHODS[method].stages != "two":
            found[f"step, one stage, {dims}D"] = partial(training_step, method, dims, 1)
        found[f"decoders, {dims}D"] = partial(decoding, method, dims)
    return found


OF_METHODS: dict[tuple[str, str], Callable[[], Counter[str]]] = {
    (f"`{method}`", what): path for method in METHODS for what, path in _of_method(method).items()
}
"""The columns of the second table, by row and column."""


NETWORKS: dict[str, Callable[[], Counter[str]]] = {
    f"{dims}D, `{method}`, {network or 'its own'}": partial(network_pass, method, network, dims)
    for dims in (2, 3)
    for method, network in networks(dims)
}
"""A forward and a backward pass of each network; none of them waits."""


def bounds() -> dict[str | tuple[str, str], int]:
    """The counts of the page: of a path by its name, of a method by its name and the column."""
    text = PAGE.read_text(encoding="utf-8")
    found: dict[str | tuple[str, str], int] = {}
    for one in text[text.index(BEGIN) : text.index(END)].split("\n\n"):
        rows = [[cell.strip() for cell in row.strip("|").split("|")] for row in one.splitlines() if row[:1] == "|"]
        for name, *counts in rows[2:]:
            for column, count in zip(rows[0][1:], counts, strict=True):
                if count != NONE:
                    found[name if len(counts) == 1 else (name, column)] = int(count)
    return found


BOUNDS = bounds()


def table() -> str:
    """Both tables with counts of now."""
    lines = ["| path | waits |", "|---|---|", *[f"| {name} | {path().total()} |" for name, path in PATHS.items()], ""]
    columns = list(dict.fromkeys(column for _, column in OF_METHODS))
    lines += [f"| method | {' | '.join(columns)} |", "|---" * (1 + len(columns)) + "|"]
    for name in dict.fromkeys(name for name, _ in OF_METHODS):
        paths = [OF_METHODS.get((name, column)) for column in columns]
        counts = [NONE if path is None else str(path().total()) for path in paths]
        lines.append(f"| {name} | {' | '.join(counts)} |")
    return "\n".join(lines)
