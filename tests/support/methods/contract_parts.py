"""What the contract of methods is checked with: small plans, the parts that their configs name, and best outputs."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from bundle_tools import narrow
from monai.bundle import ConfigParser

from auto_config.bundle import configs
from auto_config.bundle_scripts.methods.interfaces import Decoder, Output, PointBatch, without_scalars
from auto_config.bundle_scripts.points.shape import ShapeModel
from auto_config.fingerprint.summary import Fingerprint
from auto_config.methods import METHODS, StageParts
from auto_config.methods.backbones import network_of
from auto_config.methods.base import stage_id
from auto_config.methods.combining.of_plan import method_of
from auto_config.planning import Decision, Plan, PlanOptions, make_plan

SPACING = (1.0, 1.25, 3.0)
PAIRS = [1, 0, 2]
"""Two paired landmarks and one on the midline."""

LANDMARKS = len(PAIRS)

NAMES = Path(__file__).with_name("landmarks.json")
"""Such as a bundle's ``configs/landmarks.json``, with what decoders read of it."""


def plan_of(method: str, dims: int, stages: int | None = None, **options: Any) -> Plan:
    """A plan for small anisotropic images; the smallest network, where the user chooses it.

    Args:
        method: of `METHODS`.
        dims: 2 or 3.
        stages: given by the user.
        options: further ones of `PlanOptions`.
    """
    spacing = SPACING[:dims]
    shape = [40, 36, 20][:dims]
    fingerprint = Fingerprint(
        cases=20,
        spatial_dims=dims,
        channels=1,
        landmarks=LANDMARKS,
        shapes=[shape] * 20,
        spacings=[list(spacing)] * 20,
        extents_mm=[[edge * step for edge, step in zip(shape, spacing, strict=True)]] * 20,
        intensity=[
            {**dict.fromkeys(("min", "mean", "p00_5", "air"), 0.0), "max": 1.0, "std": 1.0, "p99_5": 1.0}
            | {"air_zscore": -0.5}
        ],
        is_integer=False,
        modality_guess=None,
        landmark_extent_mm=[[20.0] * dims] * 20,
        present=[20] * LANDMARKS,
        absent=[0] * LANDMARKS,
        unknown=[0] * LANDMARKS,
        nearest_landmarks_mm={"min": 5.0, "median": 10.0},
        pairs=[[0, 1]],
        midline=[2],
        left_right_axis_evidence={"source": "names", "residual_mm": None, "spread_mm": None, "reason": "names"},
    )
    options.setdefault("network", None if METHODS[method].backbone is not None else "tiny")
    split = {"test": Decision([], "none"), "folds": Decision(5, "five")}
    return make_plan(fingerprint, PlanOptions(method=method, stages=stages, **options), split)


def kinds(dims: int) -> list[str]:
    """Of all methods whose network is made of the same modules, with as many heads and learnt numbers, the first."""
    found: dict[tuple[Any, ...], str] = {}
    for name, method in METHODS.items():
        plan = plan_of(name, dims)
        for stage in plan.value("stages")[-1:]:
            parts = method.parts(plan, stage)
            modules = re.findall(r'"_target_": "([^"]*)"', json.dumps(parts.network))
            found.setdefault((*modules, *parts.heads, bool(parts.scalars), bool(parts.scheduled)), name)
    return list(found.values())


def plans(method: str, dims: int) -> list[Plan]:
    """The plan of a method, and that of two stages where it has them only if the user wants them."""
    found = plan_of(method, dims)
    return [found] if len(found.value("stages")) == 2 else [found, plan_of(method, dims, 2)]


def narrowed(network: dict[str, Any]) -> dict[str, Any]:
    """The JSON of a network of stages with few channels and blocks, where a stage says how many it has."""
    few: dict[str, Any] = json.loads(json.dumps(network))
    for stage in few["stages"].values():
        narrow(stage)
    return few


def parsed(config: dict[str, Any], **changes: Any) -> ConfigParser:
    """A parser for a config of a bundle, with this package in the place of its scripts."""
    ours = json.loads(json.dumps(config).replace('"scripts.', '"auto_config.bundle_scripts.'))
    return ConfigParser({**ours, "landmarks": str(NAMES), **changes})


@dataclass(frozen=True)
class Parts:
    """The parts of one stage of a plan.

    Args:
        name: of the stage.
        stage: as the plan has it.
        json: what the method gave for it.
        loss: of the stage.
        decoder: of the stage.
        stride: voxels for one cell of the output.
    """

    name: str
    stage: dict[str, Any]
    json: StageParts
    loss: Any
    decoder: Decoder

    @property
    def stride(self) -> int:
        return self.decoder.stride

    def zeros(self, batch: int, size: Sequence[int]) -> Output:
        """An output without an opinion: empty maps, and first values of learnt scalars."""
        grid = [edge // self.stride for edge in size]
        maps = {head: torch.zeros(batch, channels, *grid) for head, channels in self.json.heads.items()}
        return maps | {head: torch.tensor(values) for head, values in self.json.scalars.items()}

    def size(self, *edges: int) -> tuple[int, ...]:
        """A size in voxels that is a whole number of cells and not below these edges."""
        return tuple(-(-edge // self.stride) * self.stride for edge in edges)


def parts_of(plan: Plan) -> list[Parts]:
    """The parts of each stage as the plan's train.json names them."""
    parser = parsed(configs.train_config(plan, LANDMARKS, "/nowhere", 0))
    method = method_of(plan)

    def part(name: str, stage: str) -> Any:
        return parser.get_parsed_content(stage_id(name, stage))

    return [
        Parts(
            name,
            plan.stage(name),
            method.parts(plan, plan.stage(name)),
            loss=part("loss", name),
            decoder=part("decoder", name),
        )
        for name in [stage["name"] for stage in plan.value("stages")]
    ]


def backbones_of(plan: Plan) -> list[Any]:
    """The network's row for each stage."""
    return [network_of(plan).of_stage(plan, stage) for stage in plan.value("stages")]


def stages_of(method: str, dims: int) -> list[tuple[Plan, Parts]]:
    """Each stage of each plan, those that differ in their network alone once."""
    found: dict[str, tuple[Plan, Parts]] = {}
    for plan in plans(method, dims):
        for parts in parts_of(plan):
            own = [parts.json.heads, parts.json.loss, parts.json.decoder, parts.json.target]
            found.setdefault(json.dumps(own).replace(f"#{parts.name}", ""), (plan, parts))
    return list(found.values())


def truth_of(points: torch.Tensor, status: torch.Tensor) -> PointBatch:
    """Points ``(B, L, D)`` and status ``(B, L)`` with one point for each landmark."""
    return PointBatch(points[:, :, None], status)


@dataclass(frozen=True)
class Solved:
    """The best output of a stage for several truths at once.

    Args:
        plan: that has the stage.
        parts: of the stage.
        size: of the patch in voxels.
        points: for each truth by name ``(L, D)`` voxels.
        outputs: for each truth by name the best output, heads ``(channels, *grid)``.
    """

    plan: Plan
    parts: Parts
    size: tuple[int, ...]
    points: dict[str, torch.Tensor]
    outputs: dict[str, Output]


PRESENT, ABSENT, UNKNOWN = 1, 0, -1
EDGES = {2: (64, 60), 3: (36, 32, 18)}
"""Voxels of a patch of which a cone fills less than a fifth, so that its hardest voxels are all of the cone."""

SMALL_EDGES = {2: (64, 60), 3: (26, 28, 16)}
"""The same for methods that look at the whole anatomy and make no cones."""


def points_in(size: Sequence[int]) -> torch.Tensor:
    """Points ``(L, D)`` well inside, none on a whole voxel, no two alike."""
    where = torch.tensor([[0.37, 0.44, 0.55], [0.64, 0.52, 0.41], [0.51, 0.61, 0.47]])[:, : len(size)]
    return (where * torch.tensor(size, dtype=torch.float32)).round(decimals=1) + 0.23


SLOWLY_FOUND = {"anchor_ball", "global_only", "scn_adaptive"}
"""Methods whose best outputs are not found within 80 steps, as those of all others are."""


@cache
def solved(method: str, dims: int) -> list[Solved]:
    """The best outputs of each stage, found once by gradient descent from outputs without an opinion."""
    found = []
    for plan, parts in stages_of(method, dims):
        size = parts.size(*(SMALL_EDGES if METHODS[method].whole_anatomy else EDGES)[dims])
        points = {"present": points_in(size), "moved": points_in(size) + 0.2}
        # What an equivariant network sees in the mirror image: the pair has changed places.
        mirrored = points["present"][PAIRS].clone()
        mirrored[:, 0] = size[0] - 1 - mirrored[:, 0]
        outside = points["present"].clone()
        # Each on its own side, as where a scan ends in the middle of a head.
        outside[1, 0], outside[2, -1] = size[0] + 2.0, 500.0
        points |= {"mirrored": mirrored, "absent": points["present"], "outside": outside}
        status = torch.full((len(points), LANDMARKS), PRESENT)
        status[list(points).index("absent"), 1] = ABSENT
        truth = truth_of(torch.stack([*points.values()]), status)
        output = best_output(parts, truth, size, 160 if method in SLOWLY_FOUND else 100)
        outputs = {name: sample(output, number) for number, name in enumerate(points)}
        found.append(Solved(plan, parts, size, points, outputs))
    return found


def best_output(parts: Parts, truth: PointBatch, size: Sequence[int], steps: int = 160) -> Output:
    """An output that minimises the loss, by gradient descent from one without an opinion."""
    output = parts.zeros(len(truth.points), size)
    for value in output.values():
        value.requires_grad_(True)
    maps, scalars = without_scalars(output)
    # Learnt scalars change slowly, as they do beside the weights of a network.
    slow = [{"params": list(scalars.values()), "lr": 0.005}] if scalars else []
    optimizer = torch.optim.Adam([{"params": list(maps.values())}, *slow], lr=0.5)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        optimizer.zero_grad()
        parts.loss(output, truth, size).backward()
        optimizer.step()
        decay.step()
    return {head: value.detach() for head, value in output.items()}


def sample(output: Output, number: int) -> Output:
    """One image of a batch; learnt scalars are those of every image."""
    maps, scalars = without_scalars(output)
    return {head: value[number] for head, value in maps.items()} | scalars


def batch_of(output: Output) -> Output:
    """A batch of one image."""
    maps, scalars = without_scalars(output)
    return {head: value[None] for head, value in maps.items()} | scalars


class Played:
    """A network that gives outputs which are known beforehand; the image holds them, upsampled to its voxels.

    Args:
        stage: name of the stage.
        heads: channels of each head.
        stride: voxels for one cell of the output.
        dims: 2 or 3.
        scalars: learnt scalars, the same for every image.
    """

    flipped = False

    def __init__(
        self, stage: str, heads: dict[str, int], stride: int, dims: int, scalars: Output | None = None
    ) -> None:
        self.stage, self.heads, self.stride, self.dims, self.scalars = stage, heads, stride, dims, scalars or {}
        self.shape = ShapeModel(LANDMARKS, dims)

    def image(self, output: Output) -> torch.Tensor:
        """The image ``(C, *size)`` for which an output ``(channels, *grid)`` is given."""
        image = torch.cat(list(without_scalars(output)[0].values()))
        for axis in range(1, self.dims + 1):
            image = image.repeat_interleave(self.stride, dim=axis)
        return image

    def views(self) -> list[Played]:
        return [self]

    def __call__(self, images: dict[str, torch.Tensor]) -> dict[str, Output]:
        cells = (slice(None), slice(None), *[slice(self.stride // 2, None, self.stride)] * self.dims)
        # A copy, because a sliding window weighs in place what it is given.
        channels = images[self.stage][cells].clone().split(list(self.heads.values()), dim=1)
        return {self.stage: dict(zip(self.heads, channels, strict=True)) | self.scalars}

    def kept(self, image: torch.Tensor, heads: Sequence[str]) -> Output:
        """Some heads of its output."""
        output = self({self.stage: image})[self.stage]
        return {head: output[head] for head in heads}
