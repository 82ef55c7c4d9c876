"""From the parts that a user names to the parts of a method, and to the method that they make."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from auto_config.errors import UserError
from auto_config.methods.backbones import network_of
from auto_config.methods.base import Backbone, Json, Method, MethodRequest, Stage, StageParts, Training
from auto_config.methods.combining.decoders import DECODERS
from auto_config.methods.combining.losses import LOSSES
from auto_config.methods.combining.rows import DecoderRow, LossRow, TargetRow
from auto_config.methods.combining.targets import TARGETS
from auto_config.methods.plan import Decision, Plan


@dataclass(frozen=True)
class Combination:
    """Names of a target, a loss and a decoder.

    Args:
        target: of `TARGETS`; None where the loss makes no heatmaps.
        loss: of `LOSSES`; None for a method whose parts are not exchanged.
        decoder: of `DECODERS`; None likewise.
    """

    target: str | None = None
    loss: str | None = None
    decoder: str | None = None

    @classmethod
    def own(cls, method: Method) -> Combination:
        """That of a method."""
        return cls(method.target, method.loss, method.decoder)

    def rows(self) -> tuple[TargetRow | None, LossRow, DecoderRow]:
        """The rows of the tables, where there is a loss."""
        return (
            None if self.target is None else TARGETS[self.target],
            LOSSES[str(self.loss)],
            DECODERS[str(self.decoder)],
        )


def targets_of(loss: LossRow) -> tuple[str, ...]:
    """The targets that a loss compares with."""
    return tuple(name for name, row in TARGETS.items() if row.kind in loss.kinds)


def decoders_of(loss: LossRow) -> tuple[str, ...]:
    """The decoders that read what a loss trains."""
    return tuple(name for name, row in DECODERS.items() if loss.gives in row.reads)


def losses_of(method: Method) -> tuple[str, ...]:
    """The losses that a method takes: those with the heads of its own."""
    if method.loss is None:
        return ()
    heads = LOSSES[method.loss].heads
    return tuple(name for name, row in LOSSES.items() if row.heads is heads)


def chosen(method: Method, target: str | None, loss: str | None, decoder: str | None) -> Combination:
    """The parts that are given; in place of the others those of the method, or if they do not fit the first that does.

    Args:
        method: as its row has it.
        target: given as ``--target``.
        loss: given as ``--loss``.
        decoder: given as ``--decoder``.

    Raises:
        UserError: there is no such part, or it does not fit; with what would.
    """
    given = {"target": target, "loss": loss, "decoder": decoder}
    for option, table in (("target", tuple(TARGETS)), ("loss", tuple(LOSSES)), ("decoder", tuple(DECODERS))):
        if given[option] is not None and given[option] not in table:
            raise UserError(f"--{option} must be one of {', '.join(table)}, got {given[option]!r}")
    named = [f"--{option} {value}" for option, value in given.items() if value is not None]
    if not named:
        return Combination.own(method)
    if method.loss is None:
        raise UserError(f"{named[0]}: method {method.name} keeps its own target, loss and decoder; omit it")
    if loss is not None and loss not in losses_of(method):
        fits = losses_of(method)
        raise UserError(f"--loss {loss}: does not fit the heads of method {method.name}; give --loss {_or(fits)}")
    row = LOSSES[loss or method.loss]
    why = f"loss {row.name} " + ("makes no heatmap" if not row.kinds else f"compares heatmaps {' or '.join(row.kinds)}")
    if target is not None and target not in targets_of(row):
        others = [name for name in losses_of(method) if target in targets_of(LOSSES[name])]
        remedy = [f"--target {_or(targets_of(row))}" if row.kinds else "no --target"]
        remedy += [f"--loss {_or(others)}"] if others else []
        raise UserError(f"--target {target}: {why}; give {', or '.join(remedy)}")
    if decoder is not None and decoder not in decoders_of(row):
        others = [name for name in losses_of(method) if decoder in decoders_of(LOSSES[name])]
        remedy = [f"--decoder {_or(decoders_of(row))}", *([f"--loss {_or(others)}"] if others else [])]
        raise UserError(f"--decoder {decoder}: loss {row.name} gives {row.gives}; give {', or '.join(remedy)}")
    return Combination(
        target or _first(method.target, targets_of(row)), row.name, decoder or _first(method.decoder, decoders_of(row))
    )


def _or(names: Iterable[str]) -> str:
    return " or ".join(names)


def _first(own: str | None, fitting: tuple[str, ...]) -> str | None:
    return own if own in fitting else next(iter(fitting), None)


def combined(method: Method, parts: Combination) -> Method:
    """A method with other parts: all that a planner asks of it, and the JSON of its stages.

    Args:
        method: as its row has it; what it says of optimiser, schedule, sampling, stages and augmentation stays.
        parts: of `chosen`.
    """
    if parts == Combination.own(method):
        return method
    target, loss, decoder = parts.rows()

    def training(request: MethodRequest) -> Training:
        what = ", ".join(f"{part} {name}" for part, name in vars(parts).items() if name is not None)
        return replace(method.training(request), loss=Decision(dict(loss.numbers), f"in the place of its own: {what}"))

    def stage_parts(plan: Plan, stage: Stage) -> StageParts:
        return parts_of(plan, stage, parts)

    cited = [row.citation for row in (method, target, loss, decoder) if row is not None]
    return replace(
        method,
        citation="; ".join(dict.fromkeys(cited)),
        training=training,
        parts=stage_parts,
        loss_bytes_per_voxel=loss.bytes_per_voxel,
        cpu_loss_bytes_per_voxel=loss.cpu_bytes_per_voxel,
        instances=method.instances and loss.instances and decoder.instances,
        half_precision=False,
        tolerance=decoder.tolerance,
        target=parts.target,
        loss=parts.loss,
        decoder=parts.decoder,
    )


def parts_of(plan: Plan, stage: Stage, parts: Combination) -> StageParts:
    """The parts of a stage, from rows of the tables.

    Args:
        plan: names the network; its decision ``loss`` has the numbers of the loss.
        stage: of the plan.
        parts: names of the rows.
    """
    target, loss, decoder = parts.rows()
    backbone = network_of(plan).of_stage(plan, stage)
    heads = loss.heads(plan.value("landmarks"), plan.value("spatial_dims"))
    network = backbone.config(stage, plan.value("spatial_dims"), plan.value("channels"), sum(heads.values()))
    # Of the plan and not of the row: `nnlandmark` has the row's loss, and to the letter no first value.
    bias = plan.value("loss").get("output_bias")
    return StageParts(
        network=with_distribution(network, backbone) if loss.distribution else network,
        heads=heads,
        target=None if target is None else target.json(plan, stage),
        loss=loss.json(plan, stage),
        decoder=decoder.json(plan, stage, loss, target),
        output_layer=None if bias is None else backbone.output_layer(stage),
        output_bias=bias,
    )


def with_distribution(network: Json, backbone: Backbone) -> Json:
    """A network whose channels are logarithms of probabilities of voxels, as those of some networks are already."""
    if backbone.distribution:
        return network
    return {"_target_": "scripts.methods.networks.wrapped.LogProbability", "network": network}
