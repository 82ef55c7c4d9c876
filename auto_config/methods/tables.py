"""The tables of methods and networks as texts of help and documentation, so that no list is written by hand."""

from __future__ import annotations

import re
from collections.abc import Iterable

from auto_config.methods import BACKBONES, METHODS, Backbone
from auto_config.methods.combining.chosen import decoders_of, losses_of, targets_of
from auto_config.methods.combining.decoders import DECODERS
from auto_config.methods.combining.losses import LOSSES
from auto_config.methods.combining.targets import TARGETS

_STAGES = {"planned": "1 or 2, planned", "one": "1", "two": "2"}


def lines() -> dict[str, str]:
    """Each table on one line, for help: ``methods``, ``networks``, ``targets``, ``losses`` and ``decoders``."""
    return {
        "methods": "; ".join(f"{row.name}: {row.title}" for row in METHODS.values()),
        "networks": "; ".join(f"{row.name}: {row.title}, for {_machine(row)}" for row in BACKBONES.values()),
        "targets": "; ".join(f"{row.name}: {row.title}" for row in TARGETS.values()),
        "losses": "; ".join(f"{row.name}: {row.title}" for row in LOSSES.values()),
        "decoders": "; ".join(f"{row.name}: {row.title}" for row in DECODERS.values()),
    }


def lists() -> dict[str, str]:
    """Each table in Markdown, by the names of `lines`."""
    return {
        "methods": _table(
            ("`--method`", "what it is", "network", "stages", "flips", "instances", "publication"),
            [
                (
                    f"`{row.name}`",
                    row.title,
                    "given by `--network`" if row.backbone is None else f"`{row.backbone}`",
                    _STAGES[row.stages],
                    _yes(row.mirrors),
                    _yes(row.instances),
                    row.citation,
                )
                for row in METHODS.values()
            ],
        ),
        "networks": _table(
            ("`--network`", "what it is", "planned for", "packages", "publication"),
            [
                (
                    f"`{row.name}`",
                    row.title,
                    _machine(row),
                    ", ".join(row.packages),
                    row.citation,
                )
                for row in BACKBONES.values()
            ],
        ),
        "targets": _table(
            ("`--target`", "what it is", "heatmaps", "publication"),
            [(f"`{row.name}`", row.title, row.kind, row.citation) for row in TARGETS.values()],
        ),
        "losses": _table(
            ("`--loss`", "what it is", "`--target`", "`--decoder`", "methods that take it", "publication"),
            [
                (
                    f"`{row.name}`",
                    row.title,
                    _names(targets_of(row)) or "none",
                    _names(decoders_of(row)),
                    _names(name for name, method in METHODS.items() if row.name in losses_of(method)),
                    row.citation,
                )
                for row in LOSSES.values()
            ],
        ),
        "decoders": _table(
            ("`--decoder`", "what it is", "publication"),
            [(f"`{row.name}`", row.title, row.citation) for row in DECODERS.values()],
        ),
    }


def filled(text: str) -> str:
    """A page with the lists of today between its markers ``<!-- list: NAME -->`` and ``<!-- end -->``.

    Raises:
        KeyError: a marker names no list.
    """
    found = lists()
    return re.sub(
        r"(<!-- list: (\w+) -->\n).*?(<!-- end -->)",
        lambda match: f"{match[1]}{found[match[2]]}\n{match[3]}",
        text,
        flags=re.DOTALL,
    )


def _table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    return "\n".join("| " + " | ".join(row) + " |" for row in [header, ("---",) * len(header), *rows])


def _machine(row: Backbone) -> str:
    return "CPUs" if row.memory_gb is None else f"a GPU of {row.memory_gb:g} GB"


def _names(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _yes(value: bool) -> str:
    return "yes" if value else "no"
