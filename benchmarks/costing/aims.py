"""What a row of the table of costs was to reach, and whether it does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Aim:
    """Limits of one row; None where nothing was asked.

    Args:
        seconds: at most, of our side, for one of what the row counts.
        faster: at least, times the usual way.
        memory_mb: at most, by which our process grows.
        memory_share: at most, of what the usual way takes.
        windows: at most, that are looked at.
    """

    seconds: float | None = None
    faster: float | None = None
    memory_mb: float | None = None
    memory_share: float | None = None
    windows: float | None = None


NONE = Aim()


def verdict(aim: Aim, ours: Mapping[str, float], usual: Mapping[str, float]) -> str:
    """Each limit of an aim with *reached* or *missed*, for a cell of the table.

    Args:
        aim: of the row.
        ours: ``seconds`` (of one of what the row counts) and ``mb`` of our side; ``windows`` where it counts them.
        usual: of the usual way.

    Returns:
        Such as ``5 times faster: missed (4.4); 0.33 of the memory: reached``; empty without limits.
    """
    faster = usual["seconds"] / ours["seconds"]
    share = ours["mb"] / max(usual["mb"], 1.0)
    found = [
        _line(f"{aim.faster:g} times faster", faster >= aim.faster, faster) if aim.faster else "",
        _line(f"{aim.seconds:g} s", ours["seconds"] <= aim.seconds, ours["seconds"]) if aim.seconds else "",
        _line(f"{aim.memory_mb:g} MB", ours["mb"] <= aim.memory_mb, ours["mb"]) if aim.memory_mb else "",
        _line(f"{aim.memory_share:.2g} of the memory", share <= aim.memory_share, share) if aim.memory_share else "",
        _line(f"{aim.windows:g} windows", ours["windows"] <= aim.windows, ours["windows"]) if aim.windows else "",
    ]
    return "; ".join(filter(None, found))


def _line(what: str, reached: bool, value: float) -> str:
    return f"{what}: reached" if reached else f"{what}: missed ({value:.3g})"
