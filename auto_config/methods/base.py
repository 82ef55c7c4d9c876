"""What a method and a network are: rows of the tables `METHODS` and `BACKBONES`. Data and pure functions, no torch.

A method is one file. The planner asks it how to train and in how many stages, the bundle's writer asks it for the
parts of each stage, and nobody asks for its name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from auto_config.methods.plan import Decision, Plan
from auto_config.methods.topology import Topology

Json = dict[str, Any]
Stage = dict[str, Any]
"""A stage of a plan, as ``docs/file_formats.md`` lists it under ``stages``."""


@dataclass(frozen=True)
class Backbone:
    """What the planner and the bundle's writer know of a network.

    Args:
        name: as the user gives it.
        title: a few words for help and tables.
        citation: of its source.
        memory_gb: GPU memory that it is planned for; None for a network that is planned for CPUs, by voxels.
        topology: the network's shape for a spacing (mm) and a wished patch (voxels), which it rounds up to sizes that
            the network takes.
        describe: what a stage of the plan says of the network, such as channels and strides.
        values: values in all feature maps of one patch, for a number of output channels.
        budget: values of a whole batch that fill `memory_gb`, for 2 or 3 spatial dimensions.
        config: JSON of the network, from a stage of the plan, spatial dimensions, image channels and output channels.
        output_layer: name of the last convolution within the network, from a stage of the plan; None where none has a
            bias that may be set.
        stride: voxels of the patch for one cell of its output.
        packages: distributions that a bundle with it needs beside those that every bundle needs.
        unused_parameters: whether it has parameters without a gradient, which training on several GPUs must know.
        distribution: whether its channels are logarithms of probabilities of voxels.
        own_heads: whether only a method that names it can read its output, which has other heads than heatmaps.
        instead_of: the network of methods that name it, in whose place it may stand; None where it stands for itself.
        fine: another network for the fine stage of two; None for the same.
        saved: values that a step keeps of one patch for its gradients, for channels of the image and of the output;
            None for twice `values`, of the convolution and of what leaves its activation.
        weights: numbers that are learnt, likewise; None where nobody counted them.
    """

    name: str
    title: str
    citation: str
    memory_gb: float | None
    topology: Callable[[Sequence[float], Sequence[int]], Topology]
    describe: Callable[[Topology], Json]
    values: Callable[[Topology, int], float]
    budget: Callable[[int], float]
    config: Callable[[Stage, int, int, int], Json]
    output_layer: Callable[[Stage], str | None]
    stride: int = 1
    packages: tuple[str, ...] = ()
    unused_parameters: bool = False
    distribution: bool = False
    own_heads: bool = False
    instead_of: str | None = None
    fine: Backbone | None = None
    saved: Callable[[Topology, int, int], float] | None = None
    weights: Callable[[Topology, int, int], int] | None = None

    def of_stage(self, plan: Plan, stage: Stage) -> Backbone:
        """The network of a stage of a plan: `fine` for the fine stage of two, where it is another one."""
        second = stage["name"] == "fine" and len(plan.value("stages")) == 2
        return self.fine if second and self.fine is not None else self


@dataclass(frozen=True)
class MethodRequest:
    """What a method may look at when it decides how to train.

    Args:
        backbone: the network.
        stage: the one that samples patches from the image: its batch, its patch and its grid.
    """

    backbone: Backbone
    stage: Stage

    @property
    def batch_size(self) -> int:
        """Patches of a batch."""
        return int(self.stage["batch_size"])

    @property
    def spatial_dims(self) -> int:
        """2 or 3."""
        return len(self.stage["patch_size"])


_KEEP_BEST = Decision("best", "of the validated weights those with the lowest error in mm")


@dataclass(frozen=True)
class Training:
    """How a method trains, each with its reason; ``docs/file_formats.md`` lists the values.

    Angles are in radians, noise and shifts in units of the normalised image. ``loss`` is read by the method alone.
    """

    loss: Decision
    optimizer: Decision
    schedule: Decision
    sampling: Decision
    augmentation: Decision
    iterations_per_epoch: Decision
    max_epochs: Decision
    val_interval: Decision
    overlap: Decision
    keep: Decision = _KEEP_BEST

    def decisions(self) -> dict[str, Decision]:
        """The decisions by name."""
        return dict(vars(self))


@dataclass(frozen=True)
class StageParts:
    """The parts of one stage that belong to a method, as JSON with ``_target_``.

    Args:
        network: maps ``(B, C, *size)`` to the channels of all heads, one after the other.
        heads: channels of each head by name, in that order.
        loss: a `Loss`; `target_of` refers to `target`.
        decoder: a `Decoder` of one peak for each landmark.
        target: what makes heatmaps from points; None where the loss needs none.
        output_layer: name of the network's last convolution; None where its bias is left alone.
        output_bias: first value of that bias; None leaves it alone.
        scalars: heads that the network learns for itself and not from an image, by name with their first values; loss
            and decoder read them as they read the others.
        scheduled: which of these a handler of the training sets, and no gradient.
        handlers: what the training of this stage attaches beside the usual; `loss_of` refers to `loss`.
    """

    network: Json
    heads: dict[str, int]
    loss: Json
    decoder: Json
    target: Json | None = None
    output_layer: str | None = None
    output_bias: float | None = None
    scalars: dict[str, list[float]] = field(default_factory=dict)
    scheduled: tuple[str, ...] = ()
    handlers: tuple[Json, ...] = ()


@dataclass(frozen=True)
class Method:
    """A method of landmark detection.

    Args:
        name: as the user gives it.
        title: what it is, in one line for help and tables.
        citation: of the publication.
        backbone: its own network of `BACKBONES`; None where the user chooses among those with one output for each
            voxel.
        training: decides how to train.
        parts: the parts of a stage, from a whole plan and that stage.
        loss_bytes_per_voxel: memory that loss and target need for each voxel of the patch and each landmark, beside the
            network's feature maps.
        cpu_loss_bytes_per_voxel: the same on a CPU, for losses that go through large channels; None where it is equal.
        stages: ``planned`` by how much of the anatomy a patch holds; ``one`` unless the user wants two; always ``two``.
        whole_anatomy: whether its one stage must see the whole anatomy in each patch.
        mirrors: whether it trains on mirror images where left-right pairs are known.
        instances: whether it finds landmarks with many instances and exchangeable pairs.
        cuts: whether it trains on cut fields of view where the user does not say.
        target: name of its target in the table of targets, where a user may give another; None where it has none.
        loss: name of its loss in the table of losses; None where its parts are not exchanged.
        decoder: name of its decoder in the table of decoders.
        logits_only: whether its maps must be free numbers, so that no network fits of distributions fits;
            read where it names no row of the table of losses.
        stock_patch: whether patch and batch of its one stage are those of nnU-Net, where the GPU has room for them.
        cpu_batch: images of a step of two stages where the network is made for CPUs.
        half_precision: whether its network predicts in half precision where the device is made for it, because points
            were measured to stay the same.
        tolerance: voxels of the stage's grid by which the point that an output of the smallest loss decodes to may be
            off; `tests/methods/test_contract.py` holds it.
        more_augmentation: whether its augmentation is made stronger where few cases are labelled.
    """

    name: str
    title: str
    citation: str
    backbone: str | None
    training: Callable[[MethodRequest], Training]
    parts: Callable[[Plan, Stage], StageParts]
    loss_bytes_per_voxel: float
    stages: Literal["planned", "one", "two"]
    whole_anatomy: bool
    mirrors: bool
    instances: bool
    cpu_loss_bytes_per_voxel: float | None = None
    cuts: bool = False
    target: str | None = None
    loss: str | None = None
    decoder: str | None = None
    logits_only: bool = False
    stock_patch: bool = False
    cpu_batch: int = 2
    half_precision: bool = False
    tolerance: float = 0.05
    more_augmentation: bool = True


def stage_id(name: str, stage: str) -> str:
    """The top-level id of a part of a stage: its name, with ``coarse_`` before it for the coarse one of two."""
    return name if stage == "fine" else f"{stage}_{name}"


def target_of(stage: Stage) -> str:
    """Reference to the target of a stage in a config: ``target``, and ``coarse_target`` of the coarse one of two."""
    return f"@{stage_id('target', stage['name'])}"


def loss_of(stage: Stage) -> str:
    """Reference to the loss of a stage in a config."""
    return f"@{stage_id('loss', stage['name'])}"
